package fleet_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	dialect "github.com/twinfleet/twinfleet/fleet/protocol/iothub"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// gateway is a driver of connections to a hub that renew tokens in band, and that several devices can share.
type gateway struct {
	*hub
	answer func(n int) error // to the n-th renewal, from 1; nil takes all of them
	never  int               // that renewal has no answer; 0 for none

	mu       sync.Mutex
	renewals []time.Time
	shared   map[int]map[string]*part // by connection
}

func (g *gateway) Sharing() bool { return true }

func (g *gateway) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	c, err := g.hub.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &part{conn: c.(*conn), gateway: g}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared == nil {
		g.shared = make(map[int]map[string]*part)
	}
	if g.shared[o.Connection] == nil {
		g.shared[o.Connection] = make(map[string]*part)
	}
	g.shared[o.Connection][o.ClientID] = p
	return p, nil
}

// count is how many devices have such a part of a connection, by its number.
func (g *gateway) count(such func(*part) bool) map[int]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := make(map[int]int)
	for number, parts := range g.shared {
		for _, p := range parts {
			if such(p) {
				n[number]++
			}
		}
	}
	return n
}

// part is what one device has of a connection.
type part struct {
	*conn
	gateway *gateway
}

func (p *part) Renew(done func(error)) {
	g := p.gateway
	g.mu.Lock()
	defer g.mu.Unlock()
	g.renewals = append(g.renewals, time.Now())
	n := len(g.renewals)
	delay := g.hub.delay()
	if n == g.never {
		delay = time.Hour
	}
	p.after(delay, func(err error) {
		if err == nil && g.answer != nil {
			err = g.answer(n)
		}
		done(err)
	}, link.Message{})
}

func (p *part) Cut() {
	g := p.gateway
	g.mu.Lock()
	parts := slices.Collect(maps.Values(g.shared[p.options.Connection]))
	g.mu.Unlock()
	for _, other := range parts {
		if other == p {
			other.end(nil)
		} else {
			other.end(link.ErrLost)
		}
	}
}

// behind makes a fleet of one group that speaks by a gateway.
func behind(t *testing.T, g *gateway, n int, group fleet.Group) (*fleet.Fleet, *metrics.Recorder) {
	t.Helper()
	group.Driver = g
	return newFleet(t, g.hub, 1, n, group)
}

// Tokens are renewed on the connection where it can: nobody connects anew, each renewal is counted, and comes when the calendar says.
func TestTokensAreRenewedInBand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{hub: newHub()}
		f, rec := behind(t, g, 50, fleet.Group{Tokens: fleet.Tokens{Life: 10 * time.Minute, Margin: time.Minute, Spread: 30 * time.Second}})
		to(t, f, 50, time.Second)
		time.Sleep(time.Hour)
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		x := s.Find(metrics.OpRenew, "robots")
		if x == nil || x.Count(metrics.OK) < 50*6 || x.Count(metrics.OK) > 50*7 || x.Count(metrics.OK) != x.Scheduled() {
			t.Fatalf("renewals: %+v; want 300 to 350, all well", x)
		}
		for op, want := range map[metrics.Operation]uint64{metrics.OpConnect: 50, metrics.OpSubscribe: 50, metrics.OpTwinGet: 50} {
			if n := s.Find(op, "robots").Scheduled(); n != want {
				t.Errorf("%d of %s; want %d", n, op, want)
			}
		}
	})
}

// A renewal that fails is counted as what it was, is tried once more after five seconds, and costs no connection.
func TestRenewalsThatFail(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		never int
		want  metrics.Outcome
		after time.Duration // the second try comes so long after the first
	}{
		"a bad signature": {&link.RefusedError{Status: 401}, 0, metrics.Refused, 5 * time.Second},
		"a throttle":      {&link.RefusedError{Condition: "com.microsoft:device-container-throttled"}, 0, metrics.Throttled, 5 * time.Second},
		"a fault":         {&link.RefusedError{Status: 500}, 0, metrics.Failed, 5 * time.Second},
		"no answer":       {nil, 1, metrics.Timeout, 35 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gateway{hub: newHub(), never: tt.never}
				g.answer = func(n int) error {
					if n == 1 {
						return tt.err
					}
					return nil
				}
				f, rec := behind(t, g, 1, fleet.Group{Tokens: fleet.Tokens{Life: 10 * time.Minute, Margin: 5 * time.Minute}})
				to(t, f, 1, 0)
				time.Sleep(9 * time.Minute)
				f.Stop(t.Context())
				s := rec.Snapshot()
				balanced(t, s)
				x := s.Find(metrics.OpRenew, "robots")
				if x.Count(tt.want) != 1 || x.Count(metrics.OK) != 1 || s.Find(metrics.OpConnect, "robots").Scheduled() != 1 {
					t.Fatalf("renewals %+v; want one %s, and one that is well", x, tt.want)
				}
				if gap := g.renewals[1].Sub(g.renewals[0]); gap < tt.after || gap > tt.after+time.Second {
					t.Errorf("tried once more after %v; want %v", gap, tt.after)
				}
			})
		})
	}
}

// A connection that is lost while a renewal is under way ends it, and the account closes.
func TestRenewalOfALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{hub: newHub(), never: 1}
		f, rec := behind(t, g, 1, fleet.Group{Tokens: fleet.Tokens{Life: 10 * time.Minute, Margin: 5 * time.Minute}})
		to(t, f, 1, 0)
		time.Sleep(5*time.Minute + 10*time.Second)
		g.drop()
		time.Sleep(time.Minute)
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		if x := s.Find(metrics.OpRenew, "robots"); x.Count(metrics.Failed) != 1 || x.Scheduled() != 1 {
			t.Errorf("renewals %+v; want one error", x)
		}
		if n := s.Find(metrics.OpConnect, "robots").Count(metrics.OK); n != 2 {
			t.Errorf("%d connections; want 2", n)
		}
	})
}

// Devices that share connections do so in their order, as many as fit, and a storm cuts connections as a whole.
func TestStormOnSharedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{hub: newHub()}
		f, rec := behind(t, g, 95, fleet.Group{Shared: 10, Backoff: schedule.FixedBackoff()})
		to(t, f, 95, time.Second)
		time.Sleep(time.Second)
		sizes := g.count(func(*part) bool { return true })
		if want := map[int]int{1: 10, 11: 10, 21: 10, 31: 10, 41: 10, 51: 10, 61: 10, 71: 10, 81: 10, 91: 5}; !maps.Equal(sizes, want) {
			t.Fatalf("devices by connection: %v; want %v", sizes, want)
		}
		cut := f.Storm(0.5, time.Second, 1)
		time.Sleep(5 * time.Second)
		lost := g.count(func(p *part) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.closed
		})
		if len(lost) != 5 || f.Losses() != cut || cut < 45 || cut > 50 {
			t.Errorf("%d devices were to be cut, %d were, by connection %v; want 5 whole connections", cut, f.Losses(), lost)
		}
		for number, n := range lost {
			if n != sizes[number] {
				t.Errorf("connection %d: %d of %d devices lost it", number, n, sizes[number])
			}
		}
		time.Sleep(20 * time.Second)
		if f.Lost() != 0 || f.Returns() != cut {
			t.Errorf("%d gone, %d returns of %d", f.Lost(), f.Returns(), cut)
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
	})
}

// A driver that cannot have several devices on one connection is not asked for it.
func TestSharingNeedsADriverThatCan(t *testing.T) {
	h := newHub()
	_, err := fleet.New(fleet.Config{Groups: []fleet.Group{{Name: "robots", Shared: 2}}, Target: h, Driver: h, Recorder: metrics.NewRecorder(metrics.Options{})})
	if err == nil {
		t.Error("a fleet whose driver cannot share connections was made")
	}
}

// Groups of one fleet speak by drivers and protocols of their own.
func TestGroupsOfDifferentTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, other := newHub(), newHub()
		rec := metrics.NewRecorder(metrics.Options{})
		ids := func(name string) (all []string) {
			for i := range 10 {
				all = append(all, fmt.Sprintf("%s-%d", name, i))
			}
			return all
		}
		telemetry := fleet.Telemetry{Every: 10 * time.Second}
		f, err := fleet.New(fleet.Config{Seed: 1, Target: h, Driver: h, Recorder: rec, Groups: []fleet.Group{
			{Name: "robots", IDs: ids("robots"), Telemetry: telemetry},
			{Name: "posts", IDs: ids("posts"), First: 10, Telemetry: telemetry, Driver: other, Protocol: dialect.Sender{}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 20, time.Second)
		time.Sleep(time.Minute)
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		if len(h.told().messages) != 10 || len(other.told().messages) != 10 || len(h.told().messages["robots-0"]) < 5 || len(other.told().messages["posts-0"]) < 5 {
			t.Errorf("messages of %d and %d devices arrived; want 10 and 10", len(h.told().messages), len(other.told().messages))
		}
		if x := s.Find(metrics.OpTwinGet, "posts"); x != nil {
			t.Errorf("devices without twins read them: %+v", x)
		}
		if n := s.Find(metrics.OpTwinGet, "robots").Count(metrics.OK); n != 10 {
			t.Errorf("%d twins were read; want 10", n)
		}
	})
}

// refuses is a driver whose connections, or whose messages, are refused.
type refuses struct {
	*hub
	connect, publish error
}

func (r refuses) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	if r.connect != nil {
		return nil, fmt.Errorf("connecting: %w", r.connect)
	}
	c, err := r.hub.Connect(ctx, o)
	return refusing{c, r.publish}, err
}

type refusing struct {
	link.Conn
	publish error
}

func (c refusing) Publish(_ link.Message, done func(error)) { done(c.publish) }

// What a target refuses is counted as what it is, with its words as the reason, whatever the transport.
func TestRefusalsOfTransports(t *testing.T) {
	for _, tt := range []struct {
		err    link.RefusedError
		want   metrics.Outcome
		reason string
	}{
		{link.RefusedError{Code: 3}, metrics.Throttled, "connection refused: server unavailable (return code 3)"},
		{link.RefusedError{Code: 5}, metrics.Refused, "connection refused: not authorized (return code 5)"},
		{link.RefusedError{Code: 1}, metrics.Refused, "connection refused: unacceptable protocol version (return code 1)"},
		{link.RefusedError{Condition: "com.microsoft:device-container-throttled"}, metrics.Throttled, "refused with com.microsoft:device-container-throttled"},
		{link.RefusedError{Condition: "amqp:resource-limit-exceeded"}, metrics.Throttled, "refused with amqp:resource-limit-exceeded"},
		{link.RefusedError{Condition: "amqp:unauthorized-access"}, metrics.Refused, "refused with amqp:unauthorized-access"},
		{link.RefusedError{Condition: "amqp:not-found"}, metrics.Refused, "refused with amqp:not-found"},
		{link.RefusedError{Condition: "amqp:internal-error"}, metrics.Failed, "refused with amqp:internal-error"},
		{link.RefusedError{Condition: "device dev-1 is unknown"}, metrics.Failed, "refused with a condition that is not known"},
		{link.RefusedError{Status: 429}, metrics.Throttled, "refused with status 429"},
		{link.RefusedError{Status: 401}, metrics.Refused, "refused with status 401"},
		{link.RefusedError{Status: 403}, metrics.Refused, "refused with status 403"},
		{link.RefusedError{Status: 404}, metrics.Refused, "refused with status 404"},
		{link.RefusedError{Status: 503}, metrics.Failed, "refused with status 503"},
		{link.RefusedError{Status: 9000}, metrics.Failed, "refused with a status that is none"},
	} {
		for _, op := range []metrics.Operation{metrics.OpConnect, metrics.OpTelemetry} {
			synctest.Test(t, func(t *testing.T) {
				d := refuses{hub: newHub()}
				if d.connect = &tt.err; op == metrics.OpTelemetry {
					d.connect, d.publish = nil, fmt.Errorf("sending: %w", &tt.err)
				}
				f, rec := newFleet(t, d.hub, 1, 3, fleet.Group{Driver: d, Protocol: dialect.Sender{}, Telemetry: fleet.Telemetry{Every: time.Second}})
				to(t, f, 3, 0)
				time.Sleep(10 * time.Second)
				f.Stop(t.Context())
				s := rec.Snapshot()
				balanced(t, s)
				x := s.Find(op, "robots")
				if x.Count(tt.want) == 0 || x.Count(tt.want) != x.Ended() {
					t.Errorf("%s refused with %+v: %d of %d ended %s", op, tt.err, x.Count(tt.want), x.Ended(), tt.want)
				}
				for _, e := range s.Errors {
					if e.Operation == op && e.Reason != tt.reason {
						t.Errorf("%s refused with %+v: reason %q; want %q", op, tt.err, e.Reason, tt.reason)
					}
				}
			})
		}
	}
}

// What a target said that it does not take fails with that as the reason, whatever became of the connection: it was not lost.
func TestWhatIsNotSentSaysWhy(t *testing.T) {
	for _, why := range []link.UnsupportedError{link.ErrQoS, link.ErrRetain, link.ErrTooLarge} {
		synctest.Test(t, func(t *testing.T) {
			d := refuses{hub: newHub(), publish: why}
			f, rec := newFleet(t, d.hub, 1, 3, fleet.Group{Driver: d, Protocol: dialect.Sender{}, Telemetry: fleet.Telemetry{Every: time.Second}})
			to(t, f, 3, 0)
			time.Sleep(10 * time.Second)
			f.Stop(t.Context())
			s := rec.Snapshot()
			balanced(t, s)
			if x := s.Find(metrics.OpTelemetry, "robots"); x.Count(metrics.Failed) == 0 || x.Count(metrics.Failed) != x.Ended() {
				t.Errorf("%v: %d of %d failed", why, x.Count(metrics.Failed), x.Ended())
			}
			for _, e := range s.Errors {
				if e.Operation == metrics.OpTelemetry && e.Reason != string(why) {
					t.Errorf("%v: the reason is %q", why, e.Reason)
				}
			}
		})
	}
}
