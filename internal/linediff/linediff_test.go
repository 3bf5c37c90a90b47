package linediff_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/linediff"
)

func TestLines(t *testing.T) {
	for _, tt := range []struct {
		name, a, b string
		want       []string
	}{
		{"the same", "a\nb\n", "a\nb\n", nil},
		{"one that is not known", "", "a\n", nil},
		{"a line more", "a\nc\n", "a\nb\nc\n", []string{"+ b"}},
		{"a line less", "a\nb\nc\n", "a\nc\n", []string{"- b"}},
		{"another line", "a\nb\n", "a\nc\n", []string{"- b", "+ c"}},
		{"nothing in common", "1\n2\n3\n4\n5\n", "6\n7\n8\n9\n", []string{"- 1", "- 2", "- 3", "- 4", "- 5", "+ 6", "+ 7", "… 2 more lines"}},
		{"too long", strings.Repeat("a\n", 1000), "b\n", []string{"(they are too long to show here)"}},
	} {
		if got := linediff.Lines(tt.a, tt.b); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}
