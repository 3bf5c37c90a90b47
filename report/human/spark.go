package human

import (
	"strings"
)

// curveWidth is how many characters a curve has at most.
const curveWidth = 60

// Spark draws whole numbers as a line of bars, the highest as a full block; neighbours are added up
// until there are at most 60. A number above 0 is never drawn as nothing.
func Spark(values []int) string {
	for len(values) > curveWidth {
		half := make([]int, 0, (len(values)+1)/2)
		for i := 0; i < len(values); i += 2 {
			sum := values[i]
			if i+1 < len(values) {
				sum += values[i+1]
			}
			half = append(half, sum)
		}
		values = half
	}
	top := 1
	for _, v := range values {
		top = max(top, v)
	}
	bars := []rune(" ▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		b.WriteRune(bars[(max(v, 0)*(len(bars)-1)+top-1)/top])
	}
	return strings.TrimRight(b.String(), " ")
}
