// Package mux lets one port speak several protocols: MQTT, AMQP and HTTP, each in clear or within TLS.
// The first bytes of a connection tell which.
package mux

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// The first bytes: of a TLS record that holds a handshake (RFC 8446 section 5.1), of an MQTT CONNECT (MQTT 3.1.1 section 3.1), and
// of an AMQP protocol header (part 2, section 2.2), with which no method of HTTP begins. Everything else is left to HTTP, which answers
// what it cannot read.
const (
	tlsHandshake = "\x16"
	mqttConnect  = "\x10"
	amqpHeader   = "AMQP"
)

// Options of a Mux.
type Options struct {
	TLS    *tls.Config    // required; serves the connections that begin with a TLS handshake
	MQTT   func(net.Conn) // required; serves an MQTT connection, and closes it at its end, which may come after it returns
	AMQP   func(net.Conn) // likewise of AMQP; nil leaves it to HTTP
	Logger *slog.Logger   // nil logs nothing
	// FirstByte is how long a connection may take to say something, and after that to say something
	// within TLS; 30 s when 0. Who speaks later speaks under the deadlines of what it speaks.
	FirstByte time.Duration
}

// Mux sorts the connections of listeners. It is safe for concurrent use.
type Mux struct {
	opts Options
	http httpListener

	serving sync.WaitGroup // connections being sorted, and those whose server waits for their end
	mu      sync.Mutex     // protects the following fields
	open    map[*conn]struct{}
	closed  bool
	refuse  time.Time // until then new connections are closed at once
}

// New makes a Mux. HTTP connections are accepted from HTTP.
func New(o Options) *Mux {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FirstByte == 0 {
		o.FirstByte = 30 * time.Second
	}
	m := &Mux{opts: o, open: make(map[*conn]struct{})}
	m.http.conns = make(chan net.Conn)
	m.http.done = make(chan struct{})
	return m
}

// HTTP is the listener that gives out the HTTP connections. Its address is that of the first
// listener served, or nil before.
func (m *Mux) HTTP() net.Listener { return &m.http }

// Serve accepts from a listener until that is closed or ctx ends. Any other failure to accept, such as
// a shortage of descriptors, is waited out.
func (m *Mux) Serve(ctx context.Context, l net.Listener) {
	m.http.name(l.Addr())
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = shortest
			m.accept(nc)
			continue
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		}
		m.opts.Logger.Warn("accepting a connection failed; trying again", "error", err, "in", pause)
		if wait.For(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, longest)
	}
}

// ServeConn begins to serve a connection that no listener gave, and returns at once.
func (m *Mux) ServeConn(nc net.Conn) { m.accept(nc) }

// accept begins to serve a connection, unless there is a reason not to.
func (m *Mux) accept(nc net.Conn) {
	c := &conn{Conn: nowait.TCP(nc), mux: m}
	m.mu.Lock()
	if m.closed || time.Now().Before(m.refuse) {
		m.mu.Unlock()
		nc.Close()
		return
	}
	m.open[c] = struct{}{}
	m.serving.Add(1)
	m.mu.Unlock()
	go func() {
		defer m.serving.Done()
		m.sort(c)
	}()
}

func (m *Mux) sort(c *conn) {
	first, sorted, err := m.peek(c)
	if err == nil && first == tlsHandshake {
		first, sorted, err = m.peek(tls.Server(sorted, m.opts.TLS))
	}
	switch {
	case err != nil:
		m.opts.Logger.Debug("a connection ended before it said what it speaks", "error", err)
		c.Close()
	case first == mqttConnect:
		m.opts.MQTT(sorted)
	case first == amqpHeader && m.opts.AMQP != nil:
		m.opts.AMQP(sorted)
	default:
		m.http.give(sorted)
	}
}

// peek reads the first byte, or the first four while they may be AMQP's, and returns a connection that still has them. For TLS that
// includes the handshake.
func (m *Mux) peek(nc net.Conn) (string, net.Conn, error) {
	if err := nc.SetDeadline(time.Now().Add(m.opts.FirstByte)); err != nil {
		return "", nil, err
	}
	var b [len(amqpHeader)]byte
	n := 0
	for n == 0 || n < len(b) && string(b[:n]) == amqpHeader[:n] {
		k, err := nc.Read(b[n : n+1])
		if err != nil {
			return "", nil, err
		}
		n += k
	}
	first := string(b[:n])
	return first, &peeked{Conn: nc, unread: first}, nc.SetDeadline(time.Time{})
}

// Refuse closes new connections at once, for a time; 0 ends it. A pending refusal is replaced.
func (m *Mux) Refuse(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = time.Now().Add(d)
}

// Disconnect closes all connections, whatever they speak.
func (m *Mux) Disconnect() { m.Open()() }

// Open notes the connections that there are, and returns what closes them: none that come after it.
func (m *Mux) Open() (disconnect func()) {
	m.mu.Lock()
	open := make([]*conn, 0, len(m.open))
	for c := range m.open {
		open = append(open, c)
	}
	m.mu.Unlock()
	return func() {
		for _, c := range open {
			c.Close()
		}
	}
}

// Connections is how many connections there are.
func (m *Mux) Connections() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.open)
}

// Close closes all connections and the HTTP listener, and waits until those of MQTT and AMQP have been served.
// Listeners are closed by their owner.
func (m *Mux) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.http.Close()
	m.Disconnect()
	m.serving.Wait()
}

// conn is an accepted connection that the Mux can close until someone else does.
type conn struct {
	net.Conn
	mux  *Mux
	once sync.Once
	err  error
}

// Close closes the connection once and takes it off the list.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.mux.mu.Lock()
		delete(c.mux.open, c)
		c.mux.mu.Unlock()
		c.err = c.Conn.Close()
	})
	return c.err
}

// Through is the connection below.
func (c *conn) Through() net.Conn { return c.Conn }

// peeked is a connection whose first bytes were read already.
type peeked struct {
	net.Conn
	unread string
}

func (p *peeked) Read(b []byte) (int, error) {
	if p.unread == "" {
		return p.Conn.Read(b)
	}
	n := copy(b, p.unread)
	p.unread = p.unread[n:]
	return n, nil
}

// Through is the connection below.
func (p *peeked) Through() net.Conn { return p.Conn }

// Unwrap is the connection below, for those who ask for its TLS state.
func (p *peeked) Unwrap() any { return p.Conn }

// httpListener gives out connections as a net.Listener does.
type httpListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex // protects addr
	addr net.Addr
}

func (l *httpListener) name(addr net.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addr == nil {
		l.addr = addr
	}
}

func (l *httpListener) give(nc net.Conn) {
	select {
	case l.conns <- nc:
	case <-l.done:
		nc.Close()
	}
}

// Accept waits for the next HTTP connection. It returns net.ErrClosed after Close.
func (l *httpListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Connections that were given out stay open.
func (l *httpListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is the address of the first listener served.
func (l *httpListener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}
