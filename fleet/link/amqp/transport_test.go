package amqp_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/twinfleet/twinfleet/fleet/link"
	driver "github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// web is a server's side of a WebSocket, as a stream.
type web struct {
	net.Conn
	ws    *websocket.Conn
	frame io.Reader
}

func (w *web) Read(b []byte) (int, error) {
	for {
		if w.frame == nil {
			_, frame, err := w.ws.NextReader()
			if err != nil {
				return 0, io.EOF
			}
			w.frame = frame
		}
		n, err := w.frame.Read(b)
		if err != nil {
			w.frame = nil
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (w *web) Write(b []byte) (int, error) {
	for i := range b { // pieces of any size are one stream
		if err := w.ws.WriteMessage(websocket.BinaryMessage, b[i:i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// Over sockets, TLS and WebSocket a device does what it does over memory.
func TestTransports(t *testing.T) {
	p := newPeer()
	serve := func(nc net.Conn) {
		defer nc.Close()
		p.locked(func() {
			p.nc, p.links = nc, make(map[uint32]*peerLink)
			p.sent, p.got = make(map[uint16]uint32), make(map[uint16]uint32)
		})
		_ = p.serve(nc)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{Subprotocols: []string{"AMQPWSB10"}}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		serve(&web{Conn: ws.NetConn(), ws: ws})
	}))
	defer server.Close()
	trust := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.ServerName = "example.com"
	listen := func(wrap func(net.Listener) net.Listener) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		l = wrap(l)
		go func() {
			defer close(served)
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				serve(nc)
			}
		}()
		t.Cleanup(func() {
			l.Close()
			<-served
		})
		return l.Addr().String()
	}
	web := link.TCP(server.Listener.Addr().String())
	for name, dial := range map[string]link.Dialer{
		"tcp": link.TCP(listen(func(l net.Listener) net.Listener { return l })),
		"tls": link.TLS(link.TCP(listen(func(l net.Listener) net.Listener { return tls.NewListener(l, server.TLS) })), trust),
		"ws":  link.WebSocket(link.TLS(web, trust), "example.com", "/$iothub/websocket", link.WebAMQP),
	} {
		t.Run(name, func(t *testing.T) {
			o := p.options("dev", nil)
			o.Dial = dial
			c, err := connect(t, driver.New(), o)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.subscribe(everything...); err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{10, 200_000} {
				if err := c.publish(link.Message{Topic: topics.Telemetry("dev", nil), Payload: []byte(strings.Repeat("x", size)), QoS: 1}); err != nil {
					t.Error(err)
				}
			}
			if err := c.publish(link.Message{Topic: topics.TwinGet("a"), Payload: []byte(" ")}); err != nil {
				t.Error(err)
			}
			if got := <-c.messages; !strings.HasPrefix(got, "$iothub/twin/res/200/?$rid=a ") {
				t.Errorf("%q arrived", got)
			}
			c.Close()
			if err := <-c.over; err != nil {
				t.Error(err)
			}
		})
	}
}
