package engine

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// It is told once that a threshold is missed, and when it holds once more, but not for ever of one that goes to and fro.
func TestTurns(t *testing.T) {
	var x turns
	f := func(signs, want string) {
		t.Helper()
		var got []string
		for _, sign := range signs {
			s := judge.State{Verdict: threshold.Verdict{Threshold: "t", Observed: "o", Pass: sign == '+', CannotSay: sign == '?'}, Pending: sign == '.'}
			for _, e := range x.of([]judge.State{s}) {
				if e.OK != s.Pass || e.Detail != "t: o" {
					t.Errorf("%c: %+v", sign, e)
				}
				got = append(got, e.Text)
			}
		}
		if all := strings.Join(got, " | "); all != want {
			t.Errorf("%s: %s; want %s", signs, all, want)
		}
	}
	f("..++", "")
	f("--", "a threshold is missed")
	f("++", "a threshold holds once more")
	f("-?+", "a threshold is missed | of a threshold nothing can be said any more")
	f("-", "a threshold is missed, as often before; of its further turns nothing is told")
	f("+-+-", "")
}
