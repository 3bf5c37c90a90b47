package bus_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
)

// TestMatches compares with regular expressions.
func TestMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "*"}), 1, 4).Draw(t, "pattern"), ".")
		if rapid.Bool().Draw(t, "more") {
			pattern += ".>"
		}
		if rapid.IntRange(0, 9).Draw(t, "all") == 0 {
			pattern = ">"
		}
		subject := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 5).Draw(t, "subject"), ".")
		if err := bus.CheckPattern(pattern); err != nil {
			t.Fatal(err)
		}
		if err := bus.CheckSubject(subject); err != nil {
			t.Fatal(err)
		}
		expression := strings.NewReplacer(".", `\.`, "*", `[^.]+`, ">", `.+`).Replace(pattern)
		if want := regexp.MustCompile("^" + expression + "$").MatchString(subject); bus.Matches(pattern, subject) != want {
			t.Errorf("%s and %s: not %v", pattern, subject, want)
		}
	})
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		prefix, key string
		below       bool
	}{
		{"", "a", true},
		{"a", "a", false},
		{"a", "a.b", true},
		{"a", "ab.c", false},
		{"a.b", "a.b.c.d", true},
		{"a.b", "a", false},
	} {
		if bus.Below(c.prefix, c.key) != c.below {
			t.Errorf("%q and %q: not %v", c.prefix, c.key, c.below)
		}
	}
}

func TestAsError(t *testing.T) {
	for _, c := range []struct {
		err  error
		code bus.Code
		text string
	}{
		{errors.New("x"), bus.Failed, "x"},
		{errors.New(""), bus.Failed, "failed"},
		{&bus.Error{Code: bus.Unavailable, Text: "later"}, bus.Unavailable, "later"},
		{fmt.Errorf("stage: %w", &bus.Error{Code: bus.Conflict, Text: "over"}), bus.Conflict, "stage: over"},
		{&bus.Error{Code: 7, Text: "odd"}, bus.Failed, "odd"},
		{errors.New(strings.Repeat("x", 5000)), bus.Failed, strings.Repeat("x", bus.MaxErrorText)},
	} {
		if got := bus.AsError(c.err); got.Code != c.code || got.Text != c.text {
			t.Errorf("%v: %d %q", c.err, got.Code, got.Text)
		}
	}
}
