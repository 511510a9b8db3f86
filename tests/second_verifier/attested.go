package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// Slot is what one slot of an attested state says.
type Slot struct {
	Number uint64 `json:"number"`
	Lines  uint64 `json:"lines"`
	Head   string `json:"head"`
	Line   string `json:"line"`
}

// attested prints what the owner of a signing key attests: by writer the slots, and the ids of
// the intents.
func attested(private, directory string) {
	slots, intents := map[string][]Slot{}, map[string][]string{}
	files, err := filepath.Glob(filepath.Join(directory, "*.attested"))
	stop(err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".attested")
		content, err := os.ReadFile(file)
		stop(err)
		slots[name] = slotsIn(content, derived(private, "attested "+name))
		content, err = os.ReadFile(filepath.Join(directory, name+".intents"))
		if err == nil {
			intents[name] = intentsIn(content, derived(private, "intents"))
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"attested": slots, "intents": intents})
}

// slotsIn are the slots with the right keyed hash.
func slotsIn(content, key []byte) []Slot {
	found := []Slot{}
	for ; len(content) >= 96 && len(found) < 2; content = content[96:] {
		said := content[:80]
		if !bytes.Equal(keyed(key, said, 16), content[80:96]) {
			continue
		}
		found = append(found, Slot{
			binary.BigEndian.Uint64(said), binary.BigEndian.Uint64(said[8:]),
			hex.EncodeToString(said[16:48]), hex.EncodeToString(said[48:]),
		})
	}
	return found
}

// intentsIn are the ids of the intents with the right keyed hash.
func intentsIn(content, key []byte) []string {
	found := []string{}
	ended, _ := lines(content)
	for _, line := range ended {
		line = bytes.TrimSuffix(line, []byte("\n"))
		end := bytes.LastIndex(line, []byte(`,"keyed_hash":"`))
		if end < 0 {
			continue
		}
		said := append(bytes.Clone(line[:end]), '}')
		hash := hex.EncodeToString(keyed(key, said, 16))
		if string(line[end:]) == `,"keyed_hash":"`+hash+`"}` {
			id, _ := object(said)["event_id"].(string)
			found = append(found, id)
		}
	}
	return found
}
