package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
)

// Found is one event: the file that it is in, its hash, and its bytes.
type Found struct {
	file string
	hash string
	line []byte
}

// Shown is an event as it is printed: with its fields, readable as far as there are keys.
type Shown struct {
	File  string         `json:"file"`
	Hash  string         `json:"hash"`
	Event map[string]any `json:"event"`
}

// read prints an archive and its events.
func read(arguments []string) {
	options := flag.NewFlagSet("read", flag.ExitOnError)
	key := options.String("key", "", "public key of the checkpoints")
	keys := options.String("keys", "", "directory with the keys of persons")
	witness := options.String("witness", "", "public key of a witness")
	_ = options.Parse(arguments)
	archive := verified(options.Arg(0), *key)
	var ring *Keyring
	if *keys != "" {
		list, _ := archive.read(".keyring")
		var err error
		ring, err = newKeyring(os.DirFS(*keys), list)
		stop(err)
	}
	events := []Shown{}
	for _, trail := range archive.Writers {
		for _, found := range trail.found {
			event := object(found.line)
			if ring != nil {
				ring.reveal(event)
			}
			events = append(events, Shown{found.file, found.hash, event})
		}
	}
	said := map[string]any{
		"ok": archive.OK, "problems": archive.Problems, "writers": archive.Writers, "events": events,
	}
	if *witness != "" {
		known, err := newWitness(*witness)
		stop(err)
		said["cosigned"] = archive.cosigned(known)
	}
	_ = json.NewEncoder(os.Stdout).Encode(said)
}

// object is a JSON object, its numbers as they are written; nil of anything else.
func object(data []byte) (fields map[string]any) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if decoder.Decode(&fields) != nil {
		return nil
	}
	return fields
}
