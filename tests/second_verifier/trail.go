package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"reflect"
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
	heads      []Record // about events that were not sealed yet
	others     []Other  // how far other writers were
	unfinished string   // a sealed file whose writer was killed before it could list it
	statements []*Statement

	// Of the events that were read.
	number  int64            // of the newest
	head    *string          // its hash
	hashes  map[int64]string // of those that checkpoints name
	missing []hole
	gaps    []gap
	told    []told
	found   []Found
	ids     map[string]bool
	before  []byte // the newest event, without its place
}

// hole is a range of numbers that no event has, before one in a file.
type hole struct {
	file        string
	first, last int64
}

// gap is a loss that the trail tells of itself.
type gap struct{ first, last, toldBy int64 }

func (a *Archive) newTrail(name string) *Trail {
	t := &Trail{Archive: a, Name: name, hashes: map[int64]string{}, ids: map[string]bool{}}
	content, _ := a.read(name + ".manifest")
	ended, _ := lines(content) // the rest was not finished
	for _, line := range ended {
		t.record(bytes.TrimSuffix(line, []byte("\n")))
	}
	return t
}

// record takes the next line of the manifest.
func (t *Trail) record(line []byte) {
	number := t.tree.size + 1
	said, as := exactly[Record](line)
	as = as && hasAll(line, said.Kind) && (said.Clock == "" || isFloat(string(said.Clock)))
	seal := t.seal(said.File)
	switch said.Kind {
	case "trail":
		t.ID = said.ID
		as = as && said.Writer == t.Name && trailID.MatchString(said.ID)
	case "seal":
		as = as && seal == nil && said.First <= said.Last
		t.seals = append(t.seals, &Seal{Record: said, line: number})
	case "delete":
		as = as && seal != nil && seal.SHA256 == said.SHA256
		if as {
			seal.deleted = &said
		}
	case "head":
		for _, other := range t.seals {
			as = as && other.Last < said.Number
		}
		t.heads = append(t.heads, said)
	case "writers":
		t.others = append(t.others, said.Writers...)
	default:
		as = false
	}
	if !as || (said.Kind == "trail") != (number == 1) {
		t.problem(t.Name+".manifest", "altered", "line %d is not as it was written", number)
	}
	if !equal(said.Previous, t.newest) {
		t.problem(t.Name+".manifest", "altered", "line %d does not continue the one before", number)
	}
	t.tree.add(line)
	hash := hexed(tlog.RecordHash(line))
	t.newest = &hash
}

// id is that of the manifest or, before there is one, the beginning of the first event's hash.
func (t *Trail) id() string {
	if t.ID != "" {
		return t.ID
	}
	content, _ := t.read(t.Name + ".journal")
	ended, _ := lines(content)
	if len(ended) < 2 || len(ended[1]) < 2 {
		return ""
	}
	return hexed(tlog.RecordHash(ended[1][1 : len(ended[1])-1]))[:16]
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
	for _, head := range t.heads {
		t.hashes[head.Number] = ""
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
	t.disbelieve()
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

// mayBeDeleted tells whether a deletion is signed, where that is asked.
func (t *Trail) mayBeDeleted(seal *Seal) bool {
	d, previous := seal.deleted, "None"
	if d.Previous != nil {
		previous = *d.Previous
	}
	facts := []string{"axon-audit deletion", d.File, d.SHA256, d.Reason, d.Deleted, previous, ""}
	return t.checkSignature(strings.Join(facts, "\n"), d.Signature) == nil
}

// readSealed reads a sealed file, and compares it with its last line and its seal.
func (t *Trail) readSealed(file string, seal *Seal, first bool) {
	content, there := t.uncompressed(file)
	if !there {
		return
	}
	found, closing := t.readEvents(file, content, false)
	if closing == nil || closing.Trail != t.Name {
		t.problem(file, "altered", "its last line is not as it was written")
		return
	}
	if seal == nil {
		return
	}
	// The first file is sealed before the manifest begins.
	if !equal(closing.Previous, seal.Previous) && !(first && closing.Previous == nil) {
		t.problem(file, "altered", "it was sealed after another file")
	}
	found.Kind, found.File, found.Sealed = seal.Kind, seal.File, seal.Sealed
	found.Previous, found.Clock, found.Adopted = seal.Previous, seal.Clock, seal.Adopted
	if !reflect.DeepEqual(found, seal.Record) {
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
	ended, _ := lines(content)
	if len(ended) == 0 || len(ended) == 1 && len(ended[0]) <= len(firstLine) && string(ended[0]) != firstLine {
		return // not even its first line was finished
	}
	t.readEvents(file, content, true)
}

// readEvents takes the events of one file. It returns what a seal would say of it, and its last line.
func (t *Trail) readEvents(file string, content []byte, journal bool) (Record, *Closing) {
	ended, rest := lines(content)
	if len(rest) > 0 && !journal {
		t.problem(file, "truncated", "its end is missing")
	}
	if len(ended) == 0 || string(ended[0]) != firstLine {
		t.problem(file, "altered", "its first line is not as it was written")
	}
	digest := sha256.Sum256(content)
	found := Record{Bytes: int64(len(content)), SHA256: hex.EncodeToString(digest[:])}
	var tree Tree
	var closing *Closing
	for index, line := range ended[min(1, len(ended)):] {
		if closing != nil {
			t.problem(file, "inserted", "something follows its last line")
			break
		}
		if said, as := parseClosing(line); as {
			closing = &said
			continue
		}
		separator := byte(',')
		if found.Events == 0 {
			separator = ' '
		}
		body := line[min(1, len(line)-1) : len(line)-1]
		event, as := parseEvent(body)
		if !as || line[0] != separator {
			t.problem(file, "altered", "line %d is no event", index+2)
			continue
		}
		t.follow(file, event)
		tree.add(body)
		if found.Events == 0 {
			found.First, found.FirstTime, found.LastTime = event.number, event.time, event.time
		}
		found.Events++
		found.Last, found.Head = event.number, hexed(event.hash)
		found.FirstTime, found.LastTime = min(found.FirstTime, event.time), max(found.LastTime, event.time)
	}
	found.Root = hexed(tree.root(tree.size))
	if c := closing; c != nil && (c.First != found.First || c.Last != found.Last || c.Total != found.Events ||
		c.Root != found.Root || len(rest) > 0) {
		t.problem(file, "altered", "its last line sums up something else")
	}
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
		t.missing = append(t.missing, hole{file, t.number + 1, event.number - 1})
	}
	hash := hexed(event.hash)
	t.found = append(t.found, Found{strings.TrimSuffix(file, ".zst"), hash, event.line})
	t.number, t.head, t.Last = event.number, &hash, event.number
	if t.Events++; t.Events == 1 {
		t.First = event.number
	}
	if _, wanted := t.hashes[event.number]; wanted {
		t.hashes[event.number] = hash
	}
	payload := event.line[:bytes.LastIndex(event.line, []byte(`,"sequence":`))]
	// A trail that was interrupted may have recorded an event again, with the next number.
	if t.ids[event.id] && !bytes.Equal(payload, t.before) {
		t.problem(file, "inserted", "event %d has the id of another one", event.number)
	}
	t.ids[event.id], t.before = true, payload
	own := event.own
	if own == nil {
		return
	}
	t.told = append(t.told, told{own, event.number, event.time, event.status, file})
	if own.Record == "gap" && 0 < own.First && own.First <= own.Last && own.Last < event.number {
		t.gaps = append(t.gaps, gap{own.First, own.Last, event.number})
	}
}

// explain judges missing events: a later event may tell of their loss. Where a checkpoint was
// signed between the two, they were not lost then.
func (t *Trail) explain() {
	for _, hole := range t.missing {
		for number := hole.first; number <= hole.last; number++ {
			told := t.gapAt(number)
			if told == nil {
				t.problem(hole.file, "removed", "event %d is missing", number)
				break
			}
			number = told.last
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
		if !t.has(s.events, s.head) {
			t.problem(s.source, "altered", "event %d is not the one that it attests", s.events)
		} else if same && s.proves {
			t.Proved = max(t.Proved, s.events)
		}
	}
	for _, head := range t.heads {
		if !t.has(head.Number, head.Head) {
			t.problem(file, "altered", "event %d is not the one that is stated", head.Number)
		}
	}
	if t.keys != nil && len(t.seals) > 0 && !signed {
		t.problem(file, "wrong_key", "no signed checkpoint is about it")
	}
}

// has tells whether the event with that number and hash is there, or known to be deleted or lost.
func (t *Trail) has(number int64, head string) bool {
	if hash := t.hashes[number]; hash != "" {
		return hash == head
	}
	for _, seal := range t.seals {
		if seal.First <= number && number <= seal.Last && seal.path == "" {
			return seal.deleted != nil && (number < seal.Last || seal.Head == head)
		}
	}
	return number == 0 || t.gapAt(number) != nil
}

func equal(one, other *string) bool {
	if one == nil || other == nil {
		return one == other
	}
	return *one == *other
}

func hexed(hash tlog.Hash) string { return hex.EncodeToString(hash[:]) }
