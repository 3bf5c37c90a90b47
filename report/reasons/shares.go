package reasons

import (
	"cmp"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/report/human"
)

// Shares are the parts of a count by name. The zero value has none.
type Shares []share

type share struct {
	name string
	n    uint64
}

// Add adds to the part of a name; what has no name is left out.
func (s *Shares) Add(name string, n uint64) {
	if name == "" {
		return
	}
	for i := range *s {
		if (*s)[i].name == name {
			(*s)[i].n += n
			return
		}
	}
	*s = append(*s, share{name, n})
}

// Most is the name of the largest part; empty when there is none.
func (s Shares) Most() string {
	if len(s) == 0 {
		return ""
	}
	return slices.MaxFunc(s, func(a, b share) int { return cmp.Compare(a.n, b.n) }).name
}

// Text is the largest parts with their counts, so many at most, and what rest says of the number of the others; a single one is its name.
func (s Shares) Text(most int, rest func(others int) string) string {
	slices.SortStableFunc(s, func(a, b share) int { return cmp.Compare(b.n, a.n) })
	if len(s) == 1 {
		return s[0].name
	}
	var parts []string
	for _, x := range s[:min(len(s), most)] {
		parts = append(parts, x.name+" "+human.Count(x.n))
	}
	if others := len(s) - most; others > 0 {
		parts = append(parts, rest(others))
	}
	return strings.Join(parts, ", ")
}
