package httpserve_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/httpserve"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listener accepts connections in memory.
type listener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// A client that is idle, slow with a header, silent about its body or deaf for the answer is given up in time.
func TestClientsAreGivenUp(t *testing.T) {
	large := strings.Repeat("figures ", 1<<20) // more than a connection holds
	for name, tt := range map[string]struct {
		send    string
		answers bool // the client reads the first answer
		within  time.Duration
	}{
		"idle from the first":  {"", false, httpserve.HeaderTimeout},
		"idle after a request": {"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n", true, httpserve.IdleTimeout},
		"slow header":          {"GET /small HTTP/1.1\r\nHost: loc", false, httpserve.HeaderTimeout},
		"no body":              {"POST /small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", true, httpserve.RequestTimeout},
		"deaf":                 {"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n", false, httpserve.AnswerTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mux := http.NewServeMux()
				mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
				mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) })
				l := &listener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
				server := httpserve.New(mux, slog.New(slog.DiscardHandler))
				var serving sync.WaitGroup
				serving.Go(func() {
					if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
						t.Error(err)
					}
				})
				defer serving.Wait()
				defer server.Close()
				client, far := memnet.Pipe()
				defer client.Close()
				closed := make(chan struct{})
				l.conns <- &told{Conn: far, closed: closed}
				began := time.Now()
				if _, err := io.WriteString(client, tt.send); err != nil {
					t.Fatal(err)
				}
				if tt.answers {
					resp, err := http.ReadResponse(bufio.NewReader(client), nil)
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Fatalf("%v, %v", resp, err)
					}
				}
				select {
				case <-closed:
					if took := time.Since(began); took > tt.within+time.Second {
						t.Errorf("given up after %v; want %v", took, tt.within)
					}
				case <-time.After(time.Hour):
					t.Error("it is never given up")
				}
			})
		})
	}
}

// told tells when a connection is closed.
type told struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *told) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func TestByAddress(t *testing.T) {
	h := httpserve.ByAddress(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for host, want := range map[string]int{
		"127.0.0.1:9464": 200, "[::1]:9464": 200, "[::1]": 200, "localhost": 200, "LOCALHOST:9464": 200, "run.localhost:1": 200, "host.docker.internal:9464": 200,
		"10.1.2.3": 200, "evil.example": 403, "evil.example:9464": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403, "evillocalhost": 403, "": 403,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d; want %d", host, w.Code, want)
		}
	}
}

func TestExposed(t *testing.T) {
	for _, tt := range []struct {
		ip   net.IP
		want bool
	}{{net.IPv4(127, 0, 0, 1), false}, {net.IPv4(127, 9, 9, 9), false}, {net.IPv6loopback, false}, {net.IPv4zero, true}, {net.IPv6zero, true}, {nil, true}, {net.IPv4(10, 0, 0, 1), true}} {
		if got := httpserve.Exposed(&net.TCPAddr{IP: tt.ip, Port: 80}); got != tt.want {
			t.Errorf("%v: %t", tt.ip, got)
		}
	}
}

// What listens on every address is opened on this machine by one of them.
func TestReached(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:9466": "127.0.0.1:9466", "[::1]:9466": "[::1]:9466", "192.0.2.7:9466": "192.0.2.7:9466",
		"[::]:9466": "127.0.0.1:9466", "0.0.0.0:9466": "127.0.0.1:9466",
	} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := httpserve.Reached(a); got != want {
			t.Errorf("%s is opened at %s; want %s", addr, got, want)
		}
	}
}
