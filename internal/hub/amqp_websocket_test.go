package hub_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"
	"github.com/gorilla/websocket"

	"github.com/twinfleet/twinfleet/internal/hub"
)

// wsConn is a WebSocket as a stream.
type wsConn struct {
	*websocket.Conn
	stream io.Reader // of what comes
}

func (c *wsConn) Read(b []byte) (int, error) { return c.stream.Read(b) }

func (c *wsConn) Write(b []byte) (int, error) {
	half := len(b) / 2 // a message holds part of a frame
	return len(b), errors.Join(c.WriteMessage(websocket.BinaryMessage, b[:half]), c.WriteMessage(websocket.BinaryMessage, b[half:]))
}

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Over WebSocket, on both paths, within TLS and offering compression, all is the same; a restart is told there, too.
func TestAMQPOverWebSocket(t *testing.T) {
	h, c := open(t, hub.Options{})
	key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
	for _, path := range []string{"/$iothub/websocket?iothub-no-client-cert=true", "/$servicebus/websocket", "/$servicebus/websocket/"} {
		d := websocket.Dialer{Subprotocols: []string{"AMQPWSB10"}, EnableCompression: true, TLSClientConfig: &tls.Config{RootCAs: h.CAPool(), ServerName: "localhost"}}
		ws, resp, err := d.Dial("wss://"+h.Addr()+path, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "AMQPWSB10" {
			t.Errorf("%s speaks %q", path, got)
		}
		conn, err := amqp.NewConn(t.Context(), &wsConn{ws, websocket.JoinMessages(ws, "")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, text := putToken(t, conn, "localhost/devices/dev-1", deviceToken("dev-1", key, time.Hour)); status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		snd, err := amqpSession(t, conn).NewSender(t.Context(), "/devices/dev-1/messages/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := snd.Send(t.Context(), amqp.NewMessage(make([]byte, 200_000)), nil); err != nil {
			t.Error(err)
		}
		h.Restart(0)
		<-conn.Done()
		var gone *amqp.ConnError
		if err := conn.Err(); !errors.As(err, &gone) || gone.RemoteErr == nil || gone.RemoteErr.Condition != "amqp:connection:forced" {
			t.Errorf("the connection ended with %v", err)
		}
		conn.Close()
	}
	ws, resp, err := (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+h.Addr()+"/$servicebus/websocket", nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("MQTT on the path of Event Hubs: %v, %v", resp, err)
	}
	if ws != nil {
		ws.Close()
	}
}
