// Package reach opens the connections below all that devices say to a broker: to which of its addresses, and through which proxy.
package reach

import (
	"context"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// Resolver finds the addresses of a name; a *net.Resolver is one.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// Way is how connections to a target are opened.
type Way struct {
	Addr    string   // host:port of the target; required
	Sources []net.IP // local addresses to connect from, in turn; nil leaves it to the system
	// Every takes all addresses of the target's name in turn, a connection each; otherwise the system chooses.
	Every    bool
	Resolver Resolver // for Every; the system's when nil
	// Proxy is on the way: http:// for one that takes CONNECT, or socks5://, with a port; nil for none. Sources are then towards it.
	Proxy *url.URL
}

// Dialers are the two parts of a way: what opens a socket, and what is to be said on it before it is a connection to the target, which is nil
// where nothing is. Faults of the network of devices belong in between.
func (w *Way) Dialers() (bare link.Dialer, through func(link.Dialer) link.Dialer) {
	if w.Proxy == nil {
		if !w.Every {
			return link.TCP(w.Addr, w.Sources...), nil
		}
		return newTurns(w).dial, nil
	}
	to := picks(one(w.Addr))
	if w.Every {
		turns := newTurns(w)
		turns.way.Sources = nil // they are of another way
		to = turns
	}
	return link.TCP(w.Proxy.Host, w.Sources...), func(dial link.Dialer) link.Dialer { return throughProxy(w.Proxy, dial, to) }
}

// picks says which address of the target a connection is for, host:port, and is told of those that fail.
type picks interface {
	next(ctx context.Context) (string, error)
	lost()
}

// one is the address of a target that has but one.
type one string

func (o one) next(context.Context) (string, error) { return string(o), nil }

func (o one) lost() {}

const (
	// resolvedFor is how long the addresses of a name hold.
	resolvedFor = 30 * time.Second
	// resolveAgain is the shortest time between two questions after a connection failed: many do at once.
	resolveAgain = time.Second
)

// turns are the addresses of a name in turn.
type turns struct {
	way        *Way
	host, port string
	asking     chan struct{} // holds a value while somebody asks the resolver

	mu      sync.Mutex
	all     []string // host:port
	asked   time.Time
	why     error // of the last question, when it had no answer
	failed  bool  // it, or a connection since, failed
	n       int   // turns that were taken
	dialers map[string]link.Dialer
}

func newTurns(w *Way) *turns {
	own := *w
	if own.Resolver == nil {
		own.Resolver = net.DefaultResolver
	}
	t := &turns{way: &own, asking: make(chan struct{}, 1), dialers: make(map[string]link.Dialer)}
	t.host, t.port, _ = net.SplitHostPort(w.Addr) // an endpoint's, which has both
	return t
}

// dial opens a connection to the address whose turn it is. One that fails is an attempt that failed: its device tries the next when it
// tries again, so that an address behind which nobody is shows in the figures.
func (t *turns) dial(ctx context.Context) (net.Conn, error) {
	addr, err := t.next(ctx)
	if err != nil {
		return nil, err
	}
	nc, err := t.dialer(addr)(ctx)
	if err != nil {
		t.lost()
	}
	return nc, err
}

// lost notes that a connection failed.
func (t *turns) lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = true
}

// dialer is the one of an address, with the source addresses that can reach it.
func (t *turns) dialer(addr string) link.Dialer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.dialers[addr]; d != nil {
		return d
	}
	if len(t.dialers) >= mostDialers {
		clear(t.dialers)
	}
	t.dialers[addr] = link.TCP(addr, fitting(t.way.Sources, addr)...)
	return t.dialers[addr]
}

// mostDialers bounds the addresses that are remembered of a name whose addresses change.
const mostDialers = 1024

// fitting are the sources of the same version of IP as an address.
func fitting(sources []net.IP, addr string) (all []net.IP) {
	host, _, _ := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	for _, source := range sources {
		if ip == nil || (source.To4() == nil) == (ip.To4() == nil) {
			all = append(all, source)
		}
	}
	return all
}

// next is the address whose turn it is, host:port.
func (t *turns) next(ctx context.Context) (string, error) {
	if addr, err := t.turn(false); addr != "" || err != nil {
		return addr, err
	}
	select {
	case t.asking <- struct{}{}:
	default:
		if addr, _ := t.turn(true); addr != "" { // somebody asks; what is known serves meanwhile
			return addr, nil
		}
		select {
		case t.asking <- struct{}{}:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	defer func() { <-t.asking }()
	if addr, err := t.turn(false); addr != "" || err != nil { // by who asked before
		return addr, err
	}
	found, err := t.way.Resolver.LookupHost(ctx, t.host)
	if err == nil {
		if found = t.usable(found); len(found) == 0 {
			err = &net.AddrError{Err: "no suitable address found", Addr: t.host}
		}
	}
	if err != nil && ctx.Err() != nil {
		return "", context.Cause(ctx) // the others may have more time
	}
	t.answered(found, err)
	return t.turn(true)
}

// answered keeps what the resolver said. What was known before serves on when it failed.
func (t *turns) answered(found []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked, t.why, t.failed = time.Now(), err, err != nil
	if err == nil {
		t.all = found
	}
}

// turn takes the next of the addresses that are known, or says why none is. It gives neither when the resolver is to be asked first, which
// stale does without.
func (t *turns) turn(stale bool) (addr string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	age := time.Since(t.asked)
	if fresh := age < resolveAgain || age < resolvedFor && !t.failed; t.asked.IsZero() || !fresh && !stale {
		return "", nil
	}
	if len(t.all) == 0 {
		return "", t.why
	}
	addr = t.all[t.n%len(t.all)]
	t.n++
	return addr, nil
}

// usable are the addresses that some source address can reach, with the port.
func (t *turns) usable(found []string) (all []string) {
	for _, host := range found {
		addr := net.JoinHostPort(host, t.port)
		if len(t.way.Sources) == 0 || len(fitting(t.way.Sources, addr)) > 0 {
			all = append(all, addr)
		}
	}
	return all
}
