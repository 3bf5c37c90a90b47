package human_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report/human"
)

func TestSpark(t *testing.T) {
	for _, tt := range []struct {
		values []int
		want   string
	}{
		{nil, ""},
		{[]int{0, 0}, ""},
		{[]int{8, 4, 0, 1, 0}, "█▄ ▁"},
		{[]int{1000, 1, 500}, "█▁▄"},
		{slices.Repeat([]int{3}, 100), strings.Repeat("█", 50)},
	} {
		if got := human.Spark(tt.values); got != tt.want {
			t.Errorf("Spark(%v) = %q; want %q", tt.values, got, tt.want)
		}
	}
}
