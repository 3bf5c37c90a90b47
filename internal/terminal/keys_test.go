package terminal

import (
	"fmt"
	"testing"
)

// What terminals send is made into keys, in whatever pieces it comes; what is no key is left out.
func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		pieces []string // an empty one is silence
		want   string
	}{
		{[]string{"q"}, "[q]"},
		{[]string{"qy?"}, "[q y ?]"},
		{[]string{"\x1b[A\x1b[B\x1bOA\x1bOB"}, "[up down up down]"},
		{[]string{"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~"}, "[pgup pgdown home end home end]"},
		{[]string{"\x1b", "[", "A"}, "[up]"},
		{[]string{"\x1b[", "5", "~j"}, "[pgup j]"},
		{[]string{"\x1bO", "B"}, "[down]"},
		{[]string{"\x1b", ""}, "[esc]"},
		{[]string{"\x1b", "", "q"}, "[esc q]"},
		{[]string{"\t\x1b[Z\r\n\x7f "}, "[tab shift+tab enter enter backspace space]"},
		{[]string{"\x1b[200~", "\x1b[<0;1;1M", "x"}, "[x]"},
		{[]string{"ü", "\xc3", "\xbc"}, "[ü ü]"},
		{[]string{"\x00\x01\x02"}, "[]"},
		{[]string{"\x1b[99;99;99", ""}, "[]"},
		{nil, "[]"},
	} {
		var d decoder
		keys := []string{}
		for _, p := range tt.pieces {
			keys = append(keys, d.feed([]byte(p))...)
		}
		if got := fmt.Sprint(keys); got != tt.want {
			t.Errorf("%q: %s; want %s", tt.pieces, got, tt.want)
		}
	}
}

// Whatever comes, nothing is kept without bounds and nothing hangs.
func FuzzKeys(f *testing.F) {
	f.Add([]byte("\x1b[A\x1bOBq\xff\x1b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		for i := range b {
			d.feed(b[i : i+1])
		}
		if len(d.rest) > maxSequence {
			t.Errorf("%d bytes are kept", len(d.rest))
		}
		if d.feed(nil); len(d.rest) > 0 {
			t.Errorf("%q is kept after silence", d.rest)
		}
	})
}
