package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Witness is the public key of one.
type Witness struct {
	name   string
	id     []byte
	public ed25519.PublicKey
}

// Cosigned is the newest checkpoint of a writer that a witness cosigned.
type Cosigned struct {
	Origin string `json:"origin"`
	Lines  int64  `json:"lines"`
	Time   uint64 `json:"time"` // seconds since 1970
}

func newWitness(line string) (*Witness, error) {
	part := strings.SplitN(line, "+", 3)
	if len(part) != 3 {
		return nil, errors.New("no key of a witness")
	}
	data, err := base64.StdEncoding.DecodeString(part[2])
	if err != nil || len(data) != 33 || data[0] != 4 {
		return nil, errors.New("no Ed25519 key of a witness")
	}
	id := sha256.Sum256(append([]byte(part[0]+"\n"), data...))
	if hex.EncodeToString(id[:4]) != part[1] {
		return nil, errors.New("the key of the witness does not belong to its id")
	}
	return &Witness{part[0], id[:4], data[1:]}, nil
}

// time is when the witness cosigned a text; 0 if it did not.
func (w *Witness) time(text, signatures string) (newest uint64) {
	for _, line := range strings.Split(signatures, "\n") {
		encoded, is := strings.CutPrefix(line, "\u2014 "+w.name+" ")
		data, err := base64.StdEncoding.DecodeString(encoded)
		if !is || err != nil || len(data) != 76 || string(data[:4]) != string(w.id) {
			continue
		}
		at := binary.BigEndian.Uint64(data[4:12])
		signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at, text)
		if ed25519.Verify(w.public, []byte(signed), data[12:]) {
			newest = max(newest, at)
		}
	}
	return newest
}

// cosigned are the newest checkpoints that a witness cosigned, by writer.
func (a *Archive) cosigned(witness *Witness) map[string]Cosigned {
	found := map[string]Cosigned{}
	for _, file := range a.named("*.cosigned") {
		content, _ := a.read(file)
		for _, one := range strings.Split(string(content), "axon-audit/")[1:] {
			text, signatures, _ := strings.Cut("axon-audit/"+one, "\n\n")
			at := witness.time(text+"\n", signatures)
			said, err := a.open(file, "axon-audit/"+one)
			if at > 0 && err == nil {
				found[said.writer] = Cosigned{said.origin, said.size, at}
			}
		}
	}
	return found
}
