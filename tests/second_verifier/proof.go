package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Path leads from a leaf to the root of a tree.
type Path struct {
	Index int64    `json:"index"`
	Size  int64    `json:"size"`
	Path  []string `json:"path"`
}

// Proof is any of the three: that an event is in a trail, that a trail only grew, and a receipt.
type Proof struct {
	Format string `json:"format"`

	Event      string `json:"event"`
	InFile     Path   `json:"in_file"`
	Seal       string `json:"seal"`
	InManifest Path   `json:"in_manifest"`
	Checkpoint string `json:"checkpoint"`

	Old   string   `json:"old"`
	New   string   `json:"new"`
	Path  []string `json:"path"`
	Line  string   `json:"line"`
	InOld Path     `json:"in_old"`

	Statement string          `json:"statement"`
	Proof     json.RawMessage `json:"proof"`
}

// checkProof tells what a proof proves, or why it does not.
func checkProof(file, key string) (map[string]any, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, err
	}
	archive := &Archive{keys: note.VerifierList(verifier)}
	var proof Proof
	if err := json.Unmarshal(content, &proof); err != nil {
		return nil, err
	}
	switch proof.Format {
	case "axon-audit proof 1":
		_, said, err := archive.inclusion(&proof)
		return said, err
	case "axon-audit consistency 1":
		return archive.consistency(&proof)
	case "axon-audit receipt 1":
		return archive.receipt(&proof)
	}
	return nil, fmt.Errorf("no format of ours: %q", proof.Format)
}

// inclusion checks that an event is in a trail. It returns the event, and what is proved.
func (a *Archive) inclusion(proof *Proof) (map[string]any, map[string]any, error) {
	signed, err := a.open("", proof.Checkpoint)
	if err != nil {
		return nil, nil, err
	}
	seal, as := exactly[Record]([]byte(proof.Seal))
	if !as || seal.Kind != "seal" || seal.Events != proof.InFile.Size || signed.size != proof.InManifest.Size {
		return nil, nil, errors.New("the seal is not about this file and checkpoint")
	}
	if err := leads(proof.InManifest, proof.Seal, signed.root); err != nil {
		return nil, nil, err
	}
	root, err := tlogHash(seal.Root)
	if err != nil {
		return nil, nil, err
	}
	if err := leads(proof.InFile, proof.Event, root); err != nil {
		return nil, nil, err
	}
	parsed, as := parseEvent([]byte(proof.Event))
	if !as || seal.Adopted > 0 && parsed.number >= seal.Adopted {
		return nil, nil, errors.New("no event that the trail attests")
	}
	event := object([]byte(proof.Event))
	return event, map[string]any{
		"origin": signed.origin, "event": event["event_id"], "number": parsed.number,
	}, nil
}

// consistency checks that a trail only grew between two checkpoints.
func (a *Archive) consistency(proof *Proof) (map[string]any, error) {
	older, err := a.open("", proof.Old)
	if err != nil {
		return nil, err
	}
	newer, err := a.open("", proof.New)
	if err != nil {
		return nil, err
	}
	if older.origin != newer.origin || proof.InOld.Size != older.size {
		return nil, fmt.Errorf("%s is not %s", older.origin, newer.origin)
	}
	path, err := hashes(proof.Path)
	if err != nil {
		return nil, err
	}
	if err := tlog.CheckTree(path, newer.size, newer.root, older.size, older.root); err != nil {
		return nil, err
	}
	if err := leads(proof.InOld, proof.Line, older.root); err != nil {
		return nil, err
	}
	line, as := exactly[Record]([]byte(proof.Line))
	number := max(line.Number, line.Last)
	if !as || number != older.events || line.Head != older.head {
		return nil, errors.New("the line does not state the newest event of the older checkpoint")
	}
	return map[string]any{"origin": older.origin, "from": older.events, "to": newer.events}, nil
}

// receipt checks the statement about an erasure, and the proof of it.
func (a *Archive) receipt(receipt *Proof) (map[string]any, error) {
	var proof Proof
	if err := json.Unmarshal(receipt.Proof, &proof); err != nil {
		return nil, err
	}
	event, said, err := a.inclusion(&proof)
	if err != nil {
		return nil, err
	}
	text, signatures, _ := strings.Cut(receipt.Statement, "\n\n")
	if err := a.checkSignature(text+"\n", signatures); err != nil {
		return nil, err
	}
	first, rest, _ := strings.Cut(text, "\n")
	facts := object([]byte(rest))
	quoted, _ := facts["event"].(map[string]any)
	counted, _ := facts["counted"].(map[string]any)
	if first != "axon-audit receipt 1" || facts["trail"] != said["origin"] {
		return nil, errors.New("the statement is not about this trail")
	}
	for _, name := range []string{"event_id", "timestamp", "operation", "status", "entry_ids"} {
		if _, there := quoted[name]; !there {
			return nil, fmt.Errorf("the statement does not say the %s", name)
		}
	}
	for name, value := range quoted {
		if recorded, there := event[name]; !there || !reflect.DeepEqual(recorded, value) {
			return nil, fmt.Errorf("the event has another %s", name)
		}
	}
	metadata, _ := event["metadata"].(map[string]any)
	for name, value := range counted {
		if recorded, there := metadata[name]; there && !reflect.DeepEqual(recorded, value) {
			return nil, fmt.Errorf("the event counted other %s", name)
		}
	}
	said["erased"], said["verified"], said["person"] = facts["erased"], facts["verified"], facts["person"]
	return said, nil
}

// leads tells why a path does not lead from a line to a root; nil if it does.
func leads(path Path, line string, root tlog.Hash) error {
	steps, err := hashes(path.Path)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(tlog.RecordProof(steps), path.Size, root, path.Index, tlog.RecordHash([]byte(line)))
}

func hashes(path []string) (tlog.TreeProof, error) {
	found := make(tlog.TreeProof, len(path))
	for index, step := range path {
		hash, err := tlogHash(step)
		if err != nil {
			return nil, err
		}
		found[index] = hash
	}
	return found, nil
}

func tlogHash(text string) (found tlog.Hash, err error) {
	data, err := hex.DecodeString(text)
	if err == nil && copy(found[:], data) != tlog.HashSize {
		err = fmt.Errorf("no hash: %q", text)
	}
	return found, err
}
