// Package linediff shows in which lines two texts differ.
package linediff

import (
	"fmt"
	"strings"
)

const (
	most    = 8   // lines of a difference that are shown
	longest = 600 // of a scenario whose lines are compared
)

// Lines are the lines that only one of two texts has, as diff shows them, and not more than can be read.
func Lines(a, b string) []string {
	if a == b || a == "" || b == "" {
		return nil
	}
	x, y := strings.Split(strings.TrimSpace(a), "\n"), strings.Split(strings.TrimSpace(b), "\n")
	if max(len(x), len(y)) > longest {
		return []string{"(they are too long to show here)"}
	}
	common := make([][]int, len(x)+1) // the longest common part of what is left of both
	for i := range common {
		common[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var lines []string
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			i, j = i+1, j+1
		case j == len(y) || (i < len(x) && common[i+1][j] >= common[i][j+1]):
			lines = append(lines, "- "+x[i])
			i++
		default:
			lines = append(lines, "+ "+y[j])
			j++
		}
	}
	if len(lines) > most {
		lines = append(lines[:most-1], fmt.Sprintf("… %d more lines", len(lines)-most+1))
	}
	return lines
}
