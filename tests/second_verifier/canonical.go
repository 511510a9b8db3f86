package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// member is one of an object: its name, and its value as it stands there.
type member struct {
	name  string
	value []byte
}

// scanner reads JSON in its one form: without spaces, each name once, every text and number
// written in one way.
type scanner struct {
	data []byte
	bad  bool
}

const (
	deepest    = 500  // levels; nothing that was recorded has so many
	mostDigits = 4300 // of an integer
)

// members are those of an object that is written in its one form.
func members(data []byte) ([]member, bool) {
	s := scanner{data: data}
	if s.next() != '{' {
		return nil, false
	}
	found := s.object(1)
	return found, !s.bad && len(s.data) == 0
}

func (s *scanner) next() byte {
	if len(s.data) == 0 {
		return 0
	}
	return s.data[0]
}

func (s *scanner) take(token string) bool {
	rest, is := bytes.CutPrefix(s.data, []byte(token))
	s.data = rest
	return is
}

func (s *scanner) value(level int) {
	switch first := s.next(); {
	case level > deepest:
		s.bad = true
	case first == '"':
		s.text()
	case first == '{':
		s.object(level + 1)
	case first == '[':
		s.list(level + 1)
	case first == '-' || '0' <= first && first <= '9':
		s.number()
	default:
		s.bad = s.bad || !(s.take("null") || s.take("true") || s.take("false"))
	}
}

func (s *scanner) object(level int) (found []member) {
	s.take("{")
	names := map[string]bool{}
	for !s.bad && !s.take("}") {
		if len(found) > 0 {
			s.need(",")
		}
		name := s.text()
		s.need(":")
		s.bad = s.bad || names[name]
		names[name] = true
		before := s.data
		s.value(level)
		found = append(found, member{name, before[:len(before)-len(s.data)]})
	}
	return found
}

func (s *scanner) list(level int) {
	s.take("[")
	for first := true; !s.bad && !s.take("]"); first = false {
		if !first {
			s.need(",")
		}
		s.value(level)
	}
}

func (s *scanner) need(token string) { s.bad = s.bad || !s.take(token) }

// text reads a text: it must be written as quoted writes it.
func (s *scanner) text() string {
	end := 1
	for end < len(s.data) && s.data[end] != '"' {
		if s.data[end] == '\\' {
			end++
		}
		end++
	}
	if s.next() != '"' || end >= len(s.data) {
		s.bad = true
		return ""
	}
	written := s.data[:end+1]
	s.data = s.data[end+1:]
	var found string
	if !utf8.Valid(written) || json.Unmarshal(written, &found) != nil || quoted(found) != string(written) {
		s.bad = true
	}
	return found
}

// quoted is a text as JSON: only quote, backslash and controls are escaped.
func quoted(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, char := range []byte(text) {
		if at := strings.IndexByte("\"\\\b\f\n\r\t", char); at >= 0 {
			out.WriteByte('\\')
			out.WriteByte(`"\bfnrt`[at])
		} else if char < 0x20 {
			out.WriteString(`\u00`)
			out.WriteByte("01"[char>>4])
			out.WriteByte("0123456789abcdef"[char&15])
		} else {
			out.WriteByte(char)
		}
	}
	out.WriteByte('"')
	return out.String()
}

var (
	aNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?`)
	integer = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
)

func (s *scanner) number() {
	written := string(aNumber.Find(s.data))
	s.data = s.data[len(written):]
	if integer.MatchString(written) {
		s.bad = s.bad || len(strings.TrimPrefix(written, "-")) > mostDigits
	} else {
		s.bad = s.bad || !isFloat(written)
	}
}

// isFloat tells whether a number is a float in its one form.
func isFloat(written string) bool {
	value, err := strconv.ParseFloat(written, 64)
	return err == nil && float(value) == written
}

// float is a number of double precision: the fewest digits that give it; plain from 1e-5 to
// below 1e16, with a fraction; else with an exponent.
func float(value float64) string {
	digits, exponent, _ := strings.Cut(strconv.FormatFloat(value, 'e', -1, 64), "e")
	power, _ := strconv.Atoi(exponent)
	if value != 0 && (power < -5 || power > 15) {
		return digits + "e" + strconv.Itoa(power)
	}
	plain := strconv.FormatFloat(value, 'f', -1, 64)
	if !strings.Contains(plain, ".") {
		plain += ".0"
	}
	return plain
}

// --- an event ------------------------------------------------------------------------------------

// The fields of an event, in their order: what each holds, and whether it is left out when empty.
var eventFields = []struct {
	name     string
	holds    string
	optional bool
}{
	{"event_id", "text", false}, {"timestamp", "time", false}, {"operation", "operation", false},
	{"user_id", "text?", false}, {"session_id", "text?", false}, {"entry_ids", "texts", false},
	{"metadata", "object", false}, {"status", "status", false}, {"duration_ms", "float?", false},
	{"error_message", "text", true}, {"error_type", "text", true}, {"subject_id", "text", true},
	{"trace_id", "text", true}, {"span_id", "text", true}, {"trace_flags", "text", true}, {"action", "text", true},
	{"system", "text", true}, {"store", "text", true}, {"subjects", "texts", true},
	{"agent_id", "text", true}, {"on_behalf_of", "text", true}, {"purpose", "text", true},
	{"fingerprints", "object of texts", true}, {"derived_from", "texts", true},
	{"sequence", "number", true}, {"previous_hash", "text", true},
}

// Operations that have one form, in capitals; a reader keeps other names as they are.
var operations = strings.Fields(
	"STORE RECALL FORGET COMPACT EXPORT IMPORT SYNC TRANSACTION BULK_STORE REINDEX AUDIT OTHER")

// What versions before the second edition wrote last, in an event whose words were dropped.
var lastOfDropped = []string{"user_id", "session_id", "metadata", "sequence", "previous_hash"}

// isCanonical tells whether a line is an event in its one form.
func isCanonical(line []byte) bool {
	found, is := members(line)
	if !is {
		return false
	}
	values := map[string][]byte{}
	var names []string
	for _, one := range found {
		values[one.name] = one.value
		names = append(names, one.name)
	}
	var order []string
	for _, field := range eventFields {
		value, there := values[field.name]
		if there {
			order = append(order, field.name)
		}
		if !there && !field.optional || there && !holds(value, field.holds, field.optional) {
			return false
		}
	}
	if slices.Equal(names, order) {
		return true
	}
	facts, _ := members(values["metadata"])
	if !slices.ContainsFunc(facts, func(fact member) bool { return fact.name == "dropped" }) {
		return false
	}
	order = slices.DeleteFunc(order, func(name string) bool { return slices.Contains(lastOfDropped, name) })
	for _, name := range lastOfDropped {
		if _, there := values[name]; there {
			order = append(order, name)
		}
	}
	return slices.Equal(names, order)
}

var aTime = regexp.MustCompile(`^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z"$`)

// holds tells whether a value, which is in its one form, is of that kind.
func holds(value []byte, kind string, optional bool) bool {
	kind, nullable := strings.CutSuffix(kind, "?")
	if nullable && string(value) == "null" {
		return true
	}
	switch kind {
	case "text":
		return value[0] == '"'
	case "time":
		moment, err := time.Parse(`"2006-01-02T15:04:05Z"`, string(value))
		return aTime.Match(value) && err == nil && moment.Year() > 0
	case "operation":
		name := strings.Trim(string(value), `"`)
		return value[0] == '"' && (!slices.Contains(operations, strings.ToUpper(name)) || name == strings.ToUpper(name))
	case "status":
		return slices.Contains([]string{`"SUCCESS"`, `"FAILURE"`, `"PARTIAL"`}, string(value))
	case "float":
		return (value[0] == '-' || '0' <= value[0] && value[0] <= '9') && bytes.ContainsAny(value, ".e")
	case "number":
		number, err := strconv.ParseInt(string(value), 10, 64)
		return err == nil && number > 0
	case "texts":
		var texts []*string
		is := json.Unmarshal(value, &texts) == nil && texts != nil && !slices.Contains(texts, nil)
		return is && !(optional && len(texts) == 0)
	case "object of texts":
		var texts map[string]*string
		is := json.Unmarshal(value, &texts) == nil && len(texts) > 0
		for _, text := range texts {
			is = is && text != nil
		}
		return is
	default:
		return value[0] == '{'
	}
}
