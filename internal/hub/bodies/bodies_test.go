package bodies

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// one is a listener of one connection.
type one struct{ conns chan net.Conn }

func (l one) Accept() (net.Conn, error) {
	nc, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return nc, nil
}
func (l one) Close() error   { return nil }
func (l one) Addr() net.Addr { return &net.TCPAddr{} }

// exchange sends a request, and says what is answered and how long after it the connection ended.
func exchange(t *testing.T, handler http.HandlerFunc, request string) (status int, body string, answered, ended time.Duration) {
	t.Helper()
	client, server := memnet.Pipe()
	l := one{make(chan net.Conn, 1)}
	l.conns <- server
	s := &http.Server{Handler: Guard(handler, time.Minute), IdleTimeout: time.Hour}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	began := time.Now()
	if _, err := io.WriteString(client, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(client)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	answered = time.Since(began)
	_, _ = io.Copy(io.Discard, r)
	ended = time.Since(began)
	client.Close()
	close(l.conns)
	s.Close()
	<-served
	return resp.StatusCode, string(b), answered, ended
}

// echo answers with the body, or 400; with a token of its own it takes its time before and after it reads.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") == "" {
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	if r.Header.Get("Authorization") == "other" {
		http.Error(w, "not yours", http.StatusForbidden)
		return
	}
	time.Sleep(10 * time.Minute)
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "no body", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(10 * time.Minute):
	case <-r.Context().Done():
		b = []byte("cancelled")
	}
	_, _ = w.Write(b)
}

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name, request   string
		status          int
		body            string
		answered, ended time.Duration
	}{
		{"no body comes, and no token", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", 401, "who are you\n", 0, time.Second},
		{"chunks without end, and no token", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 401, "who are you\n", 0, time.Second},
		{"no body comes, and a token for another", "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: other\r\nContent-Length: 10\r\n\r\n", 403, "not yours\n", 0, time.Second},
		{"a body and no token", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", 401, "who are you\n", 0, 0},
		{
			"no body comes", "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\nContent-Length: 10\r\n\r\nabc",
			400, "no body\n", 11 * time.Minute, 11 * time.Minute,
		},
		{"a body", "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\nContent-Length: 2\r\n\r\nab", 200, "ab", 20 * time.Minute, 80 * time.Minute},
		{"none is announced", "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\n\r\n", 200, "", 20 * time.Minute, 80 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				status, body, answered, ended := exchange(t, echo, tt.request)
				if status != tt.status || body != tt.body || answered != tt.answered || ended != tt.ended {
					t.Errorf("%d %q after %v, ended after %v; want %d %q after %v, %v", status, body, answered, ended, tt.status, tt.body, tt.answered, tt.ended)
				}
			})
		})
	}
}

// A client that goes is noticed also after its body.
func TestClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := memnet.Pipe()
		l := one{make(chan net.Conn, 1)}
		l.conns <- server
		gone := make(chan error, 1)
		s := &http.Server{Handler: Guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			<-r.Context().Done()
			gone <- r.Context().Err()
		}), time.Minute)}
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		if _, err := io.Copy(client, strings.NewReader("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		select {
		case err := <-gone:
			t.Fatalf("the request ended by itself: %v", err)
		default:
		}
		client.Close()
		<-gone
		close(l.conns)
		s.Close()
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}
