package main

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Statement is a checkpoint: how far a trail was at one moment.
type Statement struct {
	source string // the file that it is in
	origin string // axon-audit/writer/id
	writer string
	id     string
	size   int64 // lines of the manifest
	root   tlog.Hash
	events int64 // number of the newest event
	head   string
	proves bool // a key signed it
}

const text = `(axon-audit/(\S+)/(\S+))\n(0|[1-9]\d{0,18})\n(\S+)\n` +
	`events (0|[1-9]\d{0,18})(?: ([0-9a-f]{64}))?\ntime \S+\n`

var (
	checkpoint = regexp.MustCompile("^" + text + "$")
	whole      = regexp.MustCompile("^" + text + `\n((?:\x{2014} \S+ \S+\n)*)`)
	// A note that a kill cut off in the middle of a line is followed, there, by the next.
	afterCut = regexp.MustCompile(`[^\n](axon-audit/[^/\s]+/(?:[0-9a-f]{16}|new)\n)$`)
	// What a kill leaves of a note's text, and of its signature.
	begun = regexp.MustCompile(`^axon-audit/\S*(?:\n\d*(?:\n[A-Za-z0-9+/]*=?(?:\n[a-z]*` +
		`(?: \d*(?: [0-9a-f]*)?)?(?:\n[a-z]*(?: \S*)?\n?)?)?)?)?$`)
	begunSignature = regexp.MustCompile(`^(?:\x{fffd}{1,2}|\x{2014}(?: \S*){0,2}\n?)$`)
)

// statements are the checkpoints in a file, to which notes are appended by writers that may be
// killed: the beginning of a note counts for nothing, and what is no note is told.
func (a *Archive) statements(file string) []*Statement {
	content, _ := a.read(file)
	parts := []string{""}
	for _, line := range strings.SplitAfter(string(content), "\n") {
		if cut := afterCut.FindStringSubmatch(line); cut != nil {
			parts[len(parts)-1] += strings.TrimSuffix(line, cut[1])
			line = cut[1]
		}
		if strings.HasPrefix(line, "axon-audit/") {
			parts = append(parts, line)
		} else {
			parts[len(parts)-1] += line
		}
	}
	var found []*Statement
	for index, one := range parts {
		rest := one
		if at := whole.FindStringSubmatchIndex(one); at != nil {
			unsigned := at[len(at)-2] == at[len(at)-1]
			rest = one[at[1]:]
			if unsigned && begunSignature.MatchString(rest) {
				continue
			}
			statement, err := a.open(file, one[:at[1]])
			if err == nil {
				found = append(found, statement)
			} else if !unsigned || len(found) == 0 || index < len(parts)-1 {
				a.problem(file, "wrong_key", "a note in it: %v", err)
			} // else killed before the last note's signature
		}
		isBegun := strings.HasPrefix("axon-audit/", strings.TrimRight(rest, "\n")) || begun.MatchString(rest)
		if strings.TrimSpace(rest) != "" && !isBegun {
			a.problem(file, "unreadable", "what is no note: %.60q", rest)
		}
	}
	return found
}

// open checks the signature of a note, if there is a key, and reads its text.
func (a *Archive) open(file, one string) (*Statement, error) {
	text, signatures, _ := strings.Cut(one, "\n\n")
	text = strings.TrimSuffix(text, "\n") + "\n"
	if err := a.checkSignature(text, signatures); err != nil {
		return nil, err
	}
	part := checkpoint.FindStringSubmatch(text)
	if part == nil {
		return nil, fmt.Errorf("no checkpoint: %.60q", text)
	}
	root, err := base64.StdEncoding.DecodeString(part[5])
	if err != nil || len(root) != tlog.HashSize {
		return nil, fmt.Errorf("no root: %q", part[5])
	}
	size, err := strconv.ParseInt(part[4], 10, 64)
	if err != nil {
		return nil, err
	}
	events, err := strconv.ParseInt(part[6], 10, 64)
	return &Statement{
		file, part[1], part[2], part[3], size, tlog.Hash(root), events, part[7], a.keys != nil,
	}, err
}

// checkSignature tells why a text is not signed by the key, if there is one. One line has to say
// that it is; the others may say what they like.
func (a *Archive) checkSignature(text, signatures string) error {
	if a.keys == nil {
		return nil
	}
	var err error
	for _, line := range strings.Split(signatures, "\n") {
		if _, err = note.Open([]byte(text+"\n"+line+"\n"), a.keys); err == nil {
			return nil
		}
	}
	return err
}
