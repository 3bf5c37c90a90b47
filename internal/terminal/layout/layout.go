// Package layout shares the lines of a screen among sections of rows.
package layout

import "slices"

// Section is rows under a heading. When room is short it shows its first rows.
type Section struct {
	Head  string   // the heading; empty for none
	Rows  []string // a line each; a section without any is left out
	Least int      // rows that it gets before any other gets more
	First int      // rows that it gets before what is left is shared
	Last  bool     // the last rows are shown, and not the first
	Plain bool     // rows that are left out are not counted
	Idle  []bool   // for each row, whether it is left out before others; nil for none
	given int
}

// Lines are the sections in so many lines at the most, in their order. more is the text for so many rows that are left out.
func Lines(sections []Section, room int, more func(rows int) string) []string {
	all := slices.DeleteFunc(slices.Clone(sections), func(s Section) bool { return len(s.Rows) == 0 })
	gaps := len(all)
	if room < 19 { // short of room: no blank lines
		gaps = 0
	}
	share(all, room-gaps)
	var lines []string
	for _, s := range all {
		if s.given == 0 {
			continue
		}
		if gaps > 0 {
			lines = append(lines, "")
		}
		if s.Head != "" {
			lines = append(lines, s.Head)
		}
		rows := s.Rows
		switch out := len(rows) - s.given; {
		case out > 0 && s.Last:
			rows = rows[out:]
		case out > 0 && (s.Plain || s.given == 1):
			rows = rows[:s.given]
		case out > 0:
			rows = append(s.lively(s.given-1), more(out+1))
		}
		lines = append(lines, rows...)
	}
	return lines
}

// lively is n of the rows, at most all, in their order: idle ones only when there are too few others.
func (s *Section) lively(n int) (rows []string) {
	isIdle := func(i int) bool { return i < len(s.Idle) && s.Idle[i] }
	idle := n
	for i := range s.Rows {
		if !isIdle(i) {
			idle--
		}
	}
	for i, row := range s.Rows {
		if isIdle(i) {
			if idle <= 0 {
				continue
			}
			idle--
		}
		rows = append(rows, row)
	}
	return rows[:n]
}

// share gives Sections their rows: first the least that each takes, then what they like to have, then the
// rest, to those that are listed first.
func share(all []Section, room int) {
	for _, upTo := range []func(s *Section) int{
		func(s *Section) int { return s.Least },
		func(s *Section) int { return s.First },
		func(s *Section) int { return len(s.Rows) },
	} {
		for i := range all {
			s := &all[i]
			want := min(upTo(s), len(s.Rows)) - s.given
			if s.given == 0 && want > 0 && s.Head != "" {
				room-- // its heading
			}
			n := max(0, min(want, room))
			if s.given == 0 && n == 0 && want > 0 && s.Head != "" {
				room++
			}
			s.given += n
			room -= n
		}
	}
}
