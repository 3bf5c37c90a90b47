package mux

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener of net.Pipe ends; also of errors, as accept(2) gives them.
type pipes struct {
	accept chan func() (net.Conn, error)
	done   chan struct{}
	once   sync.Once
}

func newPipes() *pipes {
	return &pipes{accept: make(chan func() (net.Conn, error)), done: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case f := <-p.accept:
		return f()
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

type address string

func (a address) Network() string { return "pipe" }
func (a address) String() string  { return string(a) }

func (p *pipes) Addr() net.Addr { return address("pipe") }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.accept <- func() (net.Conn, error) { return server, nil }
	return client
}

func (p *pipes) fail(err error) { p.accept <- func() (net.Conn, error) { return nil, err } }

// certificate is a server certificate for "hub", and a pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"hub"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// rig is a Mux whose MQTT and AMQP sides answer with the client's own words, and an HTTP server that says hello.
type rig struct {
	*Mux
	listener *pipes
	roots    *x509.CertPool
	stop     func()
}

func start(t *testing.T) *rig {
	t.Helper()
	cert, roots := certificate(t)
	r := &rig{listener: newPipes(), roots: roots}
	echo := func(name string) func(net.Conn) {
		return func(nc net.Conn) {
			defer nc.Close()
			_, secure := nc.(*peeked).Unwrap().(*tls.Conn)
			if _, err := io.WriteString(nc, name+map[bool]string{true: "s ", false: " "}[secure]); err != nil {
				return
			}
			_, _ = io.Copy(nc, nc)
		}
	}
	r.Mux = New(Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, MQTT: echo("mqtt"), AMQP: echo("amqp")})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.WriteString(w, "hello "+req.URL.Path)
	})}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.Serve(ctx, r.listener) })
	wg.Go(func() {
		if err := server.Serve(r.HTTP()); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("HTTP server: %v", err)
		}
	})
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			r.listener.Close()
			server.Close()
			r.Close()
			wg.Wait()
		})
	}
	return r
}

func (r *rig) secure(t *testing.T, nc net.Conn) net.Conn {
	t.Helper()
	c := tls.Client(nc, &tls.Config{RootCAs: r.roots, ServerName: "hub"})
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func say(t *testing.T, nc net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
}

// saying is say beside what the other side says: a pipe holds nothing.
func saying(t *testing.T, nc net.Conn, text string) (wait func()) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := io.WriteString(nc, text); err != nil {
			t.Error(err)
		}
	})
	return wg.Wait
}

func hear(t *testing.T, nc net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(nc, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ended waits for the other side to close.
func ended(t *testing.T, nc net.Conn) {
	t.Helper()
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open; want it closed")
	}
	nc.Close()
}

func TestFirstByteDecides(t *testing.T) {
	const connect = "\x10\x05hello" // what follows the first byte must arrive whole
	get := "GET /statistics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"
	for _, tt := range []struct {
		name, say, hear string
		secure          bool
	}{
		{"MQTT", connect, "mqtt " + connect, false},
		{"MQTT within TLS", connect, "mqtts " + connect, true},
		{"HTTP", get, "hello /statistics", false},
		{"HTTP within TLS", get, "hello /statistics", true},
		{"AMQP", "AMQP\x00\x01\x00\x00", "amqp AMQP\x00\x01\x00\x00", false},
		{"AMQP within TLS", "AMQP\x03\x01\x00\x00", "amqps AMQP\x03\x01\x00\x00", true},
		{"no AMQP", "AM /statistics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n", "hello /statistics", false},
		{"neither", "\x00nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request", false},
		{"TLS within TLS is taken for HTTP", "\x16\x03\x01\r\n\r\n", "HTTP/1.1 400 Bad Request", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t)
				defer r.stop()
				nc := r.listener.dial()
				defer nc.Close()
				if tt.secure {
					nc = r.secure(t, nc)
				}
				defer saying(t, nc, tt.say)()
				if !strings.HasPrefix(tt.hear, "mqtt") && !strings.HasPrefix(tt.hear, "amqp") {
					answer, err := io.ReadAll(bufio.NewReader(nc))
					if err != nil || !strings.Contains(string(answer), tt.hear) {
						t.Errorf("answer = %q, %v; want %q in it", answer, err, tt.hear)
					}
					return
				}
				if got := hear(t, nc, len(tt.hear)); got != tt.hear {
					t.Errorf("answer = %q; want %q", got, tt.hear)
				}
			})
		})
	}
}

func TestSilentConnectionsEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		say  func(t *testing.T, r *rig, nc net.Conn) net.Conn
		want time.Duration
	}{
		{"at once", func(_ *testing.T, _ *rig, nc net.Conn) net.Conn { return nc }, 30 * time.Second},
		{"in the middle of a handshake", func(t *testing.T, _ *rig, nc net.Conn) net.Conn {
			say(t, nc, "\x16\x03\x01")
			return nc
		}, 30 * time.Second},
		{"after the handshake", func(t *testing.T, r *rig, nc net.Conn) net.Conn { return r.secure(t, nc) }, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t)
				defer r.stop()
				began := time.Now()
				nc := tt.say(t, r, r.listener.dial())
				ended(t, nc)
				if took := time.Since(began); took != tt.want {
					t.Errorf("ended after %v; want %v", took, tt.want)
				}
				synctest.Wait()
				if n := r.Connections(); n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

// The deadline is for the first byte alone: a device may then be silent for as long as MQTT lets it.
func TestDeadlineIsLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		nc := r.secure(t, r.listener.dial())
		defer nc.Close()
		say(t, nc, "\x10")
		hear(t, nc, len("mqtts \x10"))
		time.Sleep(time.Hour)
		say(t, nc, "later")
		if got := hear(t, nc, 5); got != "later" {
			t.Errorf("an hour later: %q; want later", got)
		}
	})
}

func TestShortageOfDescriptorsIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		began := time.Now()
		for range 12 {
			r.listener.fail(&net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE})
		}
		nc := r.listener.dial()
		defer nc.Close()
		defer saying(t, nc, "\x10!")()
		if got := hear(t, nc, len("mqtt \x10!")); got != "mqtt \x10!" {
			t.Errorf("answer = %q", got)
		}
		// 5 ms doubling to a second: 5, 10, … 640, then 1 s four times.
		if took, want := time.Since(began), 5275*time.Millisecond; took != want {
			t.Errorf("after twelve failures: %v; want %v of waiting", took, want)
		}
	})
}

func TestCloseDuringAShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		for range 10 {
			r.listener.fail(syscall.EMFILE)
		}
		began := time.Now()
		r.stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("closing took %v; want no wait", took)
		}
	})
}

func TestCloseEndsAllConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		silent, mqtt, shaking := r.listener.dial(), r.listener.dial(), r.listener.dial()
		idle := r.listener.dial()
		say(t, mqtt, "\x10")
		hear(t, mqtt, len("mqtt \x10"))
		say(t, shaking, "\x16\x03")
		say(t, idle, "GET / HTTP/1.1\r\nHost: hub\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(idle), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		synctest.Wait()
		if n := r.Connections(); n != 4 {
			t.Errorf("%d connections; want 4", n)
		}
		r.stop()
		for _, nc := range []net.Conn{silent, mqtt, shaking, idle} {
			ended(t, nc)
		}
		if n := r.Connections(); n != 0 {
			t.Errorf("%d connections after Close", n)
		}
	})
}

func TestRefuseAndDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		old := r.listener.dial()
		say(t, old, "\x10")
		hear(t, old, len("mqtt \x10"))

		r.Refuse(10 * time.Second)
		ended(t, r.listener.dial())
		say(t, old, "on")
		if got := hear(t, old, 2); got != "on" {
			t.Errorf("while new ones are refused an old connection says %q; want on", got)
		}
		r.Disconnect()
		ended(t, old)

		time.Sleep(10 * time.Second)
		second := r.listener.dial()
		defer second.Close()
		say(t, second, "\x10")
		hear(t, second, len("mqtt \x10"))
	})
}

func TestAcceptAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		r.stop()
		client, server := net.Pipe()
		r.accept(server)
		ended(t, client)
		if _, err := r.HTTP().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v; want net.ErrClosed", err)
		}
	})
}

// Two listeners, one Mux: the first one names the HTTP side.
func TestSeveralListeners(t *testing.T) {
	r := start(t)
	defer r.stop()
	ctx, cancel := context.WithCancel(t.Context())
	var lc net.ListenConfig
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range 2 {
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		wg.Go(func() { r.Serve(ctx, l) })
		resp, err := http.Get("http://" + l.Addr().String() + "/x")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "hello /x" {
			t.Errorf("answer = %q, %v", body, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if r.HTTP().Addr() == nil {
		t.Error("the HTTP side has no address")
	}
}
