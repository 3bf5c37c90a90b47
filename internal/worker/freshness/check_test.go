package freshness

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/worker/freshness/known"
	"github.com/twinfleet/twinfleet/internal/worker/phantom"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/rows"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
)

// judged is the finding on one device of one result; "" when it is none.
func judged(a *Audit, q *queries.Query, sent time.Time, version int64, there bool) string {
	return judgedBy(a, q, sent, version, there, 0)
}

// judgedBy is judged with times of devices that may be wrong by a margin.
func judgedBy(a *Audit, q *queries.Query, sent time.Time, version int64, there bool, margin time.Duration) string {
	c := a.Watch(q, sent).(*check)
	if f, ok := c.judge(a.watched[0], version, there, margin); ok {
		return f.String()
	}
	return ""
}

func onType(want string) *queries.Query {
	return &queries.Query{Name: "q", Rows: rows.Meaning{Whole: true, Holds: func(s rows.State) bool { return s.Connectivity == want }}}
}

// What is in a result is compared with what had been acknowledged when the query was sent, at 1,000 ms.
func TestResultChecks(t *testing.T) {
	const absent = -1
	for _, tt := range []struct {
		name    string
		history string // "type@ms" acknowledged, "?@ms" sent and never acknowledged, "!@ms" nobody tells; versions count from 2
		wifi    int64  // version of the row in the result of connectivity = wifi, absent, or 0 for a row without version
		want    string
		tol     int // ms
	}{
		{"as it should be", "wifi@100", 2, "ok", 0},
		{"without a version", "wifi@100", 0, "ok", 0},
		{"not in it", "wifi@100", absent, "missing", 0},
		{"need not be in it", "cellular@100", absent, "", 0},
		{"should not be in it", "cellular@100", 2, "extra", 0},
		{"should not be in it any more", "wifi@100 cellular@200", 2, "extra", 0},
		{"an older state", "wifi@100 wifi@200", 2, "stale", 0},
		{"an older state within the tolerance", "wifi@100 wifi@900", 2, "ok", 200},
		{"an older state beyond the tolerance", "wifi@100 wifi@900", 2, "stale", 50},
		{"changed while the query ran: there", "cellular@100 wifi@1100", 3, "unjudged", 0},
		{"changed while the query ran: not there", "cellular@100 wifi@1100", absent, "unjudged", 0},
		{"went while the query ran", "wifi@100 cellular@1100", absent, "unjudged", 0},
		{"the same repeated while the query ran", "wifi@100 wifi@1100", 3, "ok", 0},
		{"a report is under way", "wifi@100 ?@1050", absent, "unjudged", 0},
		{"a report was lost", "wifi@100 ?@200", absent, "unjudged", 0},
		{"a lost report was followed by another", "cellular@100 ?@200 wifi@300", absent, "missing", 0},
		{"a lost report within the tolerance", "wifi@100 ?@900 wifi@950", absent, "unjudged", 300},
		{"what it did then was not told", "wifi@100 !@200", absent, "unjudged", 0},
		{"what it did then was not told: in it", "cellular@100 !@200", 2, "unjudged", 0},
		{"what it did from the beginning was not told", "!@10", 0, "unjudged", 0},
		{"it is told once more", "wifi@100 !@200 cellular@300", absent, "", 0},
		{"it is told once more: missing", "cellular@100 !@200 wifi@300", absent, "missing", 0},
		{"it is told once more within the tolerance", "wifi@100 !@200 wifi@950", absent, "unjudged", 300},
		{"an older state than what was told", "wifi@100 wifi@200 !@300", 2, "stale", 0},
		{"newer than anything acknowledged", "cellular@100", 5, "unjudged", 0},
		{"nothing reported, not in it", "", absent, "", 0},
		{"nothing reported, in it", "", 1, "unjudged", 0},
	} {
		a, _ := audit(1, Options{Tolerance: time.Duration(tt.tol) * time.Millisecond, Fresh: func(int) bool { return true }, Made: at(0)})
		version := int64(1)
		for _, entry := range strings.Fields(tt.history) {
			kind, when, _ := strings.Cut(entry, "@")
			var ms int
			if _, err := fmt.Sscan(when, &ms); err != nil {
				t.Fatal(err)
			}
			if kind == "!" {
				a.Missed()
				continue
			}
			a.Sending(0, at(ms-1))
			if version++; kind != "?" {
				a.Acked(0, known.Report{Connectivity: kind, Version: version, Sent: at(ms - 1), Acked: at(ms)})
			}
		}
		there := tt.wifi != absent
		if got := judged(a, onType("wifi"), at(1000), max(tt.wifi, 0), there); got != tt.want {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}

// A device that was there before the run: nothing is known of it until its first report is acknowledged.
func TestNothingIsKnownOfDevicesOfOthers(t *testing.T) {
	a, _ := audit(1, Options{})
	q := onType("wifi")
	if got := judged(a, q, at(1000), 0, false); got != "unjudged" {
		t.Errorf("before its first report it is %q; want unjudged", got)
	}
	a.ack(0, 40, at(1100))
	if got := judged(a, q, at(1050), 0, false); got != "unjudged" {
		t.Errorf("when the query was sent it is %q; want unjudged", got)
	}
	if got := judged(a, q, at(1200), 0, false); got != "missing" {
		t.Errorf("after it it is %q; want missing", got)
	}
}

// A target that answers every query with a state that the twin had while the query ran is never
// accused, however reports overlap and get lost; one that answers with older states is always found out. Nor is it accused by a clock that is
// wrong by no more than is known of it, ahead or behind; and that a moment is not told as the very same time twice changes nothing.
func TestChecksAccuseNobodyWrongly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, _ := audit(1, Options{Fresh: func(int) bool { return true }, Made: at(0)})
		b, _ := audit(1, Options{Fresh: func(int) bool { return true }, Made: at(-100)})
		margin := time.Duration(rapid.SampledFrom([]int{0, 0, 5, 20}).Draw(t, "margin")) * time.Millisecond
		wrong := time.Duration(rapid.IntRange(-1, 1).Draw(t, "wrong")) * margin
		anew := func() time.Duration { return wrong + time.Duration(rapid.IntRange(-99, 99).Draw(t, "nanoseconds")) }
		type state struct {
			ms      int
			version int64
			kind    string
		}
		twin := []state{{0, 1, ""}} // the truth
		type report struct {
			sent, applied, acked int // acked below 0: lost
			state
		}
		var reports []report
		now, lastAck := 1, 0
		for range rapid.IntRange(0, 8).Draw(t, "reports") {
			now += rapid.IntRange(1, 12).Draw(t, "gap")
			applied := max(now, twin[len(twin)-1].ms) + rapid.IntRange(0, 8).Draw(t, "way")
			s := state{applied, twin[len(twin)-1].version + 1, rapid.SampledFrom([]string{"wifi", "cellular"}).Draw(t, "kind")}
			r := report{now, applied, max(applied, lastAck) + rapid.IntRange(0, 8).Draw(t, "back"), s}
			if rapid.IntRange(0, 4).Draw(t, "fate") == 0 {
				r.acked = -1
				if rapid.Bool().Draw(t, "applied") {
					twin = append(twin, s)
				}
			} else {
				lastAck = r.acked
				twin = append(twin, s)
			}
			reports = append(reports, r)
		}
		sent := rapid.IntRange(1, now+10).Draw(t, "query")
		served := sent + rapid.IntRange(0, 12).Draw(t, "there")
		arrived := served + rapid.IntRange(0, 12).Draw(t, "back")
		// What the audit knows when the page arrives.
		type line struct {
			ms int
			do func()
		}
		var script []line
		acked := int64(0)
		for _, r := range reports {
			script = append(script, line{r.sent, func() {
				a.Sending(0, at(r.sent))
				b.Sending(0, at(r.sent).Add(anew()))
			}})
			if r.acked >= 0 {
				script = append(script, line{r.acked, func() {
					a.Acked(0, known.Report{Connectivity: r.kind, Version: r.version, Sent: at(r.sent), Acked: at(r.acked)})
					b.Acked(0, known.Report{Connectivity: r.kind, Version: r.version, Sent: at(r.sent).Add(anew()), Acked: at(r.acked).Add(wrong)})
				}})
				if r.acked <= sent {
					acked = max(acked, r.version)
				}
			}
		}
		slices.SortStableFunc(script, func(a, b line) int { return a.ms - b.ms })
		for _, k := range script {
			if k.ms <= arrived {
				k.do()
			}
		}
		var shown, older state
		for _, s := range twin {
			if s.ms <= served {
				shown = s
			}
			if s.version < acked {
				older = s
			}
		}
		there := shown.kind == "wifi"
		got, told := judged(a, onType("wifi"), at(sent), shown.version, there), judgedBy(b, onType("wifi"), at(sent), shown.version, there, margin)
		for _, got := range []string{got, told} {
			switch got {
			case "missing", "extra", "stale":
				t.Fatalf("a true answer, %+v, is called %s; twin %+v, reports %+v, sent %d, served %d, arrived %d", shown, got, twin, reports, sent, served, arrived)
			}
		}
		if margin == 0 && got != told {
			t.Fatalf("told by another's clock it is %q; by the same one it is %q", told, got)
		}
		all := &queries.Query{Name: "all", Rows: rows.Meaning{Whole: true, Holds: func(rows.State) bool { return true }}}
		if older.version > 0 {
			if got := judged(a, all, at(sent), older.version, true); got != "stale" {
				t.Fatalf("version %d after the acknowledgement of %d is called %q; want stale", older.version, acked, got)
			}
		}
	})
}

// Tags are judged only when they were the same since before the query was sent.
func TestChecksOfTags(t *testing.T) {
	a, _ := audit(1, Options{})
	a.ack(0, 2, at(0))
	q := &queries.Query{Name: "q", Rows: rows.Meaning{Whole: true, UsesTags: true, Holds: func(s rows.State) bool { return len(s.Tags) > 0 }}}
	if got := judged(a, q, at(100), 2, true); got != "extra" {
		t.Errorf("without tags it is %q; want extra", got)
	}
	a.Tagging("robots")
	if got := judged(a, q, at(100), 2, true); got != "unjudged" {
		t.Errorf("while tags are written it is %q; want unjudged", got)
	}
	before := time.Now()
	a.Tagged("robots", json.RawMessage(`{"plant":"A"}`))
	if got := judged(a, q, before.Add(-time.Second), 2, true); got != "unjudged" {
		t.Errorf("of a query from before the tags it is %q; want unjudged", got)
	}
	if got := judged(a, q, time.Now(), 2, true); got != "ok" {
		t.Errorf("with tags it is %q; want ok", got)
	}
	a.TagsUnknown()
	if got := judged(a, q, time.Now(), 2, true); got != "unjudged" {
		t.Errorf("when others write tags it is %q; want unjudged", got)
	}
}

// A query whose rows tell no device is not watched.
func TestRowsWithoutDevices(t *testing.T) {
	a, _ := audit(1, Options{})
	if w := a.Watch(&queries.Query{}, at(0)); w != nil {
		t.Errorf("it is watched: %+v", w)
	}
}

// Devices in results that are none of the run's are noted.
func TestStrangersAreNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := audit(2, Options{Known: func(id string) bool { return id == "dev-0" || id == "dev-1" }})
		c := a.Watch(&queries.Query{Name: "all", Rows: rows.Meaning{Whole: true}}, time.Now())
		c.Page(time.Now(), []json.RawMessage{[]byte(`{"deviceId":"dev-1"}`), []byte(`{"deviceId":"phantom"}`), []byte(`{"n":1}`)})
		service := &workertest.Rows{ByID: map[string]string{"phantom": `{"deviceId":"phantom"}`}}
		got := a.Phantoms(t.Context(), service, workertest.Twins{})
		if want := []phantom.Device{{ID: "phantom", Query: "all"}}; !slices.Equal(got, want) {
			t.Errorf("phantoms = %+v; want %+v", got, want)
		}
	})
}
