package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// checkConsistency tells why a proof does not show that a trail only grew between the two
// checkpoints in it; nil if it does.
func checkConsistency(file, key string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var proof struct {
		Old  string   `json:"old"`
		New  string   `json:"new"`
		Path []string `json:"path"`
		Line string   `json:"line"`
		At   struct {
			Index int64    `json:"index"`
			Size  int64    `json:"size"`
			Path  []string `json:"path"`
		} `json:"in_old"`
	}
	if err := json.Unmarshal(content, &proof); err != nil {
		return err
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return err
	}
	archive := Archive{keys: note.VerifierList(verifier)}
	older, err := archive.open(file, proof.Old)
	if err != nil {
		return err
	}
	newer, err := archive.open(file, proof.New)
	if err != nil {
		return err
	}
	if older.origin != newer.origin {
		return fmt.Errorf("%s is not %s", older.origin, newer.origin)
	}
	path, err := hashes(proof.Path)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(path, newer.size, newer.root, older.size, older.root); err != nil {
		return err
	}
	if path, err = hashes(proof.At.Path); err != nil {
		return err
	}
	leaf := tlog.RecordHash([]byte(proof.Line))
	record := tlog.RecordProof(path)
	return tlog.CheckRecord(record, older.size, older.root, proof.At.Index, leaf)
}

func hashes(path []string) (tlog.TreeProof, error) {
	found := make(tlog.TreeProof, len(path))
	for index, step := range path {
		data, err := hex.DecodeString(step)
		if err != nil || copy(found[index][:], data) != tlog.HashSize {
			return nil, fmt.Errorf("no hash: %q", step)
		}
	}
	return found, nil
}
