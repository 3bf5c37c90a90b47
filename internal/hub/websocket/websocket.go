// Package websocket is MQTT and AMQP over WebSocket: a handler for HTTP that makes connections of requests.
package websocket

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	gorilla "github.com/gorilla/websocket"
)

// Where clients find a hub over WebSocket: devices and services (iot-mqtt-connect-to-iot-hub), and those of Event Hubs.
const (
	Path          = "/$iothub/websocket"
	EventHubsPath = "/$servicebus/websocket"
)

type connKey struct{}

// WithConn makes the connection below an HTTP request known to the handler: the client certificate is there. It is an
// http.Server's ConnContext.
func WithConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// The sub-protocols: of MQTT (MQTT 3.1.1 section 6), which a client that names none is taken to mean, and of AMQP (OASIS, AMQP over
// WebSocket binding).
const (
	MQTT = "mqtt"
	AMQP = "AMQPWSB10"
)

// Handler gives each connection to who serves its sub-protocol, and must return at once: the connection outlives the request, whose
// buffers would otherwise stay. A client that names sub-protocols, and none that is served among them, is refused with 400: it would take
// whatever is agreed to for its own. Compression, which some clients offer, is declined.
func Handler(serve map[string]func(net.Conn)) http.Handler {
	served := slices.Sorted(maps.Keys(serve))
	upgrader := gorilla.Upgrader{
		Subprotocols:    served,
		ReadBufferSize:  512,
		WriteBufferPool: new(sync.Pool),
		CheckOrigin:     func(*http.Request) bool { return true }, // devices are no browsers, and show their own credentials
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		named := gorilla.Subprotocols(r)
		if len(named) > 0 && !slices.ContainsFunc(named, func(n string) bool { return serve[n] != nil }) || len(named) == 0 && serve[MQTT] == nil {
			http.Error(w, "this hub speaks no WebSocket sub-protocol here but "+strings.Join(served, " and "), http.StatusBadRequest)
			return
		}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		protocol := cmp.Or(ws.Subprotocol(), MQTT)
		serve[protocol](&socket{ws: ws, below: r.Context().Value(connKey{})})
	})
}

// socket is a WebSocket as a stream: frames may hold part of a packet or several.
type socket struct {
	ws    *gorilla.Conn
	below any // the connection that carries the WebSocket
	frame io.Reader
}

var _ net.Conn = (*socket)(nil)

// Unwrap is the connection that carries the WebSocket, for those who ask for its TLS state.
func (s *socket) Unwrap() any { return s.below }

func (s *socket) Read(b []byte) (int, error) {
	for {
		if s.frame == nil {
			kind, frame, err := s.ws.NextReader()
			if err != nil {
				var closed *gorilla.CloseError
				if errors.As(err, &closed) {
					err = io.EOF
				}
				return 0, err
			}
			if kind != gorilla.BinaryMessage {
				return 0, errors.New("a text frame on a connection of bytes")
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
	if err := s.ws.WriteMessage(gorilla.BinaryMessage, b); err != nil {
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
