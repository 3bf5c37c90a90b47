package https_test

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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/https"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

// hub is a server over connections in memory.
type hub struct {
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	away   atomic.Bool // dialling fails

	mu    sync.Mutex
	dials []net.Conn // the far ends
}

var errAway = errors.New("nothing listens")

func newHub(handler http.HandlerFunc) *hub {
	h := &hub{server: &http.Server{Handler: handler}, conns: make(chan net.Conn, 16), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		_ = h.server.Serve(h)
	}()
	return h
}

func (h *hub) Accept() (net.Conn, error) {
	nc, ok := <-h.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return nc, nil
}

func (h *hub) Addr() net.Addr { return &net.TCPAddr{} }

func (h *hub) Close() error {
	close(h.conns) // the server does so once
	return nil
}

func (h *hub) Dial(context.Context) (net.Conn, error) {
	if h.away.Load() {
		return nil, errAway
	}
	near, far := memnet.Pipe()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dials = append(h.dials, far)
	h.conns <- far
	return near, nil
}

// dialled is how many connections there were.
func (h *hub) dialled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.dials)
}

// hangUp closes all connections, as a hub does with those on which nothing goes on.
func (h *hub) hangUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, nc := range h.dials {
		nc.Close()
	}
}

func (h *hub) stop() {
	h.server.Close()
	<-h.done
	time.Sleep(2 * time.Hour) // its handlers have their own time
}

// device is a connection, and what it told.
type device struct {
	link.Conn
	over chan error
}

func connect(t *testing.T, o link.Options) *device {
	t.Helper()
	if o.Host == "" {
		o.Host = "h.azure-devices.net"
	}
	o.Handler = func(link.Message) { t.Error("a message arrived") }
	c, err := https.New().Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	d := &device{c, make(chan error, 2)}
	d.Serve(func(err error) { d.over <- err })
	return d
}

// start sends a message.
func (d *device) start(payload string) <-chan error {
	done := make(chan error, 2)
	d.Publish(link.Message{Topic: topics.Telemetry("dev 1", nil), Payload: []byte(payload), QoS: 1}, func(err error) { done <- err })
	return done
}

func (d *device) send(payload string) error { return <-d.start(payload) }

// closes ends a connection and holds it to tell so once.
func (d *device) closes(t *testing.T) {
	t.Helper()
	d.Close()
	if err := <-d.over; err != nil {
		t.Errorf("a connection that was closed ended with %v", err)
	}
	synctest.Wait()
	if len(d.over) > 0 {
		t.Error("told twice of the end")
	}
}

// bubble runs a test in virtual time against a handler.
func bubble(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, h *hub)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(handler)
		test(t, h)
		h.stop()
	})
}

// seen is a request as a hub sees it.
type seen struct {
	method, uri, host, body string
	header                  http.Header
}

func look(r *http.Request) seen {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return seen{body: err.Error()}
	}
	return seen{r.Method, r.RequestURI, r.Host, string(body), r.Header}
}

// A message is a request as the device SDKs send it, with a token of its own, and all of them go over one connection.
func TestMessagesAreRequests(t *testing.T) {
	requests := make(chan seen, 10)
	bubble(t, func(w http.ResponseWriter, r *http.Request) {
		requests <- look(r)
		w.WriteHeader(http.StatusNoContent)
	}, func(t *testing.T, h *hub) {
		tokens := 0
		d := connect(t, link.Options{Dial: h.Dial, Password: func() string { tokens++; return fmt.Sprintf("SharedAccessSignature sr=%d", tokens) }})
		for i := range 3 {
			payload := []byte(fmt.Sprintf(`{"n":%d}`, i))
			done := make(chan error, 1)
			d.Publish(link.Message{Topic: topics.Telemetry("dev 1", topics.Bag{
				{Name: "$.ct", Value: "application/json", HasValue: true}, {Name: "$.mid", Value: "m-1", HasValue: true}, {Name: "alert", Value: "a\r\nb: ü", HasValue: true},
			}), Payload: payload}, func(err error) { done <- err })
			copy(payload, "xxxxxxx") // it is the caller's again
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			got := <-requests
			if got.method != "POST" || got.uri != "/devices/dev%201/messages/events?api-version=2021-04-12" || got.host != "h.azure-devices.net" || got.body != fmt.Sprintf(`{"n":%d}`, i) {
				t.Errorf("request %+v", got)
			}
			for name, want := range map[string]string{
				"Authorization": fmt.Sprintf("SharedAccessSignature sr=%d", i+1), "Iothub-Contenttype": "application/json", "Iothub-Messageid": "m-1",
				"Iothub-App-Alert": "a  b: ü", "B": "", "Iothub-To": "/devices/dev%201/messages/events",
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s: %q; want %q", name, got.header.Get(name), want)
				}
			}
		}
		if n := h.dialled(); n != 1 {
			t.Errorf("%d connections; want 1", n)
		}
		d.closes(t)
	})
}

// What a hub answers is what becomes of the message; the connection goes on.
func TestAnswers(t *testing.T) {
	var status atomic.Int64
	bubble(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		if status.Load() != http.StatusNoContent {
			fmt.Fprint(w, `{"Message":"ErrorCode:ThrottlingException"}`)
		}
	}, func(t *testing.T, h *hub) {
		d := connect(t, link.Options{Dial: h.Dial})
		for _, tt := range []struct {
			status                       int
			throttled, identity, failure bool
		}{
			{200, false, false, false},
			{204, false, false, false},
			{429, true, false, false},
			{401, false, true, false},
			{403, false, true, false},
			{404, false, true, false},
			{413, false, false, true},
			{500, false, false, true},
			{503, false, false, true},
			{302, false, false, true},
		} {
			status.Store(int64(tt.status))
			err := d.send("{}")
			var refused *link.RefusedError
			switch ok := errors.As(err, &refused); {
			case tt.status < 300 && err != nil, tt.status >= 300 && !ok:
				t.Errorf("%d: %v", tt.status, err)
			case ok && (refused.Status != tt.status || refused.Throttled() != tt.throttled || refused.Identity() != tt.identity || refused.Failure() != tt.failure):
				t.Errorf("%d: %+v, throttled %v, identity %v, failure %v", tt.status, refused, refused.Throttled(), refused.Identity(), refused.Failure())
			}
		}
		if n := h.dialled(); n != 1 {
			t.Errorf("%d connections; want 1", n)
		}
		d.closes(t)
	})
}

// Messages wait for their turn: there is one request at a time, in their order.
func TestOneRequestAtATime(t *testing.T) {
	var at, most atomic.Int64
	var mu sync.Mutex
	var got []string
	bubble(t, func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), at.Add(1)))
		defer at.Add(-1)
		mu.Lock()
		got = append(got, look(r).body)
		mu.Unlock()
		time.Sleep(time.Second)
		w.WriteHeader(http.StatusNoContent)
	}, func(t *testing.T, h *hub) {
		d := connect(t, link.Options{Dial: h.Dial})
		began := time.Now()
		var waits []<-chan error
		for i := range 5 {
			waits = append(waits, d.start(fmt.Sprint(i)))
		}
		for i, done := range waits {
			if err := <-done; err != nil || time.Since(began) != time.Duration(i+1)*time.Second {
				t.Errorf("message %d: %v after %v", i, err, time.Since(began))
			}
		}
		if fmt.Sprint(got) != "[0 1 2 3 4]" || most.Load() != 1 {
			t.Errorf("%v arrived, %d at once", got, most.Load())
		}
		d.closes(t)
	})
}

// A hub that closes a connection on which nothing goes on loses no device: the next message opens another.
func TestIdleConnections(t *testing.T) {
	for name, hangUp := range map[string]bool{"between two messages": true, "after each answer": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w http.ResponseWriter, _ *http.Request) {
				if !hangUp {
					w.Header().Set("Connection", "close")
				}
				w.WriteHeader(http.StatusNoContent)
			}, func(t *testing.T, h *hub) {
				d := connect(t, link.Options{Dial: h.Dial})
				for i := range 3 {
					if err := d.send("{}"); err != nil {
						t.Errorf("message %d: %v", i, err)
					}
					if hangUp {
						h.hangUp()
					}
					synctest.Wait()
				}
				if n := h.dialled(); n != 3 || len(d.over) != 0 {
					t.Errorf("%d connections, %d lost; want 3, 0", n, len(d.over))
				}
				d.closes(t)
			})
		})
	}
}

// A connection that is lost under a request, or that cannot be opened once more, is lost, with what waits for it.
func TestLostConnections(t *testing.T) {
	wait := func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }
	bubble(t, wait, func(t *testing.T, h *hub) {
		d := connect(t, link.Options{Dial: h.Dial})
		first, second := d.start("1"), d.start("2")
		synctest.Wait()
		h.hangUp()
		for _, done := range []<-chan error{first, second} {
			if err := <-done; !errors.Is(err, link.ErrLost) {
				t.Errorf("done with %v; want %v", err, link.ErrLost)
			}
		}
		if err := <-d.over; err == nil {
			t.Error("lost without a reason")
		}
		if err := d.send("3"); !errors.Is(err, link.ErrLost) {
			t.Errorf("a message after that: %v", err)
		}
		d.Close()
		d.Abort()
		synctest.Wait()
		if len(d.over) != 0 {
			t.Error("told twice of the end")
		}
	})
	bubble(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, func(t *testing.T, h *hub) {
		d := connect(t, link.Options{Dial: h.Dial})
		h.hangUp()
		h.away.Store(true)
		synctest.Wait()
		if len(d.over) != 0 {
			t.Error("lost before it was needed")
		}
		if err := d.send("1"); !errors.Is(err, link.ErrLost) {
			t.Errorf("done with %v; want %v", err, link.ErrLost)
		}
		if err := <-d.over; !errors.Is(err, errAway) {
			t.Errorf("lost with %v; want %v", err, errAway)
		}
	})
}

// A hub that does not answer is not waited for for ever.
func TestNoAnswer(t *testing.T) {
	bubble(t, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }, func(t *testing.T, h *hub) {
		d := connect(t, link.Options{Dial: h.Dial, Timeout: 5 * time.Second})
		began := time.Now()
		first, second := d.start("1"), d.start("2")
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) || time.Since(began) < 5*time.Second || time.Since(began) > 6*time.Second {
			t.Errorf("done with %v after %v; want a time-out after 5 s", err, time.Since(began))
		}
		if err := <-second; !errors.Is(err, link.ErrLost) {
			t.Errorf("the one behind it: %v", err)
		}
		if err := <-d.over; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("lost with %v", err)
		}
	})
}

// Closing and cutting end a connection at once, whatever is under way.
func TestEnds(t *testing.T) {
	for name, end := range map[string]func(link.Conn){"closed": link.Conn.Close, "cut": link.Conn.Abort} {
		for _, under := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, under way %v", name, under), func(t *testing.T) {
				bubble(t, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }, func(t *testing.T, h *hub) {
					d := connect(t, link.Options{Dial: h.Dial})
					var waits []<-chan error
					if under {
						waits = append(waits, d.start("1"), d.start("2"))
					}
					synctest.Wait()
					began := time.Now()
					end(d)
					if err := <-d.over; err != nil || time.Since(began) > 0 {
						t.Errorf("over with %v after %v", err, time.Since(began))
					}
					for _, done := range waits {
						if err := <-done; !errors.Is(err, link.ErrLost) {
							t.Errorf("done with %v; want %v", err, link.ErrLost)
						}
					}
				})
			})
		}
	}
	t.Run("before it is served", func(t *testing.T) {
		bubble(t, nil, func(t *testing.T, h *hub) {
			c, err := https.New().Connect(t.Context(), link.Options{Dial: h.Dial})
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			over := make(chan error, 1)
			c.Serve(func(err error) { over <- err })
			if err := <-over; err != nil {
				t.Errorf("over with %v", err)
			}
		})
	})
}

// What is no answer ends the connection, and is not kept.
func TestBrokenAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		want   string
	}{
		"no HTTP":             {"\x20\x02\x00\x05", "did not answer as HTTP does"},
		"a header for ever":   {"HTTP/1.1 204 No Content\r\nX: " + strings.Repeat("x", 1<<20), "more than 64 KiB"},
		"a body for ever":     {"HTTP/1.1 429 Slow\r\nContent-Length: 10000000\r\n\r\n" + strings.Repeat("x", 1<<20), "more than 64 KiB"},
		"headers for ever":    {"HTTP/1.1 204 No Content\r\n" + strings.Repeat("X: y\r\n", 1<<17), "more than 64 KiB"},
		"hints for ever":      {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1<<16), "more than 64 KiB"},
		"another protocol":    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "did not answer as HTTP does"},
		"half an answer":      {"HTTP/1.1 204 No", "unexpected EOF"},
		"nothing at all":      {"", "unexpected EOF"},
		"a bad chunk":         {"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "did not answer as HTTP does"},
		"a status of its own": {"HTTP/1.1 204xyz No\r\n\r\n", "did not answer as HTTP does"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := connect(t, link.Options{Dial: answering([]byte(tt.answer))})
				if err := d.send("{}"); err == nil {
					t.Error("the message was taken")
				}
				if err := <-d.over; err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("over with %v; want %s", err, tt.want)
				}
			})
		})
	}
}

// answering dials a target that answers the first bytes that come with some of its own, and hangs up.
func answering(answer []byte) link.Dialer {
	return func(context.Context) (net.Conn, error) {
		near, far := memnet.Pipe()
		go func() {
			defer far.Close()
			if _, err := far.Read(make([]byte, 4<<10)); err != nil {
				return
			}
			_, _ = far.Write(answer)
		}()
		return near, nil
	}
}

// Devices send messages, and nothing else.
func TestOnlyMessages(t *testing.T) {
	bubble(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, func(t *testing.T, h *hub) {
		d := connect(t, link.Options{Dial: h.Dial})
		done := make(chan error, 1)
		told := func(err error) { done <- err }
		d.Subscribe(told)
		if err := <-done; err != nil {
			t.Errorf("no filters: %v", err)
		}
		d.Subscribe(told, link.Filter{Topic: topics.FilterDesired})
		if err := <-done; !errors.Is(err, link.ErrSubscription) {
			t.Errorf("desired properties: %v", err)
		}
		for _, m := range []link.Message{
			{Topic: topics.TwinGet("1")},
			{Topic: topics.Report("1")},
			{Topic: "a/b"},
			{},
			{Topic: topics.Telemetry("dev", topics.Bag{{Name: "a b", Value: "c", HasValue: true}})},
			{Topic: topics.Telemetry("dev", topics.Bag{{Name: "a\r\nb", Value: "c", HasValue: true}})},
		} {
			d.Publish(m, told)
			if err := <-done; err == nil {
				t.Errorf("%q was sent", m.Topic)
			}
		}
		d.closes(t)
	})
}

// Over TLS and sockets it is the same: connecting ends with the handshake, and who is not trusted is not connected to.
func TestOverTLS(t *testing.T) {
	requests := make(chan seen, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- look(r)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	dial := func(roots *x509.CertPool) link.Dialer {
		return link.TLS(link.TCP(server.Listener.Addr().String()), &tls.Config{ServerName: "example.com", RootCAs: roots, MinVersion: tls.VersionTLS12})
	}
	d := connect(t, link.Options{Dial: dial(roots), Host: "example.com"})
	for range 2 {
		if err := d.send("{}"); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-requests; got.host != "example.com" || got.body != "{}" {
		t.Errorf("request %+v", got)
	}
	d.Close()
	if err := <-d.over; err != nil {
		t.Error(err)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := https.New().Connect(t.Context(), link.Options{Dial: dial(x509.NewCertPool())}); !errors.As(err, &unknown) {
		t.Errorf("connected to a stranger: %v", err)
	}
}

// Whatever a target answers, a message ends once, and so does its connection.
func FuzzAnswer(f *testing.F) {
	for _, answer := range []string{
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 429 Slow\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.0 200 OK\r\n\r\nto the end",
		"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "\x00",
	} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		synctest.Test(t, func(t *testing.T) {
			d := connect(t, link.Options{Dial: answering(bytes.Clone(answer))})
			done := d.start("{}")
			<-done
			synctest.Wait()
			d.Close()
			<-d.over
			synctest.Wait()
			if len(done) != 0 || len(d.over) != 0 {
				t.Error("told twice")
			}
		})
	})
}
