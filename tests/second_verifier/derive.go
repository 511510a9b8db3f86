package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/blake2b"
)

// Asked is one value to be derived from others, as the page says.
type Asked struct {
	What    string `json:"what"`
	Private string `json:"private"` // line of a signing key
	Purpose string `json:"purpose"`
	Secret  string `json:"secret"`
	Kind    string `json:"kind"`
	ID      string `json:"id"`
	Key     struct {
		From  string `json:"from"`
		Value string `json:"value"`
	} `json:"key"`
	Owner *string `json:"owner"`
	Text  string  `json:"text"`
	Salt  string  `json:"salt"`
	Token string  `json:"token"`
	Line  string  `json:"line"`
}

// derive reads a list of questions, and prints a list of answers.
func derive() {
	var asked []Asked
	stop(json.NewDecoder(os.Stdin).Decode(&asked))
	answers := []any{}
	for _, one := range asked {
		answers = append(answers, one.answer())
	}
	_ = json.NewEncoder(os.Stdout).Encode(answers)
}

func (a Asked) answer() any {
	switch a.What {
	case "public key":
		return publicKey(a.Private)
	case "derived key":
		return hex.EncodeToString(derived(a.Private, a.Purpose))
	case "pseudonym":
		return "hmac-sha256:" + hex.EncodeToString(hmacOf([]byte(a.Secret), []byte(a.Kind+":"+a.ID))[:16])
	case "fingerprint":
		return a.fingerprint()
	case "entry":
		token, err := hex.DecodeString(a.Token)
		stop(err)
		key, err := hex.DecodeString(a.Key.Value)
		stop(err)
		return formOf(token, key, []byte(a.ID))
	case "digest":
		hash := sha256.Sum256([]byte(a.ID))
		return "~" + base64.URLEncoding.EncodeToString(hash[:6])
	case "record name":
		salt, err := hex.DecodeString(a.Salt)
		stop(err)
		return hex.EncodeToString(keyed(salt, []byte(a.ID), 16))
	case "proof of erasure":
		salt, err := hex.DecodeString(a.Salt)
		stop(err)
		token, err := hex.DecodeString(a.ID)
		stop(err)
		return hex.EncodeToString((&Keyring{salt: salt}).proofOfErasure(token))
	case "time of id":
		raw, err := hex.DecodeString(strings.TrimPrefix(a.ID, "evt_"))
		stop(err)
		return binary.BigEndian.Uint64(append([]byte{0, 0}, raw[:6]...))
	case "leaf hash":
		hash := sha256.Sum256([]byte("\x00" + a.Line))
		return hex.EncodeToString(hash[:])
	case "canonical":
		return isCanonical([]byte(a.Line))
	}
	stop(fmt.Errorf("what is %q?", a.What))
	return nil
}

// seedOf is the name and the seed in the line of a signing key.
func seedOf(line string) (string, []byte) {
	part := strings.SplitN(strings.TrimSpace(line), "+", 5)
	if len(part) != 5 || part[0] != "PRIVATE" || part[1] != "KEY" {
		stop(errors.New("no signing key"))
	}
	data, err := base64.StdEncoding.DecodeString(part[4])
	stop(err)
	if len(data) != 33 || data[0] != 1 {
		stop(errors.New("no Ed25519 key"))
	}
	return part[2], data[1:]
}

func publicKey(private string) string {
	name, seed := seedOf(private)
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	data := append([]byte{1}, public...)
	id := sha256.Sum256(append([]byte(name+"\n"), data...))
	return fmt.Sprintf("%s+%x+%s", name, id[:4], base64.StdEncoding.EncodeToString(data))
}

// derived is a key for one purpose, made of a signing key.
func derived(private, purpose string) []byte {
	_, seed := seedOf(private)
	return keyed(seed, []byte("axon-audit "+purpose), 32)
}

// keyed is the keyed BLAKE2b of data.
func keyed(key, data []byte, size int) []byte {
	hash, err := blake2b.New(size, key)
	stop(err)
	hash.Write(data)
	return hash.Sum(nil)
}

// fingerprint is that of the text of an entry.
func (a Asked) fingerprint() string {
	value := []byte(a.Key.Value)
	var key []byte
	switch a.Key.From {
	case "keyring": // the directory of an archive's keys
		ring, err := newKeyring(os.DirFS(a.Key.Value), nil)
		stop(err)
		key = hmacOf(ring.keyOf(*a.Owner), []byte("axon-audit fingerprints"))
	case "person":
		raw, err := hex.DecodeString(a.Key.Value)
		stop(err)
		key = hmacOf(raw, []byte("axon-audit fingerprints"))
	case "secret":
		key = hmacOf(value, []byte("axon-audit trail"))
	case "signing key":
		key = derived(a.Key.Value, "fingerprints")
	case "file":
		key = bytes.TrimSuffix(value, []byte("\n"))
	}
	text := a.Text
	if a.Owner != nil {
		text = fmt.Sprintf("%d:%s%s", utf8.RuneCountInString(*a.Owner), *a.Owner, a.Text)
	}
	begin := base64.StdEncoding.EncodeToString(hmacOf(key, []byte("axon-audit key"))[:3])[:3]
	return begin + base64.StdEncoding.EncodeToString(keyed(key, []byte(text), 12))
}
