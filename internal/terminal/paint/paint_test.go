package paint

import (
	"testing"
	"time"
)

// Whatever the text, a column is as wide as it is to be; wide characters count for two.
func TestColumns(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Fit("abc", 5), "abc  "},
		{Right("abc", 5), "  abc"},
		{Fit("abcdef", 4), "abc…"},
		{Fit("长い名", 4), "长… "},
		{Cut("abc", -1), ""},
		{Clean("a\x1b[2Jb\tc"), "a [2Jb c"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q; want %q", tt.got, tt.want)
		}
	}
}

// A share above nothing is seen, and a second without figures is a gap.
func TestBarsAndSparklines(t *testing.T) {
	if got := Painter(false).Bar(0.001, 4); got != "━───" {
		t.Errorf("a small share: %s", got)
	}
	if got := Painter(true).Paint(Red, "x"); got != Red+"x"+reset {
		t.Errorf("in colour: %q", got)
	}
	if got := Spark([]time.Duration{0, time.Second, -1, 2 * time.Second}); got != "▁▅ █" {
		t.Errorf("a sparkline: %q", got)
	}
}

// The bar of the whole run has a mark where each stage but the last ends, whether it is over or to come.
func TestStageBar(t *testing.T) {
	if got, want := Painter(false).StageBar(0.5, []float64{0.25, 0.75, 1}, 12), "━━━┃━━───│──"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	if got := Painter(false).StageBar(1, nil, 3); got != "━━━" {
		t.Errorf("at the end: %s", got)
	}
}
