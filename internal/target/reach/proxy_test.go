package reach

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics/reason"
	"github.com/twinfleet/twinfleet/test/loopback"
)

// through is a dialer to a target through a proxy.
func through(t *testing.T, proxy, addr string) link.Dialer {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	bare, layer := (&Way{Addr: addr, Proxy: u, Sources: []net.IP{net.ParseIP("127.0.0.7")}}).Dialers()
	return layer(bare)
}

// A proxy is asked for the target by its name, with user and password, from the source address; then the connection is the target's.
func TestConnect(t *testing.T) {
	asked := make(chan *http.Request, 1)
	from := make(chan string, 1)
	at := loopback.Serve(t, func(nc net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			t.Error(err)
			return
		}
		from <- nc.RemoteAddr().String()
		asked <- r
		_, _ = io.WriteString(nc, "HTTP/1.1 200 fine\r\nServer: x\r\nContent-Length: 500\r\n\r\nhello ")
		_, _ = io.Copy(nc, nc)
	})
	nc, err := through(t, "http://us%20er:p%40ss@"+at, "broker.example:1883")(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	r := <-asked
	user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
	if r.Method != http.MethodConnect || r.RequestURI != "broker.example:1883" || r.Host != "broker.example:1883" || user != "us er" || password != "p@ss" {
		t.Errorf("asked %s %s for %s as %q, %q", r.Method, r.RequestURI, r.Host, user, password)
	}
	if from := <-from; !strings.HasPrefix(from, "127.0.0.7:") {
		t.Errorf("from %s", from)
	}
	if _, err := io.WriteString(nc, "world"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 11)
	if _, err := io.ReadFull(nc, b); err != nil || string(b) != "hello world" {
		t.Errorf("%q, %v", b, err)
	}
}

// What is wrong at the proxy is told apart from what is wrong at the target, in few words that hold no secret.
func TestProxyReasons(t *testing.T) {
	says := func(text string) func(net.Conn) {
		return func(nc net.Conn) {
			_, _ = nc.Read(make([]byte, 4096))
			_, _ = io.WriteString(nc, text)
		}
	}
	socks := func(answers ...string) func(net.Conn) {
		return func(nc net.Conn) {
			for _, answer := range answers {
				_, _ = nc.Read(make([]byte, 4096))
				_, _ = io.WriteString(nc, answer)
			}
		}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, tt := range map[string]struct {
		scheme string
		answer func(net.Conn) // nil when nobody is there
		want   string
	}{
		"nobody":              {"http", nil, "nothing listens at the proxy"},
		"wants a password":    {"http", says("HTTP/1.1 407 s3cret\r\nContent-Length: 3\r\n\r\nabc"), "the proxy refused: 407 Proxy Authentication Required"},
		"forbids":             {"http", says("HTTP/1.0 403 no\r\n\r\n"), "the proxy refused: 403 Forbidden"},
		"does not reach it":   {"http", says("HTTP/1.1 502 no\r\n\r\n"), "the proxy does not reach the target: 502 Bad Gateway"},
		"a status of its own": {"http", says("HTTP/1.1 799 s3cret\r\n\r\n"), "the proxy refused: 799"},
		"hangs up":            {"http", says(""), "the proxy closed the connection"},
		"hangs up in between": {"http", says("HTTP/1.1 200"), "the proxy closed the connection"},
		"no HTTP":             {"http", says("SSH-2.0-s3cret\r\n\r\n"), "the proxy does not speak HTTP"},
		"never ends": {"http", func(nc net.Conn) {
			_, _ = nc.Read(make([]byte, 4096))
			_, _ = io.WriteString(nc, "HTTP/1.1 200 fine\r\n")
			for range 2000 {
				if _, err := io.WriteString(nc, "X: "+strings.Repeat("a", 100)+"\r\n"); err != nil {
					return
				}
			}
		}, "the proxy answered with more than 64 KiB"},
		"SOCKS, nobody":             {"socks5", nil, "nothing listens at the proxy"},
		"SOCKS, wrong password":     {"socks5", socks("\x05\x02", "\x01\x01"), "the proxy refused: wrong user name or password"},
		"SOCKS, no such method":     {"socks5", socks("\x05\xff"), "the proxy refused: it wants another authentication"},
		"SOCKS, refused":            {"socks5", socks("\x05\x00", "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"), "the proxy does not reach the target: connection refused"},
		"SOCKS, forbidden":          {"socks5", socks("\x05\x00", "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"), "the proxy refused: not allowed by its rules"},
		"SOCKS, unreachable":        {"socks5", socks("\x05\x00", "\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"), "the proxy does not reach the target: host unreachable"},
		"SOCKS, version 4":          {"socks5", socks("\x00\x5b"), "the proxy does not speak SOCKS 5"},
		"SOCKS, HTTP":               {"socks5", says("HTTP/1.1 400 Bad Request\r\n\r\n"), "the proxy does not speak SOCKS 5"},
		"SOCKS, hangs up":           {"socks5", says(""), "the proxy closed the connection"},
		"SOCKS, a code of its own":  {"socks5", socks("\x05\x00", "\x05\x63\x00\x01"), "the proxy does not speak the protocol of a proxy"},
		"SOCKS, an address of none": {"socks5", socks("\x05\x00", "\x05\x00\x00\x09"), "the proxy does not speak the protocol of a proxy"},
	} {
		at := closed.Addr().String()
		if tt.answer != nil {
			at = loopback.Serve(t, tt.answer)
		}
		_, err := through(t, fmt.Sprintf("%s://user:s3cret@%s", tt.scheme, at), "broker.example:1883")(t.Context())
		if got := reason.Of(err); got != tt.want {
			t.Errorf("%s: %q (%v); want %q", name, got, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error holds a secret: %v", name, err)
		}
	}
}

// A proxy that says nothing ends with the time of who asks, and with who gives up.
func TestSilentProxy(t *testing.T) {
	for _, scheme := range []string{"http", "socks5"} {
		release := make(chan struct{})
		at := loopback.Serve(t, func(net.Conn) { <-release })
		dial := through(t, scheme+"://"+at, "broker:1")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := dial(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || reason.Of(err) != "the proxy does not answer in time" {
			t.Errorf("%s: %v", scheme, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err = dial(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, given up: %v", scheme, err)
		}
		close(release)
	}
}
