package natsbus_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy is a network between a connection and its server that counts and misbehaves.
type proxy struct {
	to       string
	listener net.Listener
	up, down atomic.Int64 // bytes that went
	stall    atomic.Bool  // nothing comes through, either way, and nobody is told
	deaf     atomic.Bool  // nothing comes back from the server
	held     sync.RWMutex // nothing is even read from the client
	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	wg       sync.WaitGroup
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: to, listener: l, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(client, server, &p.up, nil) })
		p.wg.Go(func() { p.pass(server, client, &p.down, &p.deaf) })
	}
}

func (p *proxy) pass(from, to net.Conn, count *atomic.Int64, deaf *atomic.Bool) {
	defer func() {
		_ = from.Close()
		// A network that is silent does not say that the other end went.
		if !p.stall.Load() {
			_ = to.Close()
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		if deaf == nil {
			p.release()
		}
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		count.Add(int64(n))
		if p.stall.Load() || deaf != nil && deaf.Load() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// release waits until nobody holds the network.
func (p *proxy) release() {
	p.held.RLock()
	defer p.held.RUnlock()
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}
