package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/fleet/protocol/iothub"
	"github.com/twinfleet/twinfleet/internal/linediff"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// ledger is a target that answers at once and writes down who connects and what is sent.
type ledger struct {
	mu    sync.Mutex
	lines []string
}

func (l *ledger) note(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, a...))
}

func (*ledger) Link(_ int, id string) link.Options { return link.Options{ClientID: id} }
func (*ledger) Protocol() protocol.Protocol        { return iothub.Protocol{} }
func (l *ledger) Connect(_ context.Context, o link.Options) (link.Conn, error) {
	l.note("%s connects", o.ClientID)
	return &noted{ledger: l, id: o.ClientID, handler: o.Handler}, nil
}

// noted is a connection to it.
type noted struct {
	ledger  *ledger
	id      string
	handler func(link.Message)
	version int

	mu    sync.Mutex // protects the following fields
	over  func(error)
	ended bool
}

func (n *noted) Serve(over func(error)) {
	n.mu.Lock()
	n.over = over
	ended := n.ended
	n.mu.Unlock()
	if ended { // before it was served
		over(nil)
	}
}

func (n *noted) Close()                                       { n.end() }
func (n *noted) Subscribe(done func(error), _ ...link.Filter) { done(nil) }

func (n *noted) Abort() {
	n.ledger.note("%s is cut", n.id)
	n.end()
}

func (n *noted) end() {
	n.mu.Lock()
	over, first := n.over, !n.ended
	n.ended = true
	n.mu.Unlock()
	if first && over != nil {
		over(nil)
	}
}

func (n *noted) Publish(m link.Message, done func(error)) {
	topic, rid, _ := strings.Cut(m.Topic, "?$rid=")
	n.ledger.note("%s %s %s", n.id, topic, m.Payload)
	done(nil)
	switch {
	case strings.HasPrefix(topic, "$iothub/twin/PATCH"):
		n.version++
		n.handler(link.Message{Topic: fmt.Sprintf("$iothub/twin/res/204/?$rid=%s&$version=%d", rid, n.version)})
	case strings.HasPrefix(topic, "$iothub/twin/GET"):
		twin := fmt.Sprintf(`{"desired":{"$version":1},"reported":{"$version":%d}}`, n.version)
		n.handler(link.Message{Topic: "$iothub/twin/res/200/?$rid=" + rid, Payload: []byte(twin)})
	}
}

// motion is something that the number of devices does, for four seconds at most.
type motion struct {
	kind, goal int
	cut        bool // it ends early, as by hand
}

func (m motion) lasts() time.Duration {
	if m.cut {
		return 1700 * time.Millisecond
	}
	return 4 * time.Second
}

func (m motion) plan(f *fleet.Fleet, begin time.Time) *fleet.Movement {
	switch m.kind {
	case 0:
		return f.PlanArrive(begin, m.goal, schedule.Curve{{Duration: 4 * time.Second, From: 9, To: 9}})
	case 1:
		return f.PlanGroups(begin, []int{m.goal / 3, -1, m.goal / 5}, 4*time.Second)
	default:
		return f.PlanScale(begin, schedule.Curve{{Duration: 4 * time.Second, From: float64(f.Active()), To: float64(m.goal)}})
	}
}

// course is what a fleet does.
type course struct {
	each    int     // devices of each of three groups
	share   float64 // of a storm in each motion
	from    float64 // the rate of messages, from this
	to      float64 // to this
	one     bool    // it goes on from the first motion to the last: that devices come or go meanwhile is known when they do
	motions []motion
}

// begins reports whether a motion begins at a time, or a moment ago, while messages go on: fleets that do not know yet that it does, or that the one
// before was cut, deal such a turn by that one.
func (c course) begins(at time.Duration) bool {
	const moment = 20 * time.Millisecond // as late as a fleet is, and as far as it looks ahead
	for _, m := range c.motions {
		if at -= m.lasts(); c.one && at >= 0 && at < moment {
			return true
		}
	}
	return false
}

func courses() *rapid.Generator[course] {
	return rapid.Custom(func(t *rapid.T) course {
		return course{
			each: rapid.SampledFrom([]int{1, 2, 20}).Draw(t, "each"), share: rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "share"),
			from: rapid.SampledFrom([]float64{0, 0.3, 20}).Draw(t, "from"), to: rapid.SampledFrom([]float64{0.7, 3, 60}).Draw(t, "to"), one: rapid.Bool().Draw(t, "one"),
			motions: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) motion {
				return motion{rapid.IntRange(0, 2).Draw(t, "kind"), rapid.IntRange(0, 60).Draw(t, "goal"), rapid.Bool().Draw(t, "cut")}
			}), 1, 5).Draw(t, "motions"),
		}
	})
}

// play moves fleets together, with loads and storms, and says what their devices did, and how much they were to do. Where there are no storms each
// fleet is a bit late for everything.
func play(t *testing.T, parts int, c course) []string {
	l, start := new(ledger), time.Now()
	var fleets []*fleet.Fleet
	var recs []*metrics.Recorder
	for part := range parts {
		recs = append(recs, metrics.NewRecorder(metrics.Options{}))
		config := fleet.Config{Seed: 5, Target: l, Driver: l, Recorder: recs[part], Start: start}
		if parts > 1 {
			config.Mine = func(index int) bool { return index/2%parts == part }
		}
		for i, name := range []string{"robots", "gates", "doors"} {
			g := fleet.Group{
				Name: name, First: i * c.each, Report: fleet.Reporting{Types: types(t, "wifi cellular", 1, 2), Every: 3 * time.Second},
				Telemetry: fleet.Telemetry{Rated: i != 1, Payload: compile(t, map[string]any{"n": "{{ uniform 1 1000000 }} {{ uuid }} {{ walk 0 9 }} {{ index }}"}), QoS: 1},
			}
			for n := range c.each {
				g.IDs = append(g.IDs, fmt.Sprintf("%s-%d", name, n))
			}
			config.Groups = append(config.Groups, g)
		}
		f, err := fleet.New(config)
		if err != nil {
			t.Fatal(err)
		}
		fleets = append(fleets, f)
	}
	whole := time.Duration(0)
	for _, m := range c.motions {
		whole += m.lasts()
	}
	var ended sync.WaitGroup
	storms := make([]int, parts)
	for part, f := range fleets {
		ended.Go(func() {
			late := time.Duration(0)
			if c.share == 0 { // who is away when is the same only where nothing is late
				late = time.Duration(part%4) * time.Millisecond
			}
			var load sync.WaitGroup
			messages := func(begin time.Time, lasts time.Duration) {
				load.Go(func() {
					const off = 137 * time.Microsecond // no turn is due as a device goes
					turns := func(yield func(time.Duration) bool) {
						for at := range (schedule.Curve{{Duration: lasts, From: c.from, To: c.to}}).Even() {
							if !c.begins(begin.Sub(start)+off+at) && !yield(at) {
								return
							}
						}
					}
					_ = f.LoadAt(t.Context(), begin.Add(off), metrics.OpTelemetry, turns, lasts-off)
				})
			}
			begin := start
			for round, m := range c.motions {
				lasts := m.lasts()
				time.Sleep(time.Until(begin) + late)
				ctx, cancel := context.WithDeadline(t.Context(), begin.Add(lasts+late))
				movement := m.plan(f, begin)
				movement.Cut(begin.Add(lasts))
				storms[part] += f.StormAt(begin, c.share, 2*time.Second, round)
				switch {
				case !c.one:
					messages(begin, lasts)
				case round == 0:
					messages(begin, whole)
				}
				_ = movement.Run(ctx)
				if !c.one {
					load.Wait()
				}
				cancel()
				begin = begin.Add(lasts)
			}
			load.Wait()
		})
	}
	ended.Wait()
	for part, n := range storms {
		if n != storms[0] || fleets[part].Active() != fleets[0].Active() || fleets[part].Ran() != fleets[0].Ran() {
			t.Errorf("fleet %d: storms cut %d, %d are active, %d ran; the first fleet says %d, %d, %d", part, n, fleets[part].Active(), fleets[part].Ran(), storms[0], fleets[0].Active(), fleets[0].Ran())
		}
	}
	for _, f := range fleets {
		f.Finish()
	}
	for _, f := range fleets {
		f.Stop(t.Context())
	}
	due := uint64(0)
	for _, rec := range recs {
		if x := rec.Snapshot().Select(metrics.OpTelemetry, ""); x != nil {
			due += x.Scheduled()
		}
	}
	return append(l.lines, fmt.Sprintf("%d messages were due", due))
}

// Fleets that are parts of one do together what one fleet does: the same devices connect, are cut and send the same, whatever moves them, however
// late each part is, and however many parts there are, also more than devices or than messages in a second. In a storm, the turn of a device that is
// away is another's, and each part takes one of its own: of what a rate asks for only the number is the same.
func TestPartsOfAFleetAreTheFleet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := courses().Draw(rt, "course")
		said := func(parts int) (lines []string) {
			synctest.Test(t, func(t *testing.T) { lines = play(t, parts, c) })
			lines = slices.DeleteFunc(lines, func(line string) bool { return c.share > 0 && strings.Contains(line, "/messages/events/") })
			slices.Sort(lines)
			return lines
		}
		parts := rapid.SampledFrom([]int{2, 3, 4, 31}).Draw(rt, "parts")
		if d := linediff.Lines(strings.Join(said(1), "\n"), strings.Join(said(parts), "\n")); len(d) > 0 {
			rt.Fatal(strings.Join(d, "\n"))
		}
	})
}
