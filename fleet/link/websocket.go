package link

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/gorilla/websocket"
)

// wsConn is a WebSocket as a stream of bytes.
type wsConn struct {
	net.Conn
	ws    *websocket.Conn
	frame io.Reader
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
	if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.ws.SetReadDeadline(t), c.ws.SetWriteDeadline(t))
}
func (c *wsConn) SetReadDeadline(t time.Time) error  { return c.ws.SetReadDeadline(t) }
func (c *wsConn) SetWriteDeadline(t time.Time) error { return c.ws.SetWriteDeadline(t) }
func (c *wsConn) Close() error                       { return c.ws.Close() }
