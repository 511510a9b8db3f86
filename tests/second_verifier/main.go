// Second reader and verifier of audit archives.
//
//	second_verifier DIRECTORY [KEY]
//	second_verifier read [-key KEY] [-keys DIRECTORY] [-witness KEY] DIRECTORY
//	second_verifier proof FILE KEY
//	second_verifier attested PRIVATE_KEY DIRECTORY
//	second_verifier derive < QUESTIONS
//
// It reads an archive by docs/format.md alone, without the Python package, and prints one JSON
// object: whether it is sound, what is not, and, for each writer, how far it is and up to which
// event checkpoints that KEY signed prove it. Exit code 1: something is not sound.
//
// read prints every event as well, decrypted as far as the keys of persons are in a directory;
// proof says what a proof or a receipt proves; attested what the owner of a signing key attests;
// derive answers how values are made of others.
package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// Problem is one thing that is not as it was written.
type Problem struct {
	File string `json:"file"`
	Kind string `json:"kind"`
	Why  string `json:"why"`
}

// Archive is a directory that is being verified.
type Archive struct {
	OK       bool      `json:"ok"`
	Writers  []*Trail  `json:"writers"`
	Problems []Problem `json:"problems"`

	place  string
	files  fs.FS
	keys   note.Verifiers // nil where no key was given
	trails map[string]*Trail
}

func main() {
	if len(os.Args) > 1 && command(os.Args[1], os.Args[2:]) {
		return
	}
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: second_verifier DIRECTORY [KEY]")
		os.Exit(2)
	}
	key := ""
	if len(os.Args) == 3 {
		key = os.Args[2]
	}
	archive := verified(os.Args[1], key)
	_ = json.NewEncoder(os.Stdout).Encode(archive)
	if !archive.OK {
		os.Exit(1)
	}
}

// command runs what is not the verification of an archive; false if name is no command.
func command(name string, arguments []string) bool {
	switch {
	case name == "read" && len(arguments) > 0:
		read(arguments)
	case name == "proof" && len(arguments) == 2:
		said, err := checkProof(arguments[0], arguments[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = json.NewEncoder(os.Stdout).Encode(said)
	case name == "attested" && len(arguments) == 2:
		attested(arguments[0], arguments[1])
	case name == "derive" && len(arguments) == 0:
		derive()
	default:
		return false
	}
	return true
}

// verified is an archive that was verified, with a key unless that is "".
func verified(directory, key string) *Archive {
	archive := Archive{
		Writers:  []*Trail{},
		Problems: []Problem{},
		place:    directory,
		files:    os.DirFS(directory),
		trails:   map[string]*Trail{},
	}
	if key != "" {
		verifier, err := note.NewVerifier(key)
		stop(err)
		archive.keys = note.VerifierList(verifier)
	}
	archive.verify()
	return &archive
}

// stop ends the program with what is wrong, if anything is.
func stop(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func (a *Archive) verify() {
	var statements []*Statement
	for _, ending := range []string{".manifest", ".journal", ".checkpoint", ".checkpoints", ".cosigned"} {
		for _, file := range a.named("*" + ending) {
			if !isWriter(strings.TrimSuffix(file, ending)) {
				continue // not a file of an archive
			}
			a.trail(strings.TrimSuffix(file, ending))
			if strings.HasPrefix(ending, ".c") {
				statements = append(statements, a.statements(file)...)
			}
		}
	}
	a.assignFiles()
	for _, statement := range statements {
		if trail := a.trailOf(statement); trail != nil {
			trail.statements = append(trail.statements, statement)
		} else {
			a.problem(statement.source, "altered", "speaks of %s, which is not here", statement.origin)
		}
	}
	a.assignRegistered()
	for _, trail := range a.trails {
		trail.verify()
		a.Writers = append(a.Writers, trail)
	}
	slices.SortFunc(a.Writers, func(one, other *Trail) int { return strings.Compare(one.Name, other.Name) })
	a.checkHolds()
	if len(a.Writers) == 0 && len(a.Problems) == 0 {
		a.problem("", "removed", "there is no archive")
	}
	a.OK = len(a.Problems) == 0
}

// assignFiles gives every sealed file to the seal that lists it. What no seal lists is a problem,
// unless its writer was killed between the file's last line and the manifest's.
func (a *Archive) assignFiles() {
	unlisted := map[string]string{}
	for _, file := range append(a.named("audit_*.json"), a.named("audit_*.json.zst")...) {
		name := strings.TrimSuffix(file, ".zst")
		if _, twice := unlisted[name]; twice {
			continue // it is being compressed: the plain one counts
		}
		unlisted[name] = file
	}
	for _, trail := range a.trails {
		for _, seal := range trail.seals {
			file, there := unlisted[seal.File]
			if there && (seal.deleted == nil || a.closing(file).Root == seal.Root) {
				seal.path = file
			}
		}
	}
	for _, trail := range a.trails {
		for _, seal := range trail.seals {
			if seal.path != "" {
				delete(unlisted, seal.File)
			}
		}
	}
	for _, file := range unlisted {
		closing := a.closing(file)
		if !isWriter(closing.Trail) {
			a.problem(file, "unlisted", "no manifest lists it")
			continue
		}
		trail := a.trail(closing.Trail)
		if a.isOne(file, trail.Name+".journal") {
			continue // it is being sealed, and is read as the journal
		}
		if trail.unfinished != "" || !trail.diedBeforeListing(closing) {
			a.problem(file, "unlisted", "no manifest lists it")
			continue
		}
		trail.unfinished = file
	}
}

// assignRegistered gives each trail what the manifests of the others list of it. A trail that is
// not here is a problem.
func (a *Archive) assignRegistered() {
	byID := map[string]*Trail{}
	for _, trail := range a.trails {
		byID[trail.id()] = trail
	}
	for _, trail := range a.trails {
		for _, other := range trail.others {
			if of := byID[other.ID]; of != nil {
				of.heads = append(of.heads, Record{Number: other.Events, Head: other.Head})
			} else {
				a.problem(other.Writer+".manifest", "removed", "%s lists it as %s", trail.Name, other.ID)
			}
		}
	}
}

// trailOf is the trail that a checkpoint speaks of. Before it has a manifest, a trail is "new".
func (a *Archive) trailOf(s *Statement) *Trail {
	for _, trail := range a.trails {
		if trail.ID != "" && trail.ID == s.id {
			return trail
		}
	}
	trail := a.trails[s.writer]
	if trail != nil && (trail.ID == "" || s.id == "new") {
		return trail
	}
	return nil
}

// isWriter tells whether a writer may have that name.
func isWriter(name string) bool {
	isOther := func(char rune) bool { return char < 0x20 || char == '/' || char == '\\' }
	return name != "" && name[0] != '.' && utf8.RuneCountInString(name) <= 200 && !strings.ContainsFunc(name, isOther)
}

func (a *Archive) trail(writer string) *Trail {
	if a.trails[writer] == nil {
		a.trails[writer] = a.newTrail(writer)
	}
	return a.trails[writer]
}

func (a *Archive) problem(file, kind, format string, facts ...any) {
	a.Problems = append(a.Problems, Problem{file, kind, fmt.Sprintf(format, facts...)})
}

// named are the files whose names match a pattern.
func (a *Archive) named(pattern string) []string {
	found, err := fs.Glob(a.files, pattern)
	if err != nil {
		panic(err) // the patterns are ours
	}
	return found
}

// isOne tells whether two names are those of one file.
func (a *Archive) isOne(name, other string) bool {
	one, err := fs.Stat(a.files, name)
	if err != nil {
		return false
	}
	two, err := fs.Stat(a.files, other)
	return err == nil && os.SameFile(one, two)
}

// read is a file's content; nothing, and a problem, if it cannot be read.
func (a *Archive) read(file string) (content []byte, there bool) {
	status, err := os.Lstat(filepath.Join(a.place, file)) // links are not followed
	if os.IsNotExist(err) {
		return nil, false
	}
	if err == nil && !status.Mode().IsRegular() {
		err = fs.ErrInvalid
	}
	if err == nil {
		content, err = fs.ReadFile(a.files, file)
	}
	if err != nil {
		a.problem(file, "unreadable", "%v", err)
	}
	return content, err == nil
}
