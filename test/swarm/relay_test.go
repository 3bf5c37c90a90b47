//go:build integration

package swarm

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ways is how long each way of a connection takes.
type ways struct{ up, down time.Duration }

// relay is a network with delays: what comes over a connection goes on to another address, each way so long after it came, and in order. How fast
// it is does not change.
type relay struct {
	listener net.Listener
	to       string
	delays   func(from string) ways // by the IP address of who connects

	up, down atomic.Int64 // bytes that went

	mu      sync.Mutex // protects conns
	conns   map[net.Conn]bool
	running sync.WaitGroup
}

// newRelay listens at an address until the test ends.
func newRelay(t *testing.T, at, to string, delays func(from string) ways) *relay {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, to: to, delays: delays, conns: make(map[net.Conn]bool)}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		for c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serve(client) })
	}
}

func (r *relay) serve(client net.Conn) {
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		_ = client.Close()
		return
	}
	r.mu.Lock()
	r.conns[client], r.conns[server] = true, true
	r.mu.Unlock()
	host, _, _ := net.SplitHostPort(client.RemoteAddr().String())
	d := r.delays(host)
	var both sync.WaitGroup
	both.Go(func() { pass(client, server, d.up, &r.up) })
	both.Go(func() { pass(server, client, d.down, &r.down) })
	both.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, client)
	delete(r.conns, server)
}

// late is what came, and when it goes on.
type late struct {
	at   time.Time
	data []byte
}

// pass hands on what comes, each piece a time after it came, until a side closes.
func pass(from, to net.Conn, after time.Duration, count *atomic.Int64) {
	queue := make(chan late, 4096)
	var writer sync.WaitGroup
	writer.Go(func() {
		defer to.Close()
		broken := false
		for x := range queue {
			if broken {
				continue
			}
			time.Sleep(time.Until(x.at)) // the delay is what this is for
			_, err := to.Write(x.data)
			broken = err != nil
			if broken {
				_ = from.Close()
			}
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			count.Add(int64(n))
			queue <- late{time.Now().Add(after), append([]byte(nil), buffer[:n]...)}
		}
		if err != nil {
			break
		}
	}
	close(queue)
	writer.Wait()
	_ = from.Close()
}
