package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"
)

// Dialer opens a transport connection.
type Dialer func(ctx context.Context) (net.Conn, error)

// dialTimeout bounds one attempt to reach the target.
const dialTimeout = 30 * time.Second

// TCP dials an address. With source addresses it uses them in turn: one address has some 28,000
// ports towards one target.
func TCP(addr string, sources ...net.IP) Dialer {
	var next atomic.Uint64
	return func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: dialTimeout}
		if len(sources) > 0 {
			d.LocalAddr = &net.TCPAddr{IP: sources[next.Add(1)%uint64(len(sources))]}
			d.Control = lateBind
		}
		return d.DialContext(ctx, "tcp", addr)
	}
}

// lateBind leaves the choice of the source port to the time of connecting, when the kernel knows the
// target and can use a port again for another one.
func lateBind(_, _ string, raw syscall.RawConn) error {
	var err error
	if outer := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); outer != nil {
		return outer
	}
	return err
}

// TLS shakes hands on the connections of a dialer. The configuration names the server.
func TLS(dial Dialer, config *tls.Config) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		nc, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(nc, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		return secure, nil
	}
}

// WebSocket speaks MQTT over WebSocket (MQTT 3.1.1 section 6) on the connections of a dialer, which
// does TLS itself where it is wanted.
func WebSocket(dial Dialer, host, path string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		d := websocket.Dialer{
			NetDialContext:   func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			Subprotocols:     []string{"mqtt"},
			HandshakeTimeout: dialTimeout, ReadBufferSize: 512, WriteBufferSize: 512,
		}
		u := url.URL{Scheme: "ws", Host: host, Path: path}
		ws, resp, err := d.DialContext(ctx, u.String(), http.Header{})
		if err != nil {
			if resp != nil {
				return nil, fmt.Errorf("WebSocket handshake: status %s: %w", resp.Status, err)
			}
			return nil, fmt.Errorf("WebSocket handshake: %w", err)
		}
		return &wsConn{Conn: ws.NetConn(), ws: ws}, nil
	}
}
