//go:build integration

package counting

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Requests are answered as the wire says, and what answers them is nobody's delivery, though it has the payload of what it answers.
func TestRequests(t *testing.T) {
	t.Parallel()
	for _, b := range brokers() {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/lost %v", b.name, lost), func(t *testing.T) {
				t.Parallel()
				p := between(t, b.start(t))
				if lost {
					p.Fates(losing)
				}
				groups := []string{
					sends("", `qos: 1, mqtt5: {reply_to: "plant/{device}/reply"}, `+payload),
					`    - {name: clerks, count: 1, subscribe: {topics: ["plant/+/up"], qos: 1, respond: true}}`,
					`    - {name: boards, count: 2, subscribe: {topics: ["plant/#"], qos: 1}}`,
				}
				run := carry(t, p, strings.NewReplacer("VERSION", "5", "GROUPS", strings.Join(groups, "\n"), "STAGES", calm).Replace(frame))
				a := p.Judge(Judging{Publishers: sensors, Timeout: 2 * time.Second})
				hold(t, of(t, run, "sensors"), a, 0)
				x, w := run.Totals.Find(metrics.OpRequest, "sensors"), p.Answers(sensors, 2*time.Second)
				ok, rest := int(x.Count(metrics.OK)), int(x.Scheduled()-x.Count(metrics.OK))
				t.Logf("requests: the run: %d answered, %d not; the wire: %+v", ok, rest, w)
				if w.InTime == 0 || lost != (w.Not > 0) || ok < w.InTime || ok > w.InTime+w.Edge || ok+rest != w.InTime+w.Not+w.Edge {
					t.Errorf("the run says %d requests answered of %d, the wire %+v", ok, ok+rest, w)
				}
			})
		}
	}
}

// Two runs at one broker, on the same topics, count each its own messages.
func TestTwoRunsCountTheirOwn(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.1.1", "5"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := between(t, newMosquitto(t).addr)
			p.Fates(losing)
			names := []string{"east", "west"}
			runs := make([]*report.Run, len(names))
			var both sync.WaitGroup
			for i, name := range names {
				groups := strings.ReplaceAll(sends("", "qos: 1, "+payload)+"\n"+
					`    - {name: boards, count: 2, subscribe: {topics: ["plant/#", "plant/+/up"], qos: 1}}`, "name: ", "name: "+name+"-")
				both.Go(func() {
					runs[i] = carry(t, p, strings.NewReplacer("VERSION", version, "GROUPS", groups, "STAGES", calm).Replace(frame))
				})
			}
			both.Wait()
			for i, name := range names {
				if runs[i] == nil {
					t.Fatal("a run failed")
				}
				own := func(client string) bool { return strings.HasPrefix(client, name) }
				a := p.Judge(Judging{
					Publishers: func(client string) bool { return strings.HasPrefix(client, name+"-sensors") }, Subscribers: own, Timeout: 2 * time.Second,
				})
				a.Strange = 0 // those of the other
				hold(t, of(t, runs[i], name+"-sensors"), a, 0)
				if a.Missing == 0 || a.Edge > 0 {
					t.Error("the faults did nothing, or more than was asked for")
				}
			}
		})
	}
}

// A message whose acknowledgement is lost is delivered all the same; one that is lost too is not counted as one that the broker has lost.
func TestLostAcknowledgements(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.1.1", "5"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := between(t, newMosquitto(t).addr)
			p.Fates(losing)
			p.Withhold(func(m Mark) bool { return m.Turn%8 == 0 })
			groups := sends("", "qos: 1, "+payload) + "\n" + `    - {name: boards, count: 2, subscribe: {topics: ["plant/+/up"], qos: 1}}`
			run := carry(t, p, strings.NewReplacer("VERSION", version, "GROUPS", groups, "STAGES", calm).Replace(frame))
			a := p.Judge(Judging{Publishers: sensors, Timeout: 2 * time.Second})
			hold(t, of(t, run, "sensors"), a, 0)
			if x := run.Totals.Find(metrics.OpTelemetry, "sensors"); int(x.Count(metrics.OK)) != a.Acked {
				t.Errorf("the run says %d messages acknowledged, the wire %d", x.Count(metrics.OK), a.Acked)
			}
			if a.Missing == 0 || a.Silent == 0 || a.Acked == a.Messages || a.Edge > 0 {
				t.Error("the faults did nothing, or more than was asked for")
			}
		})
	}
}
