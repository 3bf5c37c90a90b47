package problem

import (
	"slices"
	"strings"
)

// DidYouMean suggests the candidate that a word was probably meant to be, or lists them all.
func DidYouMean(word string, candidates []string) string {
	if len(candidates) == 0 {
		return "there are none"
	}
	if near := nearest(word, candidates); near != "" {
		return "did you mean " + near + "?"
	}
	sorted := slices.Sorted(slices.Values(candidates))
	return "there are " + strings.Join(sorted, ", ")
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
