package lead

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/metrics"
)

// newJudging leads agents a and b, which have devices.
func newJudging(t *testing.T) *Lead {
	t.Helper()
	l := newTestLead(t, Options{OnLoss: Continue}, time.Now())
	var err error
	if l.store, err = l.o.Bus.Store(t.Context(), protocol.StoreName("r"), true); err != nil {
		t.Fatal(err)
	}
	if l.cut, err = cut.New([]cut.Group{{Count: 10}}, []cut.Agent{{Name: "a", Capacity: 10}, {Name: "b", Capacity: 10}}); err != nil {
		t.Fatal(err)
	}
	rec := metrics.NewRecorder(metrics.Options{})
	for _, name := range []string{"a", "b"} {
		l.agents = append(l.agents, &agent{name: name, part: rec.Join(), taken: make(map[int]uint64), heard: time.Now()})
	}
	return l
}

// tell has an agent tell a batch.
func tell(t *testing.T, l *Lead, b protocol.Batch) {
	t.Helper()
	data, err := l.pack.Pack(&b)
	if err == nil {
		_, err = l.batch(t.Context(), data)
	}
	if err != nil {
		t.Errorf("a batch of %s: %v", b.Agent, err)
	}
}

// Once an agent is lost, nobody waits for what it would tell: whoever judges has been told of the loss before that.
func TestLossIsKnownBeforeResultsAreJudged(t *testing.T) {
	for name, lose := range map[string]func(l *Lead){
		"lost": func(l *Lead) { l.Lose("a", "its process ended") },
		"left": func(l *Lead) { l.agents[0].now.Stopped = &protocol.Stopped{At: time.Now()}; l.left(l.agents[0]) },
	} {
		l := newJudging(t)
		var telling sync.WaitGroup
		judged := make(chan struct{}, 1)
		l.work.OnKnown = func(time.Time, time.Duration) { judged <- struct{}{} }
		l.work.OnLoss = func(agent, _ string, _ int, _ time.Time) {
			l.Figures() // it may look at what is known of agents
			telling.Go(func() { tell(t, l, protocol.Batch{Agent: "b", Number: 1, Until: time.Now()}) })
			select {
			case <-judged:
				t.Errorf("%s: judged before it is told that %s is lost", name, agent)
				judged <- struct{}{}
			case <-time.After(50 * time.Millisecond): // a judge who does not wait needs less
			}
		}
		tell(t, l, protocol.Batch{Agent: "a", Number: 1, Until: time.Now()})
		lose(l)
		telling.Wait()
	}
}

// By how much times may be wrong is what the agents said when they told them, not what they know of their clocks since.
func TestMarginIsOfWhenTimesWereTold(t *testing.T) {
	l := newJudging(t)
	var margin time.Duration
	l.work.OnKnown = func(_ time.Time, m time.Duration) { margin = m }
	l.agents[0].status.Clock.Uncertainty = time.Microsecond // now
	const ms = time.Millisecond
	for i, tt := range []struct {
		agent      string
		told, want time.Duration
	}{{"a", 30 * ms, 30 * ms}, {"b", 20 * ms, 30 * ms}, {"a", ms, 30 * ms}, {"b", 40 * ms, 40 * ms}} {
		tell(t, l, protocol.Batch{Agent: tt.agent, Number: uint64(i + 1), Within: tt.told, Until: time.Now()})
		if i > 0 && margin != tt.want { // before, one has told nothing
			t.Errorf("batch %d: a margin of %s; want %s", i, margin, tt.want)
		}
	}
	var m margins
	start := time.Now()
	m.add(9*ms, start)
	for _, x := range []struct {
		second int
		want   time.Duration
	}{{59, 9 * ms}, {61, 9 * ms}, {119, 9 * ms}, {122, ms}} {
		at := start.Add(time.Duration(x.second) * time.Second)
		if m.add(ms, at); m.most(at) != x.want {
			t.Errorf("after %d s: %s; want %s", x.second, m.most(at), x.want)
		}
	}
}

// What an agent told before it was lost is judged after that: by how much its times may be wrong matters as long as that of the others.
func TestMarginOfWhoIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newJudging(t)
		var margin time.Duration
		l.work.OnKnown = func(_ time.Time, m time.Duration) { margin = m }
		const ms = time.Millisecond
		tell(t, l, protocol.Batch{Agent: "a", Number: 1, Within: 300 * ms, Until: time.Now()})
		l.work.OnLoss = func(string, string, int, time.Time) {}
		l.Lose("a", "its process ended")
		for i, tt := range []struct {
			after, want time.Duration
		}{{0, 300 * ms}, {lately - time.Second, 300 * ms}, {2 * lately, ms}} {
			time.Sleep(tt.after)
			tell(t, l, protocol.Batch{Agent: "b", Number: uint64(i + 1), Within: ms, Until: time.Now()})
			if margin != tt.want {
				t.Errorf("%s later: a margin of %s; want %s", tt.after, margin, tt.want)
			}
		}
		l.Close()
	})
}
