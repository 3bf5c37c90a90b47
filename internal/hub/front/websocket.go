package front

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// WebSocketPath is where devices find MQTT over WebSocket (iot-mqtt-connect-to-iot-hub).
const WebSocketPath = "/$iothub/websocket"

// WebSocket is the handler for MQTT over WebSocket. The connection outlives the HTTP handler, whose
// buffers would otherwise stay.
func (f *Front) WebSocket() http.Handler {
	upgrader := websocket.Upgrader{
		Subprotocols:    []string{"mqtt"},
		ReadBufferSize:  512,
		WriteBufferPool: new(sync.Pool),
		CheckOrigin:     func(*http.Request) bool { return true }, // devices are no browsers, and show their own credentials
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		if f.closed.Load() {
			ws.Close()
			return
		}
		f.conns.Go(func() { f.ServeConn(&socket{ws: ws, tls: r.TLS}) })
	})
}

// socket is a WebSocket as a stream: frames may hold part of a packet or several.
type socket struct {
	ws    *websocket.Conn
	tls   *tls.ConnectionState
	frame io.Reader
}

var _ net.Conn = (*socket)(nil)

// TLSState is the state of the TLS connection below, or nil.
func (s *socket) TLSState() *tls.ConnectionState { return s.tls }

func (s *socket) Read(b []byte) (int, error) {
	for {
		if s.frame == nil {
			kind, frame, err := s.ws.NextReader()
			if err != nil {
				var closed *websocket.CloseError
				if errors.As(err, &closed) {
					err = io.EOF
				}
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("a text frame on an MQTT connection")
			}
			s.frame = frame
		}
		n, err := s.frame.Read(b)
		if errors.Is(err, io.EOF) {
			s.frame = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

func (s *socket) Write(b []byte) (int, error) {
	if err := s.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *socket) Close() error         { return s.ws.Close() }
func (s *socket) LocalAddr() net.Addr  { return s.ws.LocalAddr() }
func (s *socket) RemoteAddr() net.Addr { return s.ws.RemoteAddr() }
func (s *socket) SetDeadline(t time.Time) error {
	return errors.Join(s.ws.SetReadDeadline(t), s.ws.SetWriteDeadline(t))
}
func (s *socket) SetReadDeadline(t time.Time) error  { return s.ws.SetReadDeadline(t) }
func (s *socket) SetWriteDeadline(t time.Time) error { return s.ws.SetWriteDeadline(t) }
