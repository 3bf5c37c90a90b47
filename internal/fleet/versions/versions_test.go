package versions

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// play follows a script: "s1" sends a report, "r1" reads the twin and "d1" its desired properties, under a
// name; "1=7" answers it with version 7, "1!" refuses it.
func play(t *testing.T, script string) (v Account, kinds []Kind) {
	t.Helper()
	sort, before := map[string]byte{}, map[string]Told{}
	for word := range strings.FieldsSeq(script) {
		if strings.Contains("srd", word[:1]) {
			sort[word[1:]], before[word[1:]] = word[0], v.Told()
			if word[0] == 's' {
				v.Sending("")
			}
			continue
		}
		name, refused := strings.CutSuffix(word, "!")
		if refused {
			v.Refuse("")
			continue
		}
		var version int64
		name, number, _ := strings.Cut(name, "=")
		if _, err := fmt.Sscan(number, &version); err != nil {
			t.Fatal(err)
		}
		answer := map[byte]func() (Finding, bool){
			's': func() (Finding, bool) { return v.Accept(before[name], "", version) },
			'r': func() (Finding, bool) { return v.Read(before[name], version) },
			'd': func() (Finding, bool) { return v.ReadDesired(before[name], version) },
		}[sort[name]]
		if c, bad := answer(); bad {
			kinds = append(kinds, c.Kind)
		}
	}
	return v, kinds
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         Kind // 0 for none
		lost         int64
	}{
		{"one after the other", "r0 0=1 s1 1=2 s2 2=3 r3 3=3 s4 4=4", 0, 0},
		{"a twin that was there before", "s1 1=70 s2 2=71 r3 3=71", 0, 0},
		{"answers overtake each other", "r0 0=1 s1 s2 s3 3=4 1=2 2=3", 0, 0},
		{"a report before the twin is read", "r0 s1 1=2 0=1 s2 2=3", 0, 0},
		{"the read overtakes", "r0 s1 0=2 1=2 s2 2=3", 0, 0},
		{"a lost request", "r0 0=1 s1 s2 2=2", 0, 0},
		{"a lost answer", "r0 0=1 s1 s2 2=3", 0, 0},
		{"a lost answer shows in the next read", "r0 0=1 s1 r2 2=2 s3 3=3", 0, 0},
		{"refused", "r0 0=1 s1 1! s2 2=2", 0, 0},
		{"an answer without a version", "r0 0=1 s1 1=0 s2 2=3", 0, 0},
		{"twice", "r0 0=1 s1 1=2 s2 2=2", Repeated, 1},
		{"twice, in no order", "r0 0=1 s1 s2 1=2 2=2", Repeated, 1},
		{"twice, of a twin that was there before", "s1 1=70 s2 2=70", Repeated, 1},
		{"falls", "s1 s2 2=9 s3 3=8", Fallen, 1},
		{"falls to what was never told", "s0 s1 1=9 s2 2=8", Fallen, 1},
		{"put back", "r0 0=1 s1 1=2 s2 2=3 s3 3=4 r4 4=2", Fallen, 2},
		{"put back while nothing was read", "r0 0=1 s1 1=2 s2 2=3 s3 3=4 s4 4=3", Repeated, 2},
		{"put back to nothing", "r0 0=1 s1 1=2 s2 2=3 r3 3=1", Fallen, 2},
		{"goes on after it was put back", "r0 0=1 s1 1=2 s2 2=3 r3 3=1 s4 4=2 s5 5=3 r6 6=3", Fallen, 2},
		{"a gap that is too small", "r0 0=1 s1 1=2 s2 2=0 s3 3=3", Lost, 1},
		{"refused, and yet it rises", "r0 0=1 s1 1! s2 2=3", Risen, 0},
		{"jumps", "r0 0=1 s1 1=2 s2 2=9 s3 3=10", Risen, 0},
		{"jumps between two reads", "r0 0=1 s1 1=2 r2 2=4", Risen, 0},
		{"desired rises", "d1 1=1 d2 2=3", 0, 0},
		{"desired falls", "d1 1=3 d2 2=1", FallenDesired, 0},
		{"desired reads overtake each other", "d1 d2 2=3 1=1", 0, 0},
	} {
		v, kinds := play(t, tt.script)
		var want []Kind
		if tt.want != 0 {
			want = []Kind{tt.want}
		}
		if !slices.Equal(kinds, want) || v.lost != tt.lost {
			t.Errorf("%s: %v with %d lost; want %v with %d", tt.name, kinds, v.lost, want, tt.lost)
		}
	}
}

// A truthful target, whose answers overtake each other and get lost with requests, is never accused, and its
// twin ends within the account. One that swallows what it acknowledges is found out while all is answered.
func TestVersionsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		liar, consistent := rapid.Bool().Draw(t, "a liar"), rapid.Bool().Draw(t, "a consistent one")
		var v Account
		version := rapid.SampledFrom([]int64{1, 2, 500}).Draw(t, "version") // of the twin
		type request struct {
			read   bool
			before Told
		}
		var (
			sent      []request // not carried out
			answers   []func()  // under way
			accused   []Kind
			swallowed int64
			last      = version // that was told
		)
		note := func(c Finding, bad bool) {
			if bad {
				accused = append(accused, c.Kind)
			}
		}
		carryOut := func() {
			r := sent[0]
			sent = sent[1:]
			fate := rapid.IntRange(0, 9).Draw(t, "fate")
			if liar && fate < 2 {
				fate = 9
			}
			switch {
			case fate == 0: // the request is lost
				return
			case r.read:
			case fate == 2:
				answers = append(answers, func() { v.Refuse("") })
				return
			case liar && fate < 6:
				swallowed++
				last++
				tell := last
				answers = append(answers, func() { note(v.Accept(r.before, "", tell)) })
				return
			default:
				version++
			}
			tell := version
			if consistent {
				tell += swallowed
			}
			last = tell
			switch {
			case fate == 1: // the answer is lost
			case r.read:
				answers = append(answers, func() { note(v.Read(r.before, tell)) })
			default:
				answers = append(answers, func() { note(v.Accept(r.before, "", tell)) })
			}
		}
		answer := func() {
			i := rapid.IntRange(0, len(answers)-1).Draw(t, "answer")
			do := answers[i]
			answers = append(answers[:i], answers[i+1:]...)
			do()
		}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			switch step := rapid.IntRange(0, 4).Draw(t, "step"); {
			case step < 2:
				r := request{read: rapid.IntRange(0, 5).Draw(t, "read") == 0, before: v.Told()}
				if !r.read {
					v.Sending("")
				}
				sent = append(sent, r)
			case step == 2 && len(sent) > 0:
				carryOut()
			case len(answers) > 0:
				answer()
			}
		}
		for len(sent) > 0 {
			carryOut()
		}
		for len(answers) > 0 {
			answer()
		}
		low, high := max(v.seen, v.low+v.accepted), v.high+v.sent-v.refused
		found := len(accused) > 0 || v.known && (version < low || version > high)
		if found != (swallowed > 0) {
			t.Fatalf("%d swallowed; accused of %q, version %d, account %+v", swallowed, accused, version, v)
		}
	})
}
