package main

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// told is what one event says of its trail.
type told struct {
	*Own
	number int64
	time   string
	status string
	file   string
}

// disbelieve finds the events that a start adopted: what they say of the trail counts for nothing.
func (t *Trail) disbelieve() {
	for _, seal := range t.seals {
		first := seal.Adopted
		if first == 0 || seal.deleted != nil {
			continue
		}
		for _, s := range t.statements {
			if s.proves && s.size < seal.line {
				first = max(first, s.events+1) // it was attested before
			}
		}
		if first > seal.Last {
			continue
		}
		if t.keys != nil {
			t.problem(seal.File, "adopted", "nothing attests events %d to %d", first, seal.Last)
		}
		adopted := func(number int64) bool { return first <= number && number <= seal.Last }
		t.told = slices.DeleteFunc(t.told, func(one told) bool {
			return adopted(one.number) && !(one.Record == "hold" && one.State == "placed")
		})
		t.gaps = slices.DeleteFunc(t.gaps, func(one gap) bool { return adopted(one.toldBy) })
	}
}

// hold is one that was placed, and the time when it was released; "" if it was not.
type hold struct{ name, from, until string }

var aHold = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkHolds finds what was deleted or erased while a hold was in force, and holds whose file is
// gone; and files that the application did not sign.
func (a *Archive) checkHolds() {
	var all []told
	for _, trail := range a.Writers {
		for _, one := range trail.told {
			if one.Record == "refused" && a.keys != nil {
				a.problem(trail.Name+".manifest", "adopted", "event %d refused to sign files", one.number)
			}
			// A release that nobody signed may be of anybody.
			signed := one.State == "placed" || a.keys == nil || one.number <= trail.Proved
			if one.Record == "hold" && aHold.MatchString(one.Hold) && signed {
				all = append(all, one)
			}
		}
	}
	slices.SortStableFunc(all, func(one, other told) int { return strings.Compare(one.time, other.time) })
	for _, held := range periods(all) {
		if _, err := fs.Stat(a.files, held.name+".hold"); held.until == "" && err != nil {
			a.problem(held.name+".hold", "removed", "it is gone, and no release is on record")
		}
		in := func(time string) bool { return held.from <= time && (held.until == "" || time < held.until) }
		for _, trail := range a.Writers {
			for _, seal := range trail.seals {
				if seal.deleted != nil && in(seal.deleted.Deleted) {
					a.problem(seal.File, "on_hold", "deleted while %s was in force", held.name)
				}
			}
			for _, one := range trail.told {
				if one.Record == "erasure" && one.status == "SUCCESS" && in(one.time) {
					a.problem(one.file, "on_hold", "event %d erased somebody", one.number)
				}
			}
		}
	}
}

// periods are those of all holds; the records are in the order of their times.
func periods(records []told) (found []hold) {
	open := map[string]string{}
	for _, one := range records {
		from, is := open[one.Hold]
		switch {
		case one.State == "placed" && !is:
			open[one.Hold] = one.time
		case one.State == "released" && is:
			found = append(found, hold{one.Hold, from, one.time})
			delete(open, one.Hold)
		}
	}
	for name, from := range open {
		found = append(found, hold{name, from, ""})
	}
	return found
}
