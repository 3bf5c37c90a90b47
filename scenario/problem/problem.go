// Package problem is the mistakes in a scenario: each with its place and what would be right.
package problem

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Place is where something stands in a file. The zero value is nowhere.
type Place struct {
	Line, Column int // from 1; 0 for nowhere
}

// Problem is one mistake in a scenario.
type Problem struct {
	File         string // as it was given to the decoder
	Line, Column int    // from 1; 0 when the mistake has no place in the file
	Path         string // of the key, such as fleet.groups[0].count
	Text         string // what is wrong, and what would be right
}

// String is the problem as one line: file:line:column: path: text.
func (p Problem) String() string {
	b := p.File
	if p.Line > 0 {
		b += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if p.Path != "" {
		b += ": " + p.Path
	}
	return b + ": " + p.Text
}

// List is all mistakes of a scenario, in the order of the file. It is the error of a scenario that is not valid.
type List []Problem

// Error is the problems, one a line.
func (ps List) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err sorts the problems and returns them as an error; it is nil when there are none.
func (ps List) Err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	return ps
}
