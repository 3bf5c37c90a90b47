package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/metrics/reason"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a resolver that counts.
type names struct {
	mu    sync.Mutex
	all   []string
	err   error
	takes time.Duration
	asked int
}

func (n *names) LookupHost(ctx context.Context, host string) ([]string, error) {
	if host != "broker" {
		return nil, fmt.Errorf("asked for %s", host)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	select {
	case <-time.After(n.takes):
		return n.all, n.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *names) say(err error, all ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all, n.err = all, err
}

func (n *names) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// take takes some turns.
func take(t *testing.T, x *turns, n int) string {
	t.Helper()
	var all []string
	for range n {
		addr, err := x.next(t.Context())
		if err != nil {
			addr = reason.Of(err)
		}
		all = append(all, addr)
	}
	return strings.Join(all, " ")
}

// Each address has its turn, and the name is asked for anew after half a minute, or a second after a connection failed.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &names{all: []string{"10.0.0.1", "10.0.0.2", "fd00::1"}}
		x := newTurns(&Way{Addr: "broker:1883", Resolver: r})
		if got := take(t, x, 4); got != "10.0.0.1:1883 10.0.0.2:1883 [fd00::1]:1883 10.0.0.1:1883" || r.questions() != 1 {
			t.Errorf("%s after %d questions", got, r.questions())
		}
		r.say(nil, "10.0.0.9")
		time.Sleep(resolvedFor - time.Millisecond)
		if got := take(t, x, 1); got != "10.0.0.2:1883" {
			t.Errorf("%s within half a minute", got)
		}
		time.Sleep(time.Millisecond)
		if got := take(t, x, 2); got != "10.0.0.9:1883 10.0.0.9:1883" || r.questions() != 2 {
			t.Errorf("%s after %d questions", got, r.questions())
		}
		r.say(nil, "10.0.0.8")
		x.lost()
		if got := take(t, x, 1); got != "10.0.0.9:1883" {
			t.Errorf("%s within a second of the question before", got)
		}
		time.Sleep(resolveAgain)
		if got := take(t, x, 1); got != "10.0.0.8:1883" || r.questions() != 3 {
			t.Errorf("%s after a connection failed, and %d questions", got, r.questions())
		}
		// A name server that fails takes nothing away, and is asked anew every second.
		r.say(&net.DNSError{IsNotFound: true})
		time.Sleep(resolvedFor)
		if got := take(t, x, 3); got != "10.0.0.8:1883 10.0.0.8:1883 10.0.0.8:1883" || r.questions() != 4 {
			t.Errorf("%s without a name server, after %d questions", got, r.questions())
		}
		time.Sleep(resolveAgain)
		if take(t, x, 1); r.questions() != 5 {
			t.Errorf("%d questions a second later", r.questions())
		}
	})
}

// Many who come at once wait for one answer, and one that gives up takes it from nobody.
func TestTurnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &names{all: []string{"10.0.0.1", "10.0.0.2"}, takes: 2 * time.Second}
		x := newTurns(&Way{Addr: "broker:1883", Resolver: r})
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := x.next(hasty); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who has a second: %v", err)
		}
		var mu sync.Mutex
		count := make(map[string]int)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				addr, err := x.next(t.Context())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				count[addr]++
			})
		}
		all.Wait()
		if count["10.0.0.1:1883"] != 50 || count["10.0.0.2:1883"] != 50 || r.questions() != 2 {
			t.Errorf("%v after %d questions", count, r.questions())
		}
		// What is known serves while somebody asks.
		time.Sleep(resolvedFor)
		all.Go(func() { take(t, x, 1) })
		synctest.Wait()
		if before := time.Now(); take(t, x, 1) == "" || time.Since(before) > 0 {
			t.Errorf("waited %s for a name that is known", time.Since(before))
		}
		all.Wait()
	})
}

// A name without an address is a reason of its own, shared by all who ask within a second.
func TestTurnsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &names{err: &net.DNSError{IsNotFound: true}}
		x := newTurns(&Way{Addr: "broker:1883", Resolver: r})
		const unknown = "the target's name was not found"
		if got := take(t, x, 3); got != strings.Join([]string{unknown, unknown, unknown}, " ") || r.questions() != 1 {
			t.Errorf("%s after %d questions", got, r.questions())
		}
		r.say(nil, "fd00::1")
		time.Sleep(resolveAgain)
		if got := take(t, x, 1); got != "[fd00::1]:1883" {
			t.Errorf("%s when it is known", got)
		}
		// Source addresses leave out what they cannot reach.
		x = newTurns(&Way{Addr: "broker:1883", Resolver: r, Sources: []net.IP{net.ParseIP("127.0.0.1")}})
		if got := take(t, x, 1); got != "no address of the target fits the source address" {
			t.Errorf("%s from IPv4 to IPv6", got)
		}
	})
}

// Connections go to each address in turn, from the source addresses that reach it.
func TestEvery(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	other, err := net.Listen("tcp", "127.0.0.3:"+port)
	if err != nil {
		t.Skip(err) // somebody has it
	}
	other.Close()
	sources := []net.IP{net.ParseIP("127.0.0.9"), net.ParseIP("::1")}
	w := &Way{Addr: net.JoinHostPort("broker", port), Every: true, Resolver: &names{all: []string{"127.0.0.2", "127.0.0.3"}}, Sources: sources}
	dial, through := w.Dialers()
	if through != nil {
		t.Error("there is something to say without a proxy")
	}
	for i := range 6 {
		nc, err := dial(t.Context())
		if i%2 == 1 {
			if reason.Of(err) != "nothing listens at the target" {
				t.Errorf("to the address where nobody is: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if from, _, _ := net.SplitHostPort(nc.LocalAddr().String()); from != "127.0.0.9" {
			t.Errorf("from %s", from)
		}
		nc.Close()
	}
}

func TestReferences(t *testing.T) {
	for reference, want := range map[string]string{
		"broker":          "[{broker }]",
		"broker:8883":     "[{broker 8883}]",
		"10.1.1.1:1 b:2 ": "[{10.1.1.1 1} {b 2}]",
		"[fe80::1]:1883":  "[{fe80::1 1883}]",
		"[fe80::1]":       "[{fe80::1 }]",
		"fe80::1":         "[{fe80::1 }]",
		"b:0 b:70000 b: b:+1 :1 [::z]:1 a:1:2 [b]x mqtt://b:1 b/c b\x00": "",
		"":                                   "",
		strings.Repeat("a", 300) + " fine:1": "[{fine 1}]",
		strings.TrimSpace(strings.Repeat("a ", 99)): "[" + strings.TrimSpace(strings.Repeat("{a } ", mostServers)) + "]",
	} {
		all, err := References(reference)
		got := ""
		if err == nil {
			got = fmt.Sprint(all)
		}
		if got != want || (err != nil) != errors.Is(err, ErrReference) {
			t.Errorf("%q: %s, %v; want %s", reference, got, err, want)
		}
	}
}

// Whatever a target names, what is made of it can be dialled.
func FuzzReferences(f *testing.F) {
	f.Add("broker:8883 [::1]:1")
	f.Fuzz(func(t *testing.T, reference string) {
		all, err := References(reference)
		if err != nil {
			return
		}
		for _, s := range all {
			host, port, err := net.SplitHostPort(net.JoinHostPort(s.Host, s.Port))
			if err != nil || host != s.Host || port != s.Port || strings.ContainsAny(host, " \r\n/@") {
				t.Errorf("%q names %+v: %v", reference, s, err)
			}
		}
	})
}
