package main

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/tlog"
)

// A journal is the first line and the events. Its last line makes a sealed file of it.
const firstLine = "{\"events\":[\n"

// Record is a line of a manifest: its first ("trail"), about a sealed file ("seal"), about one that
// retention deleted ("delete"), about an event that is not sealed ("head"), or about other writers
// ("writers"). It has the fields of its kind, in this order.
type Record struct {
	Kind      string      `json:"kind"`
	Writer    string      `json:"writer,omitempty"`
	ID        string      `json:"id,omitempty"`
	Created   string      `json:"created_at,omitempty"`
	File      string      `json:"file,omitempty"`
	First     int64       `json:"first_sequence,omitempty"`
	Last      int64       `json:"last_sequence,omitempty"`
	Events    int64       `json:"events,omitempty"`
	FirstTime string      `json:"first_time,omitempty"`
	LastTime  string      `json:"last_time,omitempty"`
	Number    int64       `json:"number,omitempty"`
	Head      string      `json:"head,omitempty"`
	Root      string      `json:"root,omitempty"`
	Sealed    string      `json:"sealed_at,omitempty"`
	Stated    string      `json:"stated_at,omitempty"`
	Bytes     int64       `json:"bytes,omitempty"`
	SHA256    string      `json:"sha256,omitempty"`
	Reason    string      `json:"reason,omitempty"`
	Deleted   string      `json:"deleted_at,omitempty"`
	Signature string      `json:"signature,omitempty"`
	Writers   []Other     `json:"writers,omitempty"`
	Previous  *string     `json:"previous"`
	Clock     json.Number `json:"clock,omitempty"`
	Adopted   int64       `json:"adopted,omitempty"`
}

// What each line of a manifest has, whatever else it has.
var neededIn = map[string]string{
	"trail":   "writer id created_at",
	"seal":    "file first_sequence last_sequence events first_time last_time head root sealed_at bytes sha256",
	"delete":  "file sha256 reason deleted_at",
	"head":    "number head stated_at",
	"writers": "writers",
}

var trailID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// hasAll tells whether a line has all fields of its kind.
func hasAll(line []byte, kind string) bool {
	var fields map[string]json.RawMessage
	is := json.Unmarshal(line, &fields) == nil
	for _, name := range strings.Fields(neededIn[kind]) {
		_, there := fields[name]
		is = is && there
	}
	return is
}

// Other is how far another writer of the directory was.
type Other struct {
	Writer string `json:"writer"`
	ID     string `json:"id"`
	Events int64  `json:"events"`
	Head   string `json:"head"`
}

// Seal is what a manifest says of a sealed file.
type Seal struct {
	Record
	path    string  // in the directory; "" if it is not there
	line    int64   // of the manifest, from 1
	deleted *Record // by retention
}

// Closing is the last line of a sealed file, without its bracket.
type Closing struct {
	Total    int64   `json:"total_events"`
	Exported string  `json:"exported_at"`
	Trail    string  `json:"trail"`
	First    int64   `json:"first_sequence"`
	Last     int64   `json:"last_sequence"`
	Root     string  `json:"root"`
	Previous *string `json:"previous_seal"`
}

// Event is what verification needs of one.
type Event struct {
	id       string
	number   int64
	previous *string
	time     string
	status   string
	hash     tlog.Hash
	own      *Own // of the trail about itself
	line     []byte
}

// Own is what a trail says of itself.
type Own struct {
	Record string `json:"record"`
	First  int64  `json:"first"`
	Last   int64  `json:"last"`
	Hold   string `json:"hold"`
	State  string `json:"state"`
}

// exactly decodes data, and tells whether it is as the writer of such a value encodes it.
func exactly[T any](data []byte) (value T, as bool) {
	if json.Unmarshal(data, &value) != nil {
		return value, false
	}
	var again bytes.Buffer
	encoder := json.NewEncoder(&again)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return value, err == nil && bytes.Equal(bytes.TrimSuffix(again.Bytes(), []byte("\n")), data)
}

// parseEvent reads an event; its hash is over its bytes, as they are.
func parseEvent(data []byte) (*Event, bool) {
	var fields map[string]json.RawMessage // a struct would take names in any case
	if json.Unmarshal(data, &fields) != nil || !isCanonical(data) {
		return nil, false
	}
	var number *int64
	var id, time, operation, status string
	var previous *string
	for name, target := range map[string]any{
		"event_id": &id, "sequence": &number, "timestamp": &time, "operation": &operation,
		"status": &status, "previous_hash": &previous,
	} {
		if value, there := fields[name]; there && json.Unmarshal(value, target) != nil {
			return nil, false
		}
	}
	if number == nil {
		return nil, false
	}
	event := &Event{
		id: id, number: *number, previous: previous, time: time, status: status,
		hash: tlog.RecordHash(data), line: data,
	}
	if operation == "AUDIT" {
		own := new(Own)
		if json.Unmarshal(fields["metadata"], own) == nil {
			event.own = own
		}
	}
	return event, true
}

// parseClosing reads the last line of a sealed file.
func parseClosing(line []byte) (Closing, bool) {
	rest, ok := bytes.CutPrefix(line, []byte("],"))
	closing, as := exactly[Closing](append([]byte("{"), bytes.TrimSuffix(rest, []byte("\n"))...))
	return closing, ok && as
}

// closing is what a file's last line says; of a file without one, nothing.
func (a *Archive) closing(file string) Closing {
	content, _ := a.uncompressed(file)
	start := bytes.LastIndexByte(bytes.TrimSuffix(content, []byte("\n")), '\n') + 1
	if closing, as := parseClosing(content[start:]); as {
		return closing
	}
	return Closing{}
}

// uncompressed is the content of a file of events. Whether it is compressed its first bytes tell.
func (a *Archive) uncompressed(file string) (content []byte, there bool) {
	content, there = a.read(file)
	if !bytes.HasPrefix(content, []byte("\x28\xb5\x2f\xfd")) {
		return content, there
	}
	reader, err := zstd.NewReader(bytes.NewReader(content))
	if err == nil {
		defer reader.Close()
		content, err = io.ReadAll(reader)
	}
	if err != nil {
		a.problem(file, "unreadable", "%v", err)
	}
	return content, err == nil
}

// lines are those of content that end; rest is what follows the last of them.
func lines(content []byte) (ended [][]byte, rest []byte) {
	for {
		end := bytes.IndexByte(content, '\n')
		if end < 0 {
			return ended, content
		}
		ended = append(ended, content[:end+1])
		content = content[end+1:]
	}
}

// Tree is a Merkle tree as RFC 6962 has it.
type Tree struct {
	size   int64
	hashes []tlog.Hash
}

// ReadHashes is for tlog.
func (t *Tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		found[i] = t.hashes[index]
	}
	return found, nil
}

func (t *Tree) add(record []byte) {
	hashes, err := tlog.StoredHashes(t.size, record, t)
	if err != nil {
		panic(err) // everything it asks for is there
	}
	t.hashes = append(t.hashes, hashes...)
	t.size++
}

func (t *Tree) root(size int64) tlog.Hash {
	root, err := tlog.TreeHash(size, t)
	if err != nil {
		panic(err)
	}
	return root
}
