package provision

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/identity/paced"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRegistry is a hub's registry that allows so many operations a second after a burst, and sheds the rest. A
// rate of 0 is without a limit.
type fakeRegistry struct {
	mu         sync.Mutex
	rate       float64
	burst      float64
	retryAfter time.Duration
	tokens     float64
	at         time.Time
	devices    map[string]registry.Authentication
	calls      int
	shed       []time.Time
	largest    int
	// before, which may be nil, decides about a call: an error, and whether it is carried out all the same.
	before func(call int) (err error, carriedOut bool)
}

func (r *fakeRegistry) admit(n int) error {
	if r.rate == 0 {
		return nil
	}
	now := time.Now()
	if r.at.IsZero() {
		r.tokens = r.burst
	} else {
		r.tokens = min(r.burst, r.tokens+now.Sub(r.at).Seconds()*r.rate)
	}
	r.at = now
	if float64(n) > r.tokens {
		r.shed = append(r.shed, now)
		return &iothub.Error{Status: 429, Code: 429001, Name: "ThrottlingException", RetryAfter: r.retryAfter}
	}
	r.tokens -= float64(n)
	return nil
}

func (r *fakeRegistry) Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error) {
	time.Sleep(5 * time.Millisecond) // of a bubble's clock
	if err := ctx.Err(); err != nil {
		return registry.BulkResult{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.largest = max(r.largest, len(entries))
	if err := r.admit(len(entries)); err != nil {
		return registry.BulkResult{}, err
	}
	var failure error
	if r.before != nil {
		err, carriedOut := r.before(r.calls)
		if err != nil && !carriedOut {
			return registry.BulkResult{}, err
		}
		failure = err
	}
	var result registry.BulkResult
	for _, e := range entries {
		_, there := r.devices[e.ID]
		switch {
		case e.ImportMode == registry.ImportCreate && there:
			result.Errors = append(result.Errors, registry.BulkError{DeviceID: e.ID, ErrorCode: 409001})
		case e.ImportMode == registry.ImportCreate && strings.HasPrefix(e.ID, "bad"):
			result.Errors = append(result.Errors, registry.BulkError{DeviceID: e.ID, ErrorCode: 400004, ErrorStatus: "BadRequest"})
		case e.ImportMode == registry.ImportCreate:
			r.devices[e.ID] = *e.Authentication
		case e.ImportMode == registry.ImportDelete && !there:
			result.Errors = append(result.Errors, registry.BulkError{DeviceID: e.ID, ErrorCode: 404001})
		case e.ImportMode == registry.ImportDelete:
			delete(r.devices, e.ID)
		}
	}
	return result, failure
}

func (r *fakeRegistry) Device(_ context.Context, id string) (registry.Identity, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if err := r.admit(1); err != nil {
		return registry.Identity{}, err
	}
	auth, ok := r.devices[id]
	if !ok {
		return registry.Identity{}, iothub.ErrDeviceNotFound
	}
	return registry.Identity{DeviceID: id, Authentication: auth}, nil
}

func newRegistry() *fakeRegistry {
	return &fakeRegistry{devices: make(map[string]registry.Authentication)}
}

func id(i int) string { return fmt.Sprintf("d-%05d", i) }

// made collects what a Make tells.
type made struct {
	states map[string]State
	keys   map[string]sas.Key
}

func (m *made) done(_ int, devices []Device, states []State) error {
	if m.states == nil {
		m.states, m.keys = make(map[string]State), make(map[string]sas.Key)
	}
	for i, d := range devices {
		m.states[d.ID], m.keys[d.ID] = states[i], d.Auth.SymmetricKey.Primary
	}
	return nil
}

func (m *made) count(s State) int {
	n := 0
	for _, x := range m.states {
		if x == s {
			n++
		}
	}
	return n
}

func build(adopt Adopt) func(first, last int) ([]Device, error) {
	return func(first, last int) ([]Device, error) {
		var out []Device
		for i := first; i < last; i++ {
			out = append(out, Device{
				ID: id(i), Adopt: adopt,
				Auth: registry.Authentication{Type: registry.AuthSAS, SymmetricKey: registry.SymmetricKeys{Primary: sas.NewKey(), Secondary: sas.NewKey()}},
			})
		}
		return out, nil
	}
}

// Without a limit 1,050 identities are eleven calls, and progress goes up to all of them.
func TestMakeAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		var progress []int
		p := &Provisioner{Registry: r, Progress: func(x paced.Progress) {
			if x.Throttled || x.Total != 1050 {
				t.Errorf("progress = %+v", x)
			}
			progress = append(progress, x.Done)
		}}
		var m made
		if err := p.Make(t.Context(), 1050, build(AdoptKey), m.done); err != nil {
			t.Fatal(err)
		}
		if r.calls != 11 || r.largest != 100 || m.count(Made) != 1050 || !slices.IsSorted(progress) || progress[len(progress)-1] != 1050 {
			t.Errorf("%d calls of at most %d, %d made, progress %v", r.calls, r.largest, m.count(Made), progress)
		}
		for id, auth := range r.devices {
			if m.keys[id] != auth.SymmetricKey.Primary {
				t.Fatalf("the key of %s is not the registry's", id)
			}
		}
		delete(r.devices, id(7))
		r.devices["another"] = registry.Authentication{}
		var ids []string
		for i := range 1050 {
			ids = append(ids, id(i))
		}
		removed, missing := 0, 0
		err := p.Remove(t.Context(), ids, func(_ int, states []State) error {
			for _, s := range states {
				if s == Removed {
					removed++
				} else if s == Missing {
					missing++
				}
			}
			return nil
		})
		if err != nil || removed != 1049 || missing != 1 || len(r.devices) != 1 {
			t.Errorf("%d removed, %d missing, %d left, %v", removed, missing, len(r.devices), err)
		}
	})
}

// Devices that are there are used with their own keys; they do not count as made.
func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		p := &Provisioner{Registry: r}
		var first, second made
		if err := p.Make(t.Context(), 30, build(AdoptKey), first.done); err != nil {
			t.Fatal(err)
		}
		if err := p.Make(t.Context(), 150, build(AdoptKey), second.done); err != nil {
			t.Fatal(err)
		}
		if second.count(Existed) != 30 || second.count(Made) != 120 || second.keys[id(5)] != first.keys[id(5)] {
			t.Errorf("%d existed, %d made", second.count(Existed), second.count(Made))
		}
		calls := r.calls
		var third made
		if err := p.Make(t.Context(), 150, build(AdoptAsIs), third.done); err != nil || third.count(Existed) != 150 || r.calls != calls+2 {
			t.Errorf("as they are: %v, %d existed, %d calls", err, third.count(Existed), r.calls-calls)
		}
		if err := p.Make(t.Context(), 10, build(AdoptNot), nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "device d-00000 exists already") {
			t.Errorf("not to be adopted: %v", err)
		}
		r.devices[id(3)] = registry.Authentication{Type: registry.AuthSelfSigned}
		if err := p.Make(t.Context(), 10, build(AdoptKey), nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "authenticates by selfSigned") {
			t.Errorf("a device with a certificate: %v", err)
		}
	})
}

// The registry of an S1 unit allows 100 identities a minute. However small its burst, the work goes on at about
// that pace, and ends.
func TestThrottles(t *testing.T) {
	for _, tt := range []struct {
		burst      float64
		retryAfter time.Duration
	}{{100, 0}, {100, 10 * time.Second}, {17, 0}, {3, 0}, {1, 0}, {1, 2 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistry()
			r.rate, r.burst, r.retryAfter = 100.0/60, tt.burst, tt.retryAfter
			throttled := false
			p := &Provisioner{Registry: r, Progress: func(x paced.Progress) { throttled = throttled || x.Throttled }}
			began := time.Now()
			var m made
			if err := p.Make(t.Context(), 500, build(AdoptKey), m.done); err != nil {
				t.Fatal(err)
			}
			took, least := time.Since(began), time.Duration((500-tt.burst)/r.rate*float64(time.Second))
			if m.count(Made) != 500 || len(r.devices) != 500 || !throttled {
				t.Errorf("burst %g: %d made, throttled %t", tt.burst, m.count(Made), throttled)
			}
			if took < least || took > 4*least {
				t.Errorf("burst %g, retry after %v: took %v; the limit allows it in %v", tt.burst, tt.retryAfter, took, least)
			}
			if tt.retryAfter > 0 {
				for i := paced.Concurrency + 1; i < len(r.shed); i++ {
					if gap := r.shed[i].Sub(r.shed[i-1]); gap < tt.retryAfter {
						t.Errorf("burst %g: asked once more after %v; the service said %v", tt.burst, gap, tt.retryAfter)
					}
				}
			}
		})
	}
}

// A stop waits for the calls under way; what they made is known, and another Make does the rest.
func TestStopAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.rate, r.burst = 100.0/60, 100
		stop := make(chan struct{})
		time.AfterFunc(90*time.Second, func() { close(stop) })
		var m made
		err := (&Provisioner{Registry: r, Stop: stop}).Make(t.Context(), 400, build(AdoptKey), m.done)
		n := m.count(Made)
		if !errors.Is(err, paced.ErrStopped) || n == 0 || n == 400 || n != len(r.devices) {
			t.Fatalf("stopped: %v, %d made, %d in the registry", err, n, len(r.devices))
		}
		var rest made
		if err := (&Provisioner{Registry: r}).Make(t.Context(), 400, build(AdoptAsIs), rest.done); err != nil {
			t.Fatal(err)
		}
		if rest.count(Existed) != n || rest.count(Made) != 400-n || len(r.devices) != 400 {
			t.Errorf("resumed: %d existed, %d made; want %d and %d", rest.count(Existed), rest.count(Made), n, 400-n)
		}
		closed := make(chan struct{})
		close(closed)
		calls := r.calls
		if err := (&Provisioner{Registry: r, Stop: closed}).Make(t.Context(), 5, build(AdoptKey), nil); !errors.Is(err, paced.ErrStopped) || r.calls != calls {
			t.Errorf("stopped before it began: %v, %d calls", err, r.calls-calls)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		if err := (&Provisioner{Registry: r}).Make(ctx, 5, build(AdoptKey), nil); err == nil || err.Error() != "enough" {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// A call whose answer is lost is repeated with the same keys, so that what it made counts as made.
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("connection reset")
		r := newRegistry()
		r.before = func(call int) (error, bool) {
			if call <= 2 {
				return lost, call == 2
			}
			return nil, false
		}
		var m made
		if err := (&Provisioner{Registry: r}).Make(t.Context(), 60, build(AdoptKey), m.done); err != nil || m.count(Made) != 60 {
			t.Errorf("%v, %d made", err, m.count(Made))
		}
		r.before = func(int) (error, bool) { return lost, false }
		if err := (&Provisioner{Registry: r}).Remove(t.Context(), []string{id(0)}, nil); !errors.Is(err, lost) ||
			!strings.Contains(err.Error(), "removing identities d-00000 to d-00000") {
			t.Errorf("a registry that never answers: %v", err)
		}
		calls := r.calls
		r.before = func(int) (error, bool) { return iothub.ErrUnauthorized, false }
		if err := (&Provisioner{Registry: r}).Make(t.Context(), 5, build(AdoptKey), nil); !errors.Is(err, iothub.ErrUnauthorized) || r.calls != calls+1 {
			t.Errorf("not authorized: %v after %d calls; want one", err, r.calls-calls)
		}
	})
}

// mute is a registry that takes every call and answers none.
type mute struct{ calls atomic.Int32 }

func (m *mute) Bulk(ctx context.Context, _ []registry.BulkEntry) (registry.BulkResult, error) {
	m.calls.Add(1)
	<-ctx.Done()
	return registry.BulkResult{}, ctx.Err()
}

func (m *mute) Device(ctx context.Context, _ string) (registry.Identity, error) {
	<-ctx.Done()
	return registry.Identity{}, ctx.Err()
}

// A registry that answers nothing is told of while it is waited for, and given up in less than two minutes.
func TestSilentRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []time.Duration
		began := time.Now()
		err := (&Provisioner{Registry: &mute{}, Progress: func(p paced.Progress) {
			if p.Done != 0 || p.Total != 1000 || p.Throttled {
				t.Errorf("progress %+v", p)
			}
			told = append(told, p.Silent)
		}}).Make(t.Context(), 1000, build(AdoptKey), nil)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		if strings.Count(err.Error(), "creating identities") != 1 {
			t.Errorf("told more than once: %v", err)
		}
		if len(told) < 5 || told[0] != 10*time.Second || told[len(told)-1] < time.Minute {
			t.Errorf("told of %v without an answer", told)
		}
	})
}

// A stop waits for the calls under way, but not for long; cancelling does not wait.
func TestStopOnSilentRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		time.AfterFunc(4*time.Second, func() { close(stop) })
		began := time.Now()
		err := (&Provisioner{Registry: &mute{}, Stop: stop}).Remove(t.Context(), []string{"a", "b"}, nil)
		if took := time.Since(began); !errors.Is(err, paced.ErrStopped) || took != 7*time.Second {
			t.Errorf("stopped after 4s: %v after %v; want %v after 7s", err, took, paced.ErrStopped)
		}
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(4*time.Second, func() { cancel(enough) })
		began = time.Now()
		err = (&Provisioner{Registry: &mute{}}).Make(ctx, 1000, build(AdoptKey), nil)
		if took := time.Since(began); err == nil || took != 4*time.Second {
			t.Errorf("cancelled after 4s: %v after %v", err, took)
		}
	})
}

// What another try would find, too, is tried once a call, and told once.
func TestPermanentMistakes(t *testing.T) {
	for name, mistake := range map[string]error{
		"untrusted":    &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
		"another name": x509.HostnameError{Host: "h.example", Certificate: &x509.Certificate{}},
		"expired":      x509.CertificateInvalidError{Reason: x509.Expired},
		"no such host": &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}},
		"no TLS":       tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
		"credentials":  iothub.ErrUnauthorized,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry()
				r.before = func(int) (error, bool) { return fmt.Errorf("bulk registry call: %w", mistake), false }
				began := time.Now()
				err := (&Provisioner{Registry: r}).Make(t.Context(), 1000, build(AdoptKey), nil)
				if took := time.Since(began); took > 100*time.Millisecond || r.calls > paced.Concurrency || strings.Count(err.Error(), mistake.Error()) != 1 {
					t.Errorf("%d calls in %v: %v", r.calls, took, err)
				}
			})
		})
	}
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := func(first, last int) ([]Device, error) {
			return []Device{{ID: "bad-1", Auth: registry.Authentication{Type: registry.AuthSAS}}}, nil
		}
		err := (&Provisioner{Registry: newRegistry()}).Make(t.Context(), 1, bad, nil)
		if !errors.Is(err, ErrRefused) || err.Error() != "identity refused: creating bad-1: error 400004: BadRequest" {
			t.Errorf("err = %v", err)
		}
	})
}

// Whatever the registry sheds and loses, every identity is made once, and told of once.
func TestEveryIdentityOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 700).Draw(rt, "n")
		burst := rapid.Float64Range(1, 300).Draw(rt, "burst")
		rate := rapid.Float64Range(0.5, 500).Draw(rt, "rate")
		after := time.Duration(rapid.IntRange(0, 5).Draw(rt, "after")) * time.Second
		synctest.Test(t, func(*testing.T) {
			r := newRegistry()
			r.rate, r.burst, r.retryAfter = rate, burst, after
			told := make(map[string]int)
			err := (&Provisioner{Registry: r}).Make(context.Background(), n, build(AdoptKey), func(first int, devices []Device, _ []State) error {
				for i, d := range devices {
					told[d.ID]++
					if d.ID != id(first+i) {
						rt.Errorf("device %d is told as %s", first+i, d.ID)
					}
				}
				return nil
			})
			if err != nil || len(told) != n || len(r.devices) != n {
				rt.Fatalf("%v: %d told of, %d made; want %d", err, len(told), len(r.devices), n)
			}
			for id, times := range told {
				if times != 1 {
					rt.Fatalf("%s was told %d times", id, times)
				}
			}
		})
	})
}
