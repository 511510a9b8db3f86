package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

const (
	magic    = "axon-audit keys1"
	prefix   = "erasable:"
	recorded = 48 // bytes of a record in a file of keys
)

var (
	entryForm = regexp.MustCompile("entry-erasable:[0-9a-f]{32}:[a-z2-7]{77,}")
	entryCode = base32.StdEncoding.WithPadding(base32.NoPadding)
)

// Keyring is a directory with the keys of persons.
type Keyring struct {
	files  fs.FS
	number []byte
	salt   []byte
	dead   map[string]bool // tokens that were erased, by the list in the archive
}

// Person is who has a key.
type Person struct {
	id  string
	key []byte
}

// newKeyring opens a keyring; list is the file .keyring of its archive.
func newKeyring(files fs.FS, list []byte) (*Keyring, error) {
	content, err := fs.ReadFile(files, "keyring")
	if err != nil {
		return nil, err
	}
	rest, is := bytes.CutPrefix(content, []byte(magic))
	if !is || len(rest) < 36 {
		return nil, errors.New("no keyring")
	}
	ring := &Keyring{files, rest[:4], rest[4:36], map[string]bool{}}
	lines := strings.Split(string(list), "\n")
	if lines[0] != "" && lines[0] != hex.EncodeToString(ring.number) {
		return nil, fmt.Errorf("the events need keyring %s", lines[0])
	}
	for _, line := range lines[1:] {
		token, code, _ := strings.Cut(line, " ")
		raw, err := hex.DecodeString(token)
		if err == nil && len(raw) == 16 && code == hex.EncodeToString(ring.proofOfErasure(raw)) {
			ring.dead[string(raw)] = true
		}
	}
	return ring, nil
}

// proofOfErasure is what only who has the keyring can write behind a token.
func (k *Keyring) proofOfErasure(token []byte) []byte {
	return hmacOf(k.salt, append([]byte("erased:"), token...))[:16]
}

// values are those of the records with a name of 16 bytes.
func (k *Keyring) values(name []byte) (found [][]byte) {
	content, _ := fs.ReadFile(k.files, fmt.Sprintf("%02x.keys", name[15]))
	for ; len(content) >= recorded; content = content[recorded:] {
		if bytes.Equal(content[:16], name) {
			found = append(found, content[16:recorded])
		}
	}
	return found
}

// key is that of a token; nil if there is none, or it was erased.
func (k *Keyring) key(token []byte) []byte {
	found := k.values(token)
	if len(found) == 0 || k.dead[string(token)] || !bytes.Equal(token[:4], k.number) {
		return nil
	}
	return found[0]
}

// keyOf is the key of the person with that id; nil without one.
func (k *Keyring) keyOf(id string) []byte {
	for _, value := range k.values(keyed(k.salt, []byte(id), 16)) {
		if key := k.key(value[:16]); key != nil {
			return key
		}
	}
	return nil
}

// person is whom a name in an event stands for; nil if no key tells.
func (k *Keyring) person(name string) *Person {
	part := strings.Split(name, ":")
	if len(part) != 3 || part[0]+":" != prefix {
		return nil
	}
	token, err := hex.DecodeString(part[1])
	text, err2 := base64.URLEncoding.DecodeString(part[2])
	if err != nil || err2 != nil || len(token) != 16 {
		return nil
	}
	key := k.key(token)
	padded := opened(key, token[4:], text, nil)
	id, is := bytes.CutSuffix(bytes.TrimRight(padded, "\x00"), []byte("\x01"))
	if !is {
		return nil
	}
	return &Person{string(id), key}
}

// entry is the id of an entry that was encrypted; the form itself if no key tells.
func (k *Keyring) entry(form string) string {
	part := strings.Split(form, ":")
	token, err := hex.DecodeString(part[1])
	data, err2 := entryCode.DecodeString(strings.ToUpper(part[2]))
	if err != nil || err2 != nil || len(token) != 16 || len(data) < 17 {
		return form
	}
	key := k.key(token)
	if bytes.Equal(token, append(bytes.Clone(k.number), make([]byte, 12)...)) {
		key = hmacOf(k.salt, []byte("axon-audit nobody"))
	}
	if key == nil {
		return form
	}
	block, err := aes.NewCipher(hmacOf(key, []byte("axon-audit entry ids, encrypted")))
	stop(err)
	padded := make([]byte, len(data)-16)
	cipher.NewCTR(block, data[:16]).XORKeyStream(padded, data[16:])
	id, is := bytes.CutSuffix(bytes.TrimRight(padded, "\x00"), []byte("\x01"))
	if !is || formOf(token, key, id) != form {
		return form
	}
	return string(id)
}

// formOf is what stands for the id of an entry.
func formOf(token, key, id []byte) string {
	text := append(bytes.Clone(id), 1)
	text = append(text, make([]byte, (32-len(text)%32)%32)...)
	code := hmacOf(hmacOf(key, []byte("axon-audit entry ids")), text)[:16]
	block, err := aes.NewCipher(hmacOf(key, []byte("axon-audit entry ids, encrypted")))
	stop(err)
	cipher.NewCTR(block, code).XORKeyStream(text, text)
	coded := entryCode.EncodeToString(append(code, text...))
	return fmt.Sprintf("entry-erasable:%x:%s", token, strings.ToLower(coded))
}

// opened is what was encrypted with AES-256-GCM; nil if it is not with this key.
func opened(key, nonce, encrypted, additional []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil || len(nonce) != 12 {
		return nil
	}
	gcm, err := cipher.NewGCM(block)
	stop(err)
	plain, err := gcm.Open(nil, nonce, encrypted, additional)
	if err != nil {
		return nil
	}
	return plain
}

// unboxed is a text of Base64 decrypted: its nonce comes first.
func unboxed(key []byte, text, additional string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) < 12 {
		return nil
	}
	return opened(key, data[:12], data[12:], []byte(additional))
}

// keyOfAll is made of the keys of some persons; nil if one is not known, or there is nobody.
func keyOfAll(persons []*Person) []byte {
	var all []byte
	for _, person := range persons {
		if person == nil {
			return nil
		}
		all = append(all, person.key...)
	}
	if len(persons) == 1 || len(persons) == 0 {
		return all
	}
	key := sha256.Sum256(all)
	return key[:]
}

func hmacOf(key, data []byte) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write(data)
	return hash.Sum(nil)
}
