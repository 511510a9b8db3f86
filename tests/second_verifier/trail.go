package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Trail is what one writer left: a manifest, sealed files, a journal, checkpoints.
type Trail struct {
	Name   string `json:"writer"`
	ID     string `json:"id"`
	Events int64  `json:"events"` // that were read
	First  int64  `json:"first"`  // number of the first of them; 0 without any
	Last   int64  `json:"last"`
	Head   string `json:"head"`   // hash of the newest event
	Root   string `json:"root"`   // of the tree over the manifest's lines
	Proved int64  `json:"proved"` // number of the newest event that a signed checkpoint covers

	*Archive   `json:"-"`
	tree       Tree    // over the manifest's lines
	newest     *string // hash of the newest of them
	seals      []*Seal
	unfinished string // a sealed file whose writer was killed before it could list it
	statements []*Statement

	// Of the events that were read.
	number  int64                 // of the newest
	head    *string               // its hash
	hashes  map[int64]string      // of those that checkpoints name
	missing map[string][][2]int64 // numbers that no event has, by file
	gaps    []gap
}

// gap is a loss that the trail tells of itself.
type gap struct{ first, last, toldBy int64 }

func (a *Archive) newTrail(name string) *Trail {
	t := &Trail{Archive: a, Name: name, hashes: map[int64]string{}, missing: map[string][][2]int64{}}
	content, _ := a.read(name + ".manifest")
	ended, _ := lines(content) // the rest was not finished
	for _, line := range ended {
		t.record(name+".manifest", bytes.TrimSuffix(line, []byte("\n")))
	}
	return t
}

// record takes the next line of the manifest.
func (t *Trail) record(file string, line []byte) {
	number := t.tree.size + 1
	var kind struct {
		Kind string `json:"kind"`
	}
	_ = json.Unmarshal(line, &kind)
	var previous *string
	as := false
	switch kind.Kind {
	case "trail":
		var start *Start
		if start, as = exactly[Start](line); as {
			previous, t.ID = start.Previous, start.ID
			if number != 1 || start.Writer != t.Name {
				t.problem(file, "inserted", "line %d begins another trail", number)
			}
		}
	case "seal":
		var seal *Seal
		if seal, as = exactly[Seal](line); as {
			previous = seal.Previous
			if t.seal(seal.File) != nil || seal.First > seal.Last {
				t.problem(file, "inserted", "line %d seals what cannot be sealed", number)
			}
			t.seals = append(t.seals, seal)
		}
	case "delete":
		var deletion *Deletion
		if deletion, as = exactly[Deletion](line); as {
			previous = deletion.Previous
			seal := t.seal(deletion.File)
			if seal == nil || seal.SHA256 != deletion.SHA256 {
				t.problem(file, "inserted", "line %d deletes what was not sealed", number)
			} else {
				seal.deleted, seal.line = deletion, number
			}
		}
	}
	if !as {
		t.problem(file, "altered", "line %d is not as it was written", number)
	} else if !equal(previous, t.newest) {
		t.problem(file, "altered", "line %d does not continue the one before", number)
	}
	if number == 1 && kind.Kind != "trail" {
		t.problem(file, "removed", "its first line is missing")
	}
	t.tree.add(line)
	hash := hexed(tlog.RecordHash(line))
	t.newest = &hash
}

// seal is that of a file that is not deleted.
func (t *Trail) seal(file string) *Seal {
	for _, seal := range t.seals {
		if seal.File == file && seal.deleted == nil {
			return seal
		}
	}
	return nil
}

// diedBeforeListing tells whether a sealed file continues the manifest where that ends, and its
// writer did nothing after it: its lock says that it did not end well, and no journal followed.
func (t *Trail) diedBeforeListing(closing Closing) bool {
	expected := t.newest
	if t.tree.size <= 1 { // the first file is sealed before the manifest begins
		expected = nil
	}
	lock, err := fs.Stat(t.files, "."+t.Name+".lock")
	_, journal := fs.Stat(t.files, t.Name+".journal")
	return equal(closing.Previous, expected) && err == nil && lock.Size() > 0 && os.IsNotExist(journal)
}

// verify reads the trail's files, oldest first, and holds them against its checkpoints.
func (t *Trail) verify() {
	for _, s := range t.statements {
		t.hashes[s.events] = ""
	}
	for index, seal := range t.seals {
		if seal.path != "" {
			t.readSealed(seal.path, seal, index == 0)
		} else {
			t.passOver(seal)
		}
	}
	if t.unfinished != "" {
		t.readSealed(t.unfinished, nil, false)
	}
	t.readJournal()
	t.explain()
	t.attest()
	if t.head != nil {
		t.Head = *t.head
	}
	t.Root = hexed(t.tree.root(t.tree.size))
}

// passOver goes on behind a file that is not there.
func (t *Trail) passOver(seal *Seal) {
	if seal.deleted == nil {
		t.problem(seal.File, "removed", "it is missing")
	} else if !t.mayBeDeleted(seal) {
		t.problem(seal.File, "removed", "nobody signed its deletion")
	}
	t.number, t.head = seal.Last, &seal.Head
}

// mayBeDeleted tells whether a deletion is signed, where that is asked: if a signed checkpoint
// knew the file's events, and not yet their deletion.
func (t *Trail) mayBeDeleted(seal *Seal) bool {
	known := false
	for _, s := range t.statements {
		known = known || (s.events >= seal.First && s.size < seal.line)
	}
	previous := "None"
	if d := seal.deleted; d.Previous != nil {
		previous = *d.Previous
	}
	facts := []string{"axon-audit deletion", seal.deleted.File, seal.deleted.SHA256, seal.deleted.Reason, seal.deleted.At, previous, ""}
	return !known || t.checkSignature(strings.Join(facts, "\n"), seal.deleted.Signature) == nil
}

// readSealed reads a sealed file, and compares it with its last line and its seal.
func (t *Trail) readSealed(file string, seal *Seal, first bool) {
	content, there := t.uncompressed(file)
	if !there {
		return
	}
	found, closing := t.readEvents(file, content, false)
	if closing == nil {
		t.problem(file, "altered", "its last line is not as it was written")
		return
	}
	if closing.Trail != t.Name || closing.First != found.First || closing.Last != found.Last ||
		closing.Total != found.Events || closing.Root != found.Root {
		t.problem(file, "altered", "its last line sums up other events")
	}
	if seal == nil {
		return
	}
	// The first file is sealed before the manifest begins.
	if !equal(closing.Previous, seal.Previous) && !(first && closing.Previous == nil) {
		t.problem(file, "altered", "it was sealed after another file")
	}
	found.Kind, found.File, found.Sealed = seal.Kind, seal.File, seal.Sealed
	found.Previous, found.Clock = seal.Previous, seal.Clock
	found.path, found.deleted, found.line = seal.path, seal.deleted, seal.line
	if found != *seal {
		t.problem(file, "altered", "it is not the file that was sealed")
	}
}

// readJournal reads what is not sealed yet. Its end may be torn, or be that of a sealed file.
func (t *Trail) readJournal() {
	file := t.Name + ".journal"
	for _, seal := range t.seals {
		if seal.path != "" && t.isOne(file, seal.path) {
			return // it has two names for a moment
		}
	}
	content, there := t.read(file)
	if !there {
		return
	}
	if len(content) < len(firstLine) && bytes.Count(content, []byte("\n")) < 2 {
		return // not even its first line was finished
	}
	found, closing := t.readEvents(file, content, true)
	if closing != nil && (closing.First != found.First || closing.Last != found.Last ||
		closing.Total != found.Events || closing.Root != found.Root) {
		t.problem(file, "altered", "its last line sums up other events")
	}
}

// readEvents takes the events of one file. It returns what a seal would say of it, and its last line.
func (t *Trail) readEvents(file string, content []byte, journal bool) (Seal, *Closing) {
	ended, rest := lines(content)
	if len(rest) > 0 && !journal {
		t.problem(file, "truncated", "its end is missing")
	}
	if len(ended) == 0 || string(ended[0]) != firstLine {
		t.problem(file, "altered", "its first line is not as it was written")
	}
	digest := sha256.Sum256(content)
	found := Seal{Bytes: int64(len(content)), SHA256: hex.EncodeToString(digest[:])}
	var tree Tree
	var closing *Closing
	for index, line := range ended {
		if index == 0 {
			continue
		}
		if bytes.HasPrefix(line, []byte("],")) {
			var as bool
			if closing, as = parseClosing(line); !as {
				closing = nil
				t.problem(file, "altered", "line %d ends it, and not as it was written", index+1)
			}
			if index != len(ended)-1 || len(rest) > 0 {
				t.problem(file, "inserted", "something follows its last line")
			}
			break
		}
		separator := byte(',')
		if found.Events == 0 {
			separator = ' '
		}
		event, as := parseEvent(line[1:max(1, len(line)-1)])
		if !as || line[0] != separator {
			t.problem(file, "altered", "line %d is no event", index+1)
			continue
		}
		t.follow(file, event)
		tree.add(line[1 : len(line)-1])
		if found.Events == 0 {
			found.First, found.FirstTime, found.LastTime = event.number, event.time, event.time
		}
		found.Events++
		found.Last, found.Head = event.number, hexed(event.hash)
		found.FirstTime, found.LastTime = min(found.FirstTime, event.time), max(found.LastTime, event.time)
	}
	found.Root = hexed(tree.root(tree.size))
	return found, closing
}

// follow takes the next event.
func (t *Trail) follow(file string, event *Event) {
	continues := equal(event.previous, t.head)
	switch {
	case event.number <= t.number:
		t.problem(file, "inserted", "event %d follows event %d", event.number, t.number)
	case event.number == t.number+1 && !continues:
		t.problem(file, "altered", "event %d does not continue event %d", event.number, t.number)
	case event.number > t.number+1 && continues:
		t.problem(file, "altered", "event %d continues event %d", event.number, t.number)
	case event.number > t.number+1:
		t.missing[file] = append(t.missing[file], [2]int64{t.number + 1, event.number - 1})
	}
	hash := hexed(event.hash)
	t.number, t.head, t.Last = event.number, &hash, event.number
	if t.Events++; t.Events == 1 {
		t.First = event.number
	}
	if _, wanted := t.hashes[event.number]; wanted {
		t.hashes[event.number] = hash
	}
	if own := event.own; own != nil && own.Record == "gap" && 0 < own.First && own.First <= own.Last && own.Last < event.number {
		t.gaps = append(t.gaps, gap{own.First, own.Last, event.number})
	}
}

// explain judges missing events: a later event may tell of their loss. Where a checkpoint was
// signed between the two, they were not lost then.
func (t *Trail) explain() {
	for file, ranges := range t.missing {
		for _, missing := range ranges {
			for number := missing[0]; number <= missing[1]; number++ {
				told := t.gapAt(number)
				if told == nil {
					t.problem(file, "removed", "event %d is missing", number)
					break
				}
				number = told.last
			}
		}
	}
}

func (t *Trail) gapAt(number int64) *gap {
	for index := range t.gaps {
		found := &t.gaps[index]
		belated := false
		for _, s := range t.statements {
			belated = belated || (s.proves && found.first <= s.events && s.events < found.toldBy)
		}
		if found.first <= number && number <= found.last && !belated {
			return found
		}
	}
	return nil
}

// attest holds the trail against its checkpoints.
func (t *Trail) attest() {
	file, signed := t.Name+".manifest", false
	for _, s := range t.statements {
		signed = signed || (s.proves && s.events > 0)
		same := s.size <= t.tree.size && t.tree.root(s.size) == s.root
		if !same {
			t.problem(file, "altered", "it has other lines than %s attests", s.source)
		}
		if (t.hashes[s.events] == "" || t.hashes[s.events] != s.head) && !t.isKnownToBeGone(s) {
			t.problem(s.source, "altered", "event %d is not the one that it attests", s.events)
		} else if same && s.proves {
			t.Proved = max(t.Proved, s.events)
		}
	}
	if t.keys != nil && len(t.seals) > 0 && !signed {
		t.problem(file, "wrong_key", "no signed checkpoint is about it")
	}
}

// isKnownToBeGone tells whether the event that a checkpoint names was deleted, or lost.
func (t *Trail) isKnownToBeGone(s *Statement) bool {
	if t.hashes[s.events] != "" {
		return false
	}
	for _, seal := range t.seals {
		if seal.First <= s.events && s.events <= seal.Last && seal.path == "" {
			return seal.deleted != nil && (s.events < seal.Last || seal.Head == s.head)
		}
	}
	return s.events == 0 || t.gapAt(s.events) != nil
}

func equal(one, other *string) bool {
	if one == nil || other == nil {
		return one == other
	}
	return *one == *other
}

func hexed(hash tlog.Hash) string { return hex.EncodeToString(hash[:]) }
