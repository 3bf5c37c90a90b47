// Package divert tells MQTT connections for a provisioning service from those for a hub: both are on one port, since
// several device SDKs know only one. The user name of the CONNECT decides, and whoever serves the connection reads it anew.
package divert

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// Fork sends connections two ways.
type Fork struct {
	Hub, DPS func(net.Conn) // required; each serves a connection and closes it
	// Timeout is how long a connection may take to its CONNECT; 30 s when 0.
	Timeout time.Duration
}

var buffers = sync.Pool{New: func() any { return new([2 << 10]byte) }}

// Serve reads the CONNECT and gives the connection to whom it is for. It returns when that returns.
func (f Fork) Serve(nc net.Conn) {
	b := buffers.Get().(*[2 << 10]byte)
	begun, user, err := f.begin(nc, b[:])
	buffers.Put(b)
	switch {
	case err != nil:
		nc.Close()
	case dps.IsUsername(user):
		f.DPS(&replay{nc, begun})
	default:
		f.Hub(&replay{nc, begun})
	}
}

// errLarge is why a connection ends whose CONNECT never ends.
var errLarge = errors.New("the CONNECT is too large")

// begin reads until the user name is known, or it is clear that there is none: the hub tells such clients what is wrong.
func (f Fork) begin(nc net.Conn, buffer []byte) (begun []byte, user string, err error) {
	timeout := f.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	if err := nc.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, "", err
	}
	for {
		n, err := nc.Read(buffer)
		begun = append(begun, buffer[:n]...)
		if len(begun) > framing.DefaultMaxPacket+8 {
			return nil, "", errLarge
		}
		p, whole, cut := framing.Cut(begun, 0)
		switch {
		case cut != nil:
			return begun, "", nc.SetReadDeadline(time.Time{})
		case whole > 0:
			var c mqtt.Connect
			if p.Type == mqtt.CONNECT && mqtt.DecodeConnect(p.Body, &c) == nil {
				user = string(c.Username)
			}
			return begun, user, nc.SetReadDeadline(time.Time{})
		case err != nil:
			return nil, "", err
		}
	}
}

// replay is a connection whose beginning was read already.
type replay struct {
	net.Conn
	unread []byte
}

func (r *replay) Read(b []byte) (int, error) {
	if len(r.unread) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.unread)
	if r.unread = r.unread[n:]; len(r.unread) == 0 {
		r.unread = nil // connections live for long, their beginning need not
	}
	return n, nil
}

// Through is the connection below.
func (r *replay) Through() net.Conn { return r.Conn }

// Unwrap is the connection below, for those who ask for its TLS state.
func (r *replay) Unwrap() any { return r.Conn }
