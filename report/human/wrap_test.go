package human_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/report/human"
)

func ExampleWrap() {
	b := &strings.Builder{}
	human.Wrap(b, "✗ ", "  ", "twin updates: 200/s all day as in stage hold; the hub allows, whatever its units, 50/s, and that is not enough")
	fmt.Print(b.String())
	// Output:
	// ✗ twin updates: 200/s all day as in stage hold; the hub allows, whatever its units, 50/s, and that
	//   is not enough
}

func TestWrap(t *testing.T) {
	for _, text := range []string{"", "one", strings.Repeat("ä", 300), strings.Repeat("word ", 100), strings.Repeat("x", 97) + " " + strings.Repeat("y", 3)} {
		b := &strings.Builder{}
		human.Wrap(b, "- ", "  ", text)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		for i, line := range lines {
			if n := utf8.RuneCountInString(line); n > human.Width && strings.Contains(strings.TrimSpace(line[1:]), " ") {
				t.Errorf("line %d of %q has %d columns", i, text, n)
			}
		}
		if got := strings.Join(strings.Fields(b.String()), " "); got != strings.TrimSpace("- "+strings.Join(strings.Fields(text), " ")) {
			t.Errorf("%q became %q", text, got)
		}
	}
}
