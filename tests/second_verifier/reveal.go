package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

var (
	// The fields with the ids of persons, in the order of the event.
	persons = []string{"user_id", "subject_id", "subjects", "agent_id", "on_behalf_of"}
	// Those that say who acts, or whom the call named.
	holders = []string{"user_id", "subject_id", "agent_id", "on_behalf_of"}
	// Facts that are not encrypted beside a box: of an event, and of the trail's own records.
	ofEntries = []string{"altered", "resurrected", "derived", "summary_ids", "remaining_ids",
		"derived_remaining", "derived_deleted", "derived_of_others"}
	ofRecords = []string{"record", "tokens", "hold", "state"}
)

// Box is what is encrypted of an event of several persons.
type Box struct {
	Box   string              `json:"box"`
	Keys  []string            `json:"keys"`
	Texts [][]json.RawMessage `json:"texts"`
}

// reveal makes an event readable, as far as there are keys.
func (k *Keyring) reveal(event map[string]any) {
	facts, _ := event["metadata"].(map[string]any)
	record, _ := facts["record"].(string)
	isOwn := event["operation"] == "AUDIT"
	asked := persons
	if isOwn && record == "erasure" {
		asked = []string{"user_id", "agent_id", "on_behalf_of"}
	}
	known := map[string]*Person{} // whom each name stands for; nil without a key
	var names []string            // in the order of the fields
	before := maps.Clone(event)
	some := false
	show := func(name string) string {
		if !strings.HasPrefix(name, prefix) {
			return name
		}
		if _, there := known[name]; !there {
			known[name] = k.person(name)
			names = append(names, name)
		}
		if known[name] == nil {
			return name
		}
		some = true
		return known[name].id
	}
	for _, field := range asked {
		switch value := event[field].(type) {
		case string:
			event[field] = show(value)
		case []any:
			event[field] = each(value, show)
		}
	}
	if isOwn {
		for fact, value := range facts {
			if name, is := value.(string); is && strings.HasPrefix(name, prefix) {
				if person := k.person(name); person != nil {
					facts[fact] = person.id
					some = true
				}
			}
		}
	}
	box, there := facts["erasable"]
	open := maps.Clone(facts)
	delete(open, "erasable")
	allowed := ofEntries
	if isOwn && (record == "erasure" || record == "hold") {
		allowed = ofRecords
	}
	for fact := range open {
		there = there && slices.Contains(allowed, fact)
	}
	if some && there {
		openBox(event, before, box, open, known, names)
	}
	k.openEntries(event)
}

// openEntries puts the ids of entries in place of their encrypted forms, wherever an event has them.
func (k *Keyring) openEntries(event map[string]any) {
	for _, field := range []string{"entry_ids", "derived_from", "fingerprints", "metadata",
		"error_message", "purpose"} {
		if value, there := event[field]; there {
			event[field] = k.openIn(value)
		}
	}
}

func (k *Keyring) openIn(value any) any {
	switch value := value.(type) {
	case string:
		return entryForm.ReplaceAllStringFunc(value, k.entry)
	case []any:
		found := []any{}
		for _, item := range value {
			found = append(found, k.openIn(item))
		}
		return found
	case map[string]any:
		found := map[string]any{}
		for name, item := range value {
			found[entryForm.ReplaceAllStringFunc(name, k.entry)] = k.openIn(item)
		}
		return found
	}
	return value
}

// openBox puts what is in the box of an event in its place. before has the names of persons.
func openBox(event, before map[string]any, box any, open map[string]any, known map[string]*Person, names []string) {
	id := event["event_id"].(string)
	all := func(names []string) (found []*Person) {
		for _, name := range names {
			found = append(found, known[name])
		}
		return found
	}
	if text, is := box.(string); is {
		putBack(event, open, object(unboxed(keyOfAll(all(names)), text, id)))
		return
	}
	var parts Box
	encoded, _ := json.Marshal(box)
	if json.Unmarshal(encoded, &parts) != nil {
		return
	}
	var subjects []*Person
	given, _ := before["subjects"].([]any)
	for _, name := range given {
		subjects = append(subjects, known[name.(string)])
	}
	var key []byte
	if len(parts.Keys) == 0 {
		var acting []string
		for _, field := range holders {
			name, is := before[field].(string)
			if is && !slices.Contains(acting, name) {
				acting = append(acting, name)
			}
		}
		key = keyOfAll(all(acting))
	}
	for place, wrapped := range parts.Keys {
		if place < len(subjects) && subjects[place] != nil && key == nil {
			key = unboxed(subjects[place].key, wrapped, id+" key")
		}
	}
	inside := object(unboxed(key, parts.Box, id))
	kept := open
	if inside == nil {
		kept = maps.Clone(open)
		kept["erasable"] = box
	}
	putBack(event, kept, inside)
	for _, part := range parts.Texts {
		putTexts(event, part, subjects, id)
	}
}

// putBack puts the content of a box in its place.
func putBack(event, open, inside map[string]any) {
	if inside == nil {
		return
	}
	event["session_id"] = inside["session_id"]
	facts := maps.Clone(open)
	if more, is := inside["metadata"].(map[string]any); is {
		maps.Copy(facts, more)
	}
	event["metadata"] = facts
	for _, field := range []string{"error_message", "purpose"} {
		if inside[field] != nil {
			event[field] = inside[field]
		}
	}
}

// putTexts puts the texts of some persons in their places.
func putTexts(event map[string]any, part []json.RawMessage, subjects []*Person, id string) {
	var places []int
	var text string
	if len(part) != 2 || json.Unmarshal(part[0], &places) != nil || json.Unmarshal(part[1], &text) != nil {
		return
	}
	var owners []*Person
	for _, place := range places {
		if place >= len(subjects) {
			return
		}
		owners = append(owners, subjects[place])
	}
	var inside []json.RawMessage
	var count int
	texts := map[string]any{}
	if json.Unmarshal(unboxed(keyOfAll(owners), text, id+" texts"), &inside) != nil || len(inside) != 2 ||
		json.Unmarshal(inside[0], &count) != nil || json.Unmarshal(inside[1], &texts) != nil {
		return
	}
	facts := maps.Clone(event["metadata"].(map[string]any))
	content, is := facts["content"].([]any)
	if !is {
		content = slices.Repeat([]any{"[erased]"}, count)
	}
	content = slices.Clone(content)
	for name, text := range texts {
		if place, err := strconv.Atoi(name); err == nil && place < len(content) {
			content[place] = text
		}
	}
	facts["content"] = content
	event["metadata"] = facts
}

func each(values []any, change func(string) string) []any {
	found := []any{}
	for _, value := range values {
		found = append(found, change(value.(string)))
	}
	return found
}
