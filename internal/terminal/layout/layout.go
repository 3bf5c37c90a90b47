// Package layout shares the lines of a screen among sections of rows.
package layout

import (
	"slices"
	"strings"
)

// Row is a line of a section.
type Row struct {
	Key     string // by which it is found again, whatever its place
	Text    string // begins with a column for the mark of the picked row
	Trouble bool   // something is wrong with it
	Idle    bool   // it has ended: it is left out before others
}

// Section is rows under a heading. When room is short it shows its first rows, or those around the picked one.
type Section struct {
	Name string // by which it is found again
	// Head is the heading when some rows are left out; nil for none.
	Head  func(out []Row) string
	Rows  []Row // a section without any is left out
	Rank  int   // sections of a lower rank get their rows before others
	Least int   // rows that it gets before any other gets more
	First int   // rows that it gets before what is left is shared
	Last  bool  // the last rows are shown, and not the first
	Focus bool  // a row of it is picked: it gets room before others
	Pick  int   // the picked row; of no meaning without Focus
}

// Band is sections side by side, each in its share of the width.
type Band []Section

// Texts are the words that a layout needs.
type Texts struct {
	More func(out []Row) string          // for rows that are left out of a section without a heading
	Idle func(out []Row) string          // for rows that have ended, in place of them
	Pick func(text string) string        // a picked row
	Fit  func(text string, n int) string // a text in exactly n columns
}

// gap is the columns between sections that stand side by side.
const gap = 3

// Widths are the columns that n sections have side by side in a width.
func Widths(width, n int) []int {
	widths := make([]int, n)
	for i := range widths {
		widths[i] = (width - gap*(n-1)) / n
	}
	return widths
}

// blankFrom is the room from which sections have a blank line between them.
const blankFrom = 26

// Lines are the bands in so many lines at the most and so many columns, in their order.
func Lines(bands []Band, room, width int, texts Texts) []string {
	var all []*band
	for _, b := range bands {
		b = slices.DeleteFunc(slices.Clone(b), func(s Section) bool { return len(s.Rows) == 0 })
		if len(b) > 0 {
			all = append(all, &band{Band: b})
		}
	}
	gaps := len(all)
	if room < blankFrom {
		gaps = 0
	}
	share(all, room-gaps)
	var lines []string
	for _, b := range all {
		if b.given == 0 {
			continue
		}
		if gaps > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, b.lines(width, texts)...)
	}
	return lines
}

// band is a Band with its room.
type band struct {
	Band
	given int // rows
}

func (b *band) most(f func(s *Section) int) (n int) {
	for i := range b.Band {
		n = max(n, min(f(&b.Band[i]), len(b.Band[i].Rows)))
	}
	return n
}

// heads is the lines of the headings: 1, or 0 when there is none.
func (b *band) heads() int {
	if slices.ContainsFunc(b.Band, func(s Section) bool { return s.Head != nil }) {
		return 1
	}
	return 0
}

func (b *band) rank() int {
	rank := b.Band[0].Rank
	for _, s := range b.Band[1:] {
		rank = min(rank, s.Rank)
	}
	return rank
}

// share gives bands their rows: first the least that each takes, then what the one with the picked row takes, then what they like
// to have, then the rest; each time to those of a low rank first.
func share(all []*band, room int) {
	byRank := slices.Clone(all)
	slices.SortStableFunc(byRank, func(a, b *band) int { return a.rank() - b.rank() })
	for _, upTo := range []func(s *Section) int{
		func(s *Section) int { return s.Least },
		func(s *Section) int {
			if s.Focus {
				return len(s.Rows)
			}
			return 0
		},
		func(s *Section) int { return s.First },
		func(s *Section) int { return len(s.Rows) },
	} {
		for _, b := range byRank {
			want, head := b.most(upTo)-b.given, 0
			if b.given == 0 {
				head = b.heads()
			}
			if n := max(0, min(want, room-head)); n > 0 {
				b.given += n
				room -= n + head
			}
		}
	}
}

// lines are the sections of a band, side by side.
func (b *band) lines(width int, texts Texts) []string {
	if len(b.Band) == 1 {
		return b.Band[0].lines(b.given, b.heads() > 0, texts)
	}
	widths := Widths(width, len(b.Band))
	out := make([]string, b.given+b.heads())
	for i := range b.Band {
		part := b.Band[i].lines(b.given, b.heads() > 0, texts)
		for k := range out {
			text := ""
			if k < len(part) {
				text = part[k]
			}
			if i < len(b.Band)-1 {
				text = texts.Fit(text, widths[i]) + strings.Repeat(" ", gap)
			}
			out[k] += text
		}
	}
	return out
}

// lines are a section in n rows at the most, under its heading.
func (s *Section) lines(n int, head bool, texts Texts) []string {
	shown, out := s.rows(n, texts)
	switch {
	case s.Head != nil:
		return append([]string{s.Head(out)}, shown...)
	case len(out) > 0 && n > 1 && !s.Focus:
		shown[n-1] = texts.More(append([]Row{s.Rows[n-1]}, out...))
	}
	if head {
		shown = append([]string{""}, shown...)
	}
	return shown
}

// rows are n rows at the most, and those that are left out of them.
func (s *Section) rows(n int, texts Texts) (shown []string, out []Row) {
	from := 0
	switch {
	case len(s.Rows) <= n:
		n = len(s.Rows)
	case s.Focus:
		from = max(0, min(s.Pick-n/2, len(s.Rows)-n))
	case s.Last:
		from = len(s.Rows) - n
	}
	idle := func(r Row) bool { return r.Idle }
	if busy := slices.DeleteFunc(slices.Clone(s.Rows), idle); n < len(s.Rows) && !s.Focus && len(busy) < n && n > 1 {
		ended := slices.DeleteFunc(slices.Clone(s.Rows), func(r Row) bool { return !r.Idle })
		left := n - len(busy) - 1 // of those that have ended, so that nothing is blank
		shown = append(textsOf(busy), textsOf(ended[:left])...)
		return append(shown, texts.Idle(ended[left:])), nil
	}
	shown = textsOf(s.Rows[from : from+n])
	if s.Focus && s.Pick >= from && s.Pick < from+n {
		shown[s.Pick-from] = texts.Pick(shown[s.Pick-from])
	}
	return shown, slices.Concat(s.Rows[:from], s.Rows[from+n:])
}

func textsOf(rows []Row) []string {
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = r.Text
	}
	return lines
}
