package link_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo accepts connections and sends back what it gets, until the test ends; from tells who connected.
func echo(t *testing.T, l net.Listener) (from chan string) {
	t.Helper()
	from = make(chan string, 10)
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			from <- host
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	return from
}

// talk sends some text to an echo and holds what comes back to it.
func talk(t *testing.T, c net.Conn, text string) {
	t.Helper()
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = c.Write([]byte(text)) }()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Errorf("the echo of %d bytes: %d bytes, %v", len(text), len(got), err)
	}
}

// Source addresses are used in turn.
func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	from := echo(t, l)
	dial := link.TCP(l.Addr().String(), net.ParseIP("127.0.0.2"), net.ParseIP("127.0.0.3"))
	seen := make(map[string]int)
	for range 4 {
		c, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		talk(t, c, "hello")
		seen[<-from]++
	}
	if seen["127.0.0.2"] != 2 || seen["127.0.0.3"] != 2 {
		t.Errorf("connections came from %v; want two from each address", seen)
	}
	l.Close()
	if _, err := link.TCP(l.Addr().String())(t.Context()); err == nil {
		t.Error("a connection to nobody")
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	pair := server.TLS.Certificates
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: pair, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c, err := link.TLS(link.TCP(l.Addr().String()), &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12})(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	talk(t, c, "hello")
	_, err = link.TLS(link.TCP(l.Addr().String()), &tls.Config{ServerName: "example.com", MinVersion: tls.VersionTLS12})(t.Context())
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || !strings.HasPrefix(err.Error(), "TLS handshake") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	nowhere := errors.New("nowhere")
	if _, err := link.TLS(func(context.Context) (net.Conn, error) { return nil, nowhere },
		&tls.Config{MinVersion: tls.VersionTLS12})(t.Context()); !errors.Is(err, nowhere) {
		t.Errorf("dialling in vain: %v", err)
	}
}

// A WebSocket is a stream of bytes, however its other side cuts it into frames.
func TestWebSocket(t *testing.T) {
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/mqtt" {
			http.NotFound(w, r)
			return
		}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		if ws.Subprotocol() != "mqtt" {
			t.Errorf("subprotocol %q; MQTT 3.1.1 section 6 wants mqtt", ws.Subprotocol())
		}
		for {
			kind, b, err := ws.ReadMessage()
			if err != nil {
				return
			}
			for frame := range slices.Chunk(b, 700) {
				if ws.WriteMessage(kind, frame) != nil {
					return
				}
			}
			if ws.WriteMessage(kind, nil) != nil { // an empty frame is nothing
				return
			}
		}
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	for _, text := range []string{"hello", strings.Repeat("0123456789", 1000), strings.Repeat("0123456789", 20_000)} {
		c, err := link.WebSocket(link.TCP(addr), "broker", "/mqtt", link.WebMQTT)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		talk(t, c, text)
	}
	// A connection takes writes of several goroutines, as Paho's are, and what each wrote in one piece.
	c, err := link.WebSocket(link.TCP(addr), "broker", "/mqtt", link.WebMQTT)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const writers, each = 4, 100
	for w := range writers {
		go func() {
			for range each {
				_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
				_, _ = c.Write(bytes.Repeat([]byte{byte('a' + w)}, 8))
			}
		}()
	}
	for range writers * each {
		var got [8]byte
		if _, err := io.ReadFull(c, got[:]); err != nil || got != [8]byte(bytes.Repeat(got[:1], 8)) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	var refused *link.UpgradeError
	if _, err := link.WebSocket(link.TCP(addr), "broker", "/elsewhere", link.WebMQTT)(t.Context()); !errors.As(err, &refused) || refused.Status != http.StatusNotFound ||
		refused.Reason() != "the WebSocket upgrade was refused with 404" {
		t.Errorf("a path without a WebSocket: %v", err)
	}
}

// Headers go with the request, Host among them instead of the host; a sub-protocol that nobody asked for ends the connection.
func TestWebSocketWith(t *testing.T) {
	asked := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		up := websocket.Upgrader{Subprotocols: []string{"mqttv3.1"}}
		answer := http.Header{}
		if r.URL.Path == "/other" {
			up.Subprotocols, answer = nil, http.Header{"Sec-Websocket-Protocol": {"mqttv3.1"}}
		}
		if ws, err := up.Upgrade(w, r, answer); err == nil {
			ws.Close()
		}
	}))
	defer server.Close()
	header := http.Header{"Authorization": {"Bearer s3cret"}, "Host": {"front.example"}, "Origin": {"http://front.example"}}
	dial := link.TCP(server.Listener.Addr().String())
	nc, err := link.WebSocketWith(dial, "broker", "/mqtt", "mqttv3.1", header)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	r := <-asked
	if r.Host != "front.example" || r.Header.Get("Authorization") != "Bearer s3cret" || r.Header.Get("Sec-WebSocket-Protocol") != "mqttv3.1" {
		t.Errorf("asked %s with %v", r.Host, r.Header)
	}
	_, err = link.WebSocketWith(dial, "broker", "/other", "mqtt", header)(t.Context())
	if <-asked; !errors.Is(err, link.ErrSubProtocol) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("another sub-protocol: %v", err)
	}
}

// The path and the query of the URL are asked for as they were given, and no error names them.
func TestWebSocketResource(t *testing.T) {
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RequestURI
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer server.Close()
	for _, resource := range []string{"/mqtt", "/mqtt?token=a%2Fb&x=1+2", "/plant%2F7/mqtt", "/a%20b?token=s3cret", "/?x"} {
		_, err := link.WebSocket(link.TCP(server.Listener.Addr().String()), "broker", resource, link.WebMQTT)(t.Context())
		if got := <-asked; got != resource {
			t.Errorf("asked for %s; want %s", got, resource)
		}
		if err == nil || strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), "plant") {
			t.Errorf("the error of %s: %v", resource, err)
		}
	}
	for _, resource := range []string{"/%zz?token=s3cret", "/\x7f?token=s3cret"} {
		if _, err := link.WebSocket(link.TCP(server.Listener.Addr().String()), "broker", resource, link.WebMQTT)(t.Context()); err == nil || strings.Contains(err.Error(),
			"s3cret") {
			t.Errorf("the error of a resource that is none: %v", err)
		}
	}
}

// A target that answers an upgrade with a header without end is given up: what is kept of it is bounded. Frames may be as many as they like.
func TestWebSocketAnswerIsBounded(t *testing.T) {
	var sent atomic.Int64
	endless := func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			n, err := far.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n"))
			for err == nil {
				sent.Add(int64(n))
				n, err = far.Write([]byte("X-More: " + strings.Repeat("x", 1000) + "\r\n"))
			}
		}()
		return near, nil
	}
	nc, err := link.WebSocket(endless, "broker", "/mqtt", link.WebMQTT)(t.Context())
	if nc != nil || !errors.Is(err, link.ErrUpgradeSize) {
		t.Errorf("an answer without end: %v", err)
	}
	if n := sent.Load(); n > 80<<10 {
		t.Errorf("%d bytes of it were read", n)
	}
}

// Every layer of a connection is bounded by its context, on a target that says nothing; in virtual time.
func TestSilentTarget(t *testing.T) {
	silent := func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		return near, nil
	}
	deaf := func(context.Context) (net.Conn, error) { // reads nothing either
		near, _ := net.Pipe()
		return near, nil
	}
	config := &tls.Config{ServerName: "example.com", MinVersion: tls.VersionTLS12}
	for name, dial := range map[string]link.Dialer{
		"TLS": link.TLS(silent, config), "WebSocket": link.WebSocket(silent, "broker", "/mqtt", link.WebMQTT),
		"both":     link.WebSocket(link.TLS(silent, config), "broker", "/mqtt", link.WebMQTT),
		"deaf TLS": link.TLS(deaf, config), "deaf WebSocket": link.WebSocket(deaf, "broker", "/mqtt", link.WebMQTT),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, limit := range []time.Duration{time.Second, 50 * time.Second, 0} {
					ctx, cancel, want := t.Context(), func() {}, 30*time.Second // of a caller without a deadline
					if limit > 0 {
						ctx, cancel = context.WithTimeout(ctx, limit)
						want = limit
					}
					began := time.Now()
					nc, err := dial(ctx)
					if took := time.Since(began); nc != nil || !errors.Is(err, context.DeadlineExceeded) || took != want {
						t.Errorf("with %v: %v after %v", limit, err, took)
					}
					cancel()
				}
				enough := errors.New("enough")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(2*time.Second, func() { cancel(enough) })
				began := time.Now()
				if nc, err := dial(ctx); nc != nil || !errors.Is(err, enough) || time.Since(began) != 2*time.Second {
					t.Errorf("cancelled after 2s: %v after %v", err, time.Since(began))
				}
			})
		})
	}
}

func TestRefusedError(t *testing.T) {
	for code, want := range map[byte]string{
		3: "server unavailable (return code 3)", 5: "not authorized (return code 5)", 77: "connection refused (return code 77)",
		133: "client identifier not valid (return code 133)", 135: "not authorized (return code 135)", 151: "quota exceeded (return code 151)",
	} {
		if err := error(&link.RefusedError{Code: code}); !strings.Contains(err.Error(), want) {
			t.Errorf("return code %d: %v; want %s", code, err, want)
		}
	}
}

// What a refusal says is of a bounded set, whatever a target writes.
func TestRefusedErrorsOfOtherTransports(t *testing.T) {
	for _, tt := range []struct {
		err                          link.RefusedError
		text                         string
		throttled, identity, failure bool
	}{
		{link.RefusedError{Condition: "com.microsoft:device-container-throttled"}, "refused with com.microsoft:device-container-throttled", true, false, false},
		{link.RefusedError{Condition: "amqp:resource-limit-exceeded"}, "refused with amqp:resource-limit-exceeded", true, false, false},
		{link.RefusedError{Condition: "amqp:unauthorized-access"}, "refused with amqp:unauthorized-access", false, true, false},
		{link.RefusedError{Condition: "amqp:not-found"}, "refused with amqp:not-found", false, true, false},
		{link.RefusedError{Condition: "amqp:link:stolen"}, "refused with amqp:link:stolen", false, false, true},
		{link.RefusedError{Condition: "SharedAccessSignature sr=x"}, "refused with a condition that is not known", false, false, true},
		{link.RefusedError{Status: 429}, "refused with status 429", true, false, false},
		{link.RefusedError{Status: 404}, "refused with status 404", false, true, false},
		{link.RefusedError{Status: 500}, "refused with status 500", false, false, true},
		{link.RefusedError{Status: 12345}, "refused with a status that is none", false, false, true},
		{link.RefusedError{Code: 3}, "connection refused: server unavailable (return code 3)", true, false, false},
		{link.RefusedError{Code: 4}, "connection refused: bad user name or password (return code 4)", false, true, false},
		{link.RefusedError{Code: 1}, "connection refused: unacceptable protocol version (return code 1)", false, false, false},
		{link.RefusedError{Code: 0x88}, "connection refused: server unavailable (return code 136)", true, false, false},
		{link.RefusedError{Code: 0x89}, "connection refused: server busy (return code 137)", true, false, false},
		{link.RefusedError{Code: 0x9f}, "connection refused: connection rate exceeded (return code 159)", true, false, false},
		{link.RefusedError{Code: 0x8a}, "connection refused: banned (return code 138)", false, true, false},
		{link.RefusedError{Code: 0x8c}, "connection refused: bad authentication method (return code 140)", false, true, false},
		{link.RefusedError{Code: 0x9c, Server: "other"}, "connection refused: use another server (return code 156)", false, false, false},
		{link.RefusedError{Code: 0x96, Message: true}, "message refused: message rate too high (reason code 150)", true, false, false},
		{link.RefusedError{Code: 0x90, Message: true}, "message refused: topic name invalid (reason code 144)", false, false, false},
		{link.RefusedError{Code: 0xf0, Message: true}, "message refused (reason code 240)", false, false, false},
	} {
		x := &tt.err
		if reason.Of(fmt.Errorf("sending: %w", x)) != tt.text || x.Throttled() != tt.throttled || x.Identity() != tt.identity || x.Failure() != tt.failure {
			t.Errorf("%+v: %q, throttled %v, identity %v, failure %v", tt.err, reason.Of(x), x.Throttled(), x.Identity(), x.Failure())
		}
	}
}

// Every reason code of MQTT 5 for a failure has a text (section 2.4), and no other has.
func TestReasonCodes(t *testing.T) {
	for code := 0x80; code <= 0xff; code++ {
		known := code <= 0xa2
		for _, err := range []error{&link.DisconnectedError{Code: byte(code)}, &link.RefusedError{Code: byte(code)}, &link.RefusedError{Code: byte(code), Message: true}} {
			if text := reason.Of(err); strings.Contains(text, ": ") != known || !strings.HasSuffix(text, fmt.Sprintf(" code %d)", code)) {
				t.Errorf("%#x: %s", code, text)
			}
		}
	}
	for code, want := range map[byte]struct {
		text                 string
		throttled, takenOver bool
	}{
		0x00: {"the target disconnected", false, false}, 0x8e: {"the target disconnected: session taken over (reason code 142)", false, true},
		0x97: {"the target disconnected: quota exceeded (reason code 151)", true, false},
		0x93: {"the target disconnected: receive maximum exceeded (reason code 147)", false, false}, // a fault of this side
	} {
		x := &link.DisconnectedError{Code: code}
		if got := reason.Of(x); got != want.text || x.Throttled() != want.throttled || x.TakenOver() != want.takenOver {
			t.Errorf("%#x: %s, %v, %v", code, got, x.Throttled(), x.TakenOver())
		}
	}
	if got := (&link.SubscriptionError{Code: 0xa2}).Error(); got != "a topic filter was refused: wildcard subscriptions not supported (return code 162)" {
		t.Error(got)
	}
}
