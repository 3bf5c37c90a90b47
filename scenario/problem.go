package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a scenario.
type Problem struct {
	File         string
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

// Problems are all mistakes of a scenario, in the order of the file.
type Problems []Problem

// Error is the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// asError sorts the problems; it is nil when there are none.
func (ps Problems) asError() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	return ps
}

// nearest is the candidate that a word was probably meant to be; "" when none is near.
func nearest(word string, candidates []string) string {
	best, distance := "", len(word)/3+2
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(word), strings.ToLower(c)); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance is how many insertions, deletions and replacements lead from a to b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// didYouMean suggests one of the candidates, or lists them.
func didYouMean(word string, candidates []string) string {
	if len(candidates) == 0 {
		return "there are none"
	}
	if near := nearest(word, candidates); near != "" {
		return "did you mean " + near + "?"
	}
	sorted := slices.Sorted(slices.Values(candidates))
	return "there are " + strings.Join(sorted, ", ")
}
