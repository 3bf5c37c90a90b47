package advise_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/capacity/rollout/advise"
)

func TestAdvice(t *testing.T) {
	run := func(name string, t99, all float64, harm uint64, missed int) advise.Run {
		return advise.Run{Backoff: name, Back99: t99, BackAll: all, Harm: harm, Missed: missed, Delivered: true}
	}
	for _, x := range []struct {
		name        string
		runs        []advise.Run
		best, alike string
		harmless    bool
		confirmed   bool
	}{
		{"no storm", nil, "", "", false, false},
		{"the soonest without harm", []advise.Run{run("exponential", 9, 10, 0, 0), run("steep", 4, 5, 0, 0), run("none", 1, 1, 7, 0)}, "steep", "", true, false},
		{
			"confirmed with another seed",
			[]advise.Run{run("a", 9, 10, 0, 0), run("b", 4, 5, 0, 0), run("a", 9.5, 10, 0, 0), run("b", 4.2, 5, 0, 0)},
			"b", "", true, true,
		},
		{
			"alike: seeds differ by more than back-offs",
			[]advise.Run{run("a", 9, 10, 0, 0), run("b", 10, 11, 0, 0), run("a", 11, 12, 0, 0), run("b", 10.5, 11, 0, 0)},
			"a", "b", true, true,
		},
		{"alike: below the resolution", []advise.Run{run("a", 1.1, 2, 0, 0), run("b", 1, 1, 0, 0)}, "b", "a", true, false},
		{"the very same", []advise.Run{run("a", 1, 2, 0, 0), run("b", 1, 2, 0, 0)}, "a", "b", true, false},
		{"a tie of 99 % is alike, and the one that is back whole first goes first", []advise.Run{run("a", 1, 9, 0, 0), run("b", 1, 2, 0, 0)}, "b", "a", true, false},
		{"a missed threshold is harm", []advise.Run{run("a", 1, 2, 0, 1), run("b", 5, 6, 0, 0)}, "b", "", true, false},
		{"who is not back has done harm", []advise.Run{run("a", 1, 0, 0, 0), run("b", 5, 6, 0, 0)}, "b", "", true, false},
		{"all harm: the least", []advise.Run{run("a", 1, 2, 100, 0), run("b", 50, 60, 10, 0), run("c", 40, 60, 12, 0)}, "b", "", false, false},
		{"all harm, alike in it: the sooner", []advise.Run{run("a", 9, 10, 50, 0), run("b", 4, 5, 50, 0)}, "b", "", false, false},
		{
			"all harm, within the noise of it: the sooner",
			[]advise.Run{run("a", 90, 95, 50, 0), run("b", 40, 50, 52, 0), run("a", 91, 95, 60, 0), run("b", 41, 50, 60, 0)},
			"b", "", false, true,
		},
		{"all harm: who comes back goes before who does not", []advise.Run{run("a", 1, 0, 1, 0), run("b", 50, 60, 1000, 0)}, "b", "", false, false},
		{
			"harm with the other seed is harm",
			[]advise.Run{run("a", 1, 2, 0, 0), run("b", 5, 6, 0, 0), run("c", 7, 8, 0, 0), run("a", 1, 2, 3, 0), run("b", 5, 6, 0, 0)},
			"b", "", true, false,
		},
		{"one without harm is alike with none that harms", []advise.Run{run("a", 5, 6, 0, 0), run("b", 5, 6, 1, 0)}, "a", "", true, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := advise.Of(x.runs)
			if a.Best != x.best || a.Alike != x.alike || a.Harmless != x.harmless || a.Confirmed != x.confirmed {
				t.Errorf("%+v; want best %q, alike %q, harmless %t, confirmed %t", a, x.best, x.alike, x.harmless, x.confirmed)
			}
		})
	}
	silent := advise.Of([]advise.Run{{Backoff: "none"}, {Backoff: "fixed", Back99: 1, BackAll: 1, Delivered: true}})
	if silent.Best != "fixed" || len(silent.Silent) != 1 || silent.Silent[0] != "none" {
		t.Errorf("%+v", silent)
	}
}
