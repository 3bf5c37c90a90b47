package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/oserr"
)

// Dialer opens a transport connection.
type Dialer func(ctx context.Context) (net.Conn, error)

// dialTimeout bounds one attempt to reach the target for a caller without a deadline.
const dialTimeout = 30 * time.Second

// TCP dials an address. With source addresses it uses them in turn: one address has some 28,000
// ports towards one target.
func TCP(addr string, sources ...net.IP) Dialer {
	var next atomic.Uint64
	keepAlive := time.Duration(0) // the system's probes find a network that is gone
	if host, _, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host).IsLoopback() {
		keepAlive = -1 // there is none, and probes cost four system calls a connection
	}
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := bounded(ctx, dialTimeout)
		defer cancel()
		d := net.Dialer{KeepAlive: keepAlive}
		if len(sources) > 0 {
			d.LocalAddr = &net.TCPAddr{IP: sources[next.Add(1)%uint64(len(sources))]}
			d.Control = lateBind
		}
		nc, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return nowait.TCP(nc), nil
	}
}

// bounded gives a context without a deadline one.
func bounded(ctx context.Context, within time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, within)
}

// connectTimeout is that of the official SDKs.
const connectTimeout = 60 * time.Second

// Connecting gives Driver.Connect a deadline, for a caller whose context has none.
func Connecting(ctx context.Context) (context.Context, context.CancelFunc) {
	return bounded(ctx, connectTimeout)
}

// TLS shakes hands on the connections of a dialer. The configuration names the server.
func TLS(dial Dialer, config *tls.Config) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := bounded(ctx, dialTimeout)
		defer cancel()
		nc, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(nc, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, handshakeError(ctx, "TLS", err, ErrTLSClosed)
		}
		return secure, nil
	}
}

// handshakeError is why a handshake failed: its context when that has ended, and in our words when the other side
// hung up without any.
func handshakeError(ctx context.Context, layer string, err error, hungUp ProtocolError) error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded): // the connection's own, which is that of ctx
		err = context.DeadlineExceeded
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), oserr.Is(err, oserr.Reset):
		err = fmt.Errorf("%w: %w", hungUp, err)
	}
	return fmt.Errorf("%s handshake: %w", layer, err)
}

// The sub-protocols of WebSocket, which say what its messages carry.
const (
	WebMQTT = "mqtt"      // MQTT 3.1.1 section 6
	WebAMQP = "AMQPWSB10" // AMQP over WebSocket, as IoT Hub names it (azure-iot-sdk-node, amqp_ws)
)

// WebSocket speaks WebSocket, with a sub-protocol, on the connections of a dialer, which does TLS itself where it is wanted. What is
// written is sent as binary messages, which may hold any part of a stream. The resource is the path, and the query if there is one, as the
// URL has them: escapes are kept. It may hold a secret; no error names it.
func WebSocket(dial Dialer, host, resource, protocol string) Dialer {
	return WebSocketWith(dial, host, resource, protocol, nil)
}

// WebSocketWith is WebSocket with further headers of the request, which may be nil and are not changed. Host among them stands for the host.
// They may hold secrets; no error names them.
func WebSocketWith(dial Dialer, host, resource, protocol string, header http.Header) Dialer {
	target := "ws://" + host + resource
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := bounded(ctx, dialTimeout)
		defer cancel()
		nc, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		// The handshake minds the deadline of ctx, but not its end before that.
		stop := context.AfterFunc(ctx, func() { nc.Close() })
		defer stop()
		answer := &answering{Conn: nc, left: maxUpgrade}
		d := websocket.Dialer{
			NetDialContext: func(context.Context, string, string) (net.Conn, error) { return answer, nil },
			Subprotocols:   []string{protocol},
			ReadBufferSize: 512, WriteBufferSize: 512,
		}
		ws, resp, err := d.DialContext(ctx, target, header)
		if err == nil && !stop() { // nc is closed, or about to be
			err = context.Cause(ctx)
		}
		if err == nil && ws.Subprotocol() != "" && ws.Subprotocol() != protocol { // RFC 6455 section 4.1
			err = ErrSubProtocol
		}
		if err != nil {
			nc.Close()
			return nil, handshakeError(ctx, "WebSocket", upgradeError(resp, err), ErrUpgradeClosed)
		}
		answer.whole = true
		return &wsConn{Conn: ws.NetConn(), ws: ws}, nil
	}
}

// upgradeError is why an upgrade failed: the status, when there is an answer, or that what came is no answer.
func upgradeError(resp *http.Response, err error) error {
	var network net.Error
	var address *url.Error
	switch {
	case errors.Is(err, ErrUpgradeSize), errors.Is(err, ErrSubProtocol):
		return err
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		return &UpgradeError{resp.StatusCode}
	case errors.As(err, &address): // its text has the resource in it
		return errors.New("the URL of the target is not valid")
	case resp == nil && (errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)):
		return err
	}
	return fmt.Errorf("%w: %w", ErrUpgrade, err)
}

// Bottom is the connection below all handshakes: when it is closed nothing more is said to the other side.
func Bottom(nc net.Conn) net.Conn {
	for {
		upper, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = upper.NetConn()
	}
}
