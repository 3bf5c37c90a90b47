package link

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// maxUpgrade bounds the answer to an upgrade, in bytes: the library keeps the fields of its header, however many.
const maxUpgrade = 64 << 10

// answering is a connection of which so much is read, until the answer to an upgrade is whole.
type answering struct {
	net.Conn
	left  int  // bytes that may still be read
	whole bool // there is no bound any more
}

// NetConn is the connection below.
func (a *answering) NetConn() net.Conn { return a.Conn }

func (a *answering) Read(b []byte) (int, error) {
	if a.whole {
		return a.Conn.Read(b)
	}
	if a.left == 0 {
		return 0, ErrUpgradeSize
	}
	n, err := a.Conn.Read(b[:min(len(b), a.left)])
	a.left -= n
	return n, err
}

// wsConn is a WebSocket as a stream of bytes. Like other connections it takes writes of several goroutines, which the
// library does not: Paho pings from one of its own.
type wsConn struct {
	net.Conn
	ws    *websocket.Conn
	frame io.Reader

	writing  sync.Mutex   // one write at a time
	deadline atomic.Value // of writes, a time.Time
}

// NetConn is the connection below.
func (c *wsConn) NetConn() net.Conn { return c.Conn }

func (c *wsConn) Read(b []byte) (int, error) {
	for {
		if c.frame == nil {
			_, frame, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			c.frame = frame
		}
		n, err := c.frame.Read(b)
		if errors.Is(err, io.EOF) {
			c.frame, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

func (c *wsConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if t, ok := c.deadline.Load().(time.Time); ok {
		_ = c.ws.SetWriteDeadline(t) // only notes it
	}
	if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *wsConn) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }

// SetWriteDeadline is for the next write, which tells the connection below, and for one that is under way.
func (c *wsConn) SetWriteDeadline(t time.Time) error {
	c.deadline.Store(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *wsConn) Close() error { return c.ws.Close() }
