// Package mux lets one port speak several protocols: MQTT and HTTP, each in clear or within TLS.
// The first byte of a connection tells which.
package mux

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// The first bytes: of a TLS record that holds a handshake (RFC 8446 section 5.1), and of an MQTT
// CONNECT (MQTT 3.1.1 section 3.1).
const (
	tlsHandshake = 0x16
	mqttConnect  = 0x10
)

// firstByteTimeout is how long a connection may take to say something.
const firstByteTimeout = 30 * time.Second

// Mux sorts the connections of listeners.
type Mux struct {
	TLS    *tls.Config
	MQTT   func(net.Conn) // serves an MQTT connection to its end
	Logger *slog.Logger

	http   httpListener
	conns  sync.WaitGroup
	mu     sync.Mutex // protects open and closed
	open   map[net.Conn]struct{}
	closed bool
}

// New makes a Mux. MQTT connections are served by serve; HTTP ones are accepted from HTTP.
func New(config *tls.Config, serve func(net.Conn), logger *slog.Logger) *Mux {
	m := &Mux{TLS: config, MQTT: serve, Logger: logger, open: make(map[net.Conn]struct{})}
	m.http.conns = make(chan net.Conn)
	m.http.done = make(chan struct{})
	return m
}

// HTTP is the listener that gives out the HTTP connections.
func (m *Mux) HTTP() net.Listener { return &m.http }

// Serve accepts from a listener until it is closed. A shortage of descriptors is waited out.
func (m *Mux) Serve(ctx context.Context, l net.Listener) {
	if m.http.addr == nil {
		m.http.addr = l.Addr()
	}
	wait := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			wait = 5 * time.Millisecond
			m.conns.Go(func() { m.sort(nc) })
			continue
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		}
		m.Logger.Warn("accepting a connection failed; trying again", "error", err)
		timer := time.NewTimer(wait)
		wait = min(2*wait, time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// track keeps a connection so that Close can end it while it is being sorted.
func (m *Mux) track(nc net.Conn, add bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !add {
		delete(m.open, nc)
		return true
	}
	if m.closed {
		return false
	}
	m.open[nc] = struct{}{}
	return true
}

func (m *Mux) sort(nc net.Conn) {
	if !m.track(nc, true) {
		nc.Close()
		return
	}
	first, sorted, err := m.peek(nc)
	if err == nil && first == tlsHandshake {
		first, sorted, err = m.peek(tls.Server(sorted, m.TLS))
	}
	m.track(nc, false)
	switch {
	case err != nil:
		nc.Close()
	case first == mqttConnect:
		m.MQTT(sorted)
	default:
		m.http.give(sorted)
	}
}

// peek reads the first byte and returns a connection that still has it.
func (m *Mux) peek(nc net.Conn) (byte, net.Conn, error) {
	if err := nc.SetReadDeadline(time.Now().Add(firstByteTimeout)); err != nil {
		return 0, nil, err
	}
	var b [1]byte
	if _, err := nc.Read(b[:]); err != nil {
		return 0, nil, err
	}
	return b[0], &peeked{Conn: nc, first: b[0], unread: true}, nc.SetReadDeadline(time.Time{})
}

// Close ends the connections that are being sorted, and waits for them and those of MQTT.
func (m *Mux) Close() {
	m.mu.Lock()
	m.closed = true
	for nc := range m.open {
		nc.Close()
	}
	m.mu.Unlock()
	m.http.Close()
	m.conns.Wait()
}

// peeked is a connection whose first byte was read already.
type peeked struct {
	net.Conn
	first  byte
	unread bool
}

func (p *peeked) Read(b []byte) (int, error) {
	if !p.unread || len(b) == 0 {
		return p.Conn.Read(b)
	}
	p.unread = false
	b[0] = p.first
	return 1, nil
}

// Unwrap is the connection below, for those who look for its TLS state.
func (p *peeked) Unwrap() any { return p.Conn }

// httpListener gives out connections as a net.Listener does.
type httpListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func (l *httpListener) give(nc net.Conn) {
	select {
	case l.conns <- nc:
	case <-l.done:
		nc.Close()
	}
}

func (l *httpListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *httpListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *httpListener) Addr() net.Addr { return l.addr }
