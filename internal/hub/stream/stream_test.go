package stream_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub/stream"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler writes back what comes, and ends the connection for a "!".
type handler struct {
	conn *stream.Conn
	wait time.Duration // before it answers, where it may

	meanwhile func() // of the first call; nil for nothing

	mu     sync.Mutex
	got    bytes.Buffer
	calls  []string
	why    error
	inside int
}

func (h *handler) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, what)
}

func (h *handler) Begin() { h.note("begin") }
func (h *handler) Alarm() { h.note("alarm") }

var errBang = errors.New("bang")

func (h *handler) Feed(b []byte, patient bool) error {
	h.mu.Lock()
	h.inside++
	if h.inside > 1 {
		h.calls = append(h.calls, "two calls at once")
	}
	h.got.Write(b)
	h.mu.Unlock()
	if h.meanwhile != nil {
		h.meanwhile()
		h.meanwhile = nil
	}
	if patient {
		time.Sleep(h.wait)
	}
	h.mu.Lock()
	h.inside--
	h.mu.Unlock()
	h.conn.Write(b)
	if bytes.IndexByte(b, '!') >= 0 {
		return errBang
	}
	return nil
}

func (h *handler) Ended(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls, h.why = append(h.calls, "ended"), why
}

// slow is a connection that no poller can watch.
type slow struct{ net.Conn }

// each runs a test with a connection that is watched, and one with a goroutine.
func each(t *testing.T, o stream.Options, run func(t *testing.T, s *stream.Server, h *handler, client net.Conn)) {
	for name, hide := range map[string]bool{"watched": false, "goroutine": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := stream.New(o)
				h := &handler{}
				client, server := memnet.Pipe()
				if hide {
					server = slow{server}
				}
				s.Accept(server, func(c *stream.Conn) stream.Handler {
					h.conn = c
					return h
				})
				synctest.Wait()
				run(t, s, h, client)
				s.Close()
				client.Close()
				synctest.Wait()
				if n := len(h.calls); h.calls[0] != "begin" || h.calls[n-1] != "ended" {
					t.Errorf("%v", h.calls)
				}
				if n := s.Connections(); n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

func TestWhatComesIsFed(t *testing.T) {
	each(t, stream.Options{}, func(t *testing.T, _ *stream.Server, h *handler, client net.Conn) {
		h.conn.Wake(time.Now().Add(time.Minute))
		for _, text := range []string{"a", "bc", "de!"} {
			if _, err := io.WriteString(client, text); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		all, err := io.ReadAll(client) // also what was said last
		synctest.Wait()
		if err != nil || string(all) != "abcde!" || h.got.String() != "abcde!" || !errors.Is(h.why, errBang) {
			t.Errorf("%q, %v came back of %q; it ended with %v", all, err, h.got.String(), h.why)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(h.calls) != 2 {
			t.Errorf("after its end: %v", h.calls)
		}
	})
}

// Where it may wait, one call waits for the one before, and the alarm for none.
func TestPatience(t *testing.T) {
	each(t, stream.Options{Patient: func() bool { return true }}, func(t *testing.T, _ *stream.Server, h *handler, client net.Conn) {
		h.wait = time.Minute
		began := time.Now()
		h.conn.Wake(began.Add(time.Second))
		for _, text := range []string{"a", "b", "c"} {
			if _, err := io.WriteString(client, text); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		all := make([]byte, 3)
		if _, err := io.ReadFull(client, all); err != nil || string(all) != "abc" {
			t.Fatalf("%q, %v", all, err)
		}
		synctest.Wait()
		if d := time.Since(began); d != 2*time.Minute { // b and c came together
			t.Errorf("after %v", d)
		}
		if len(h.calls) != 2 || h.calls[1] != "alarm" {
			t.Errorf("%v", h.calls)
		}
	})
}

// What comes after Feed may wait is fed to one that may, also while what came before is still being read.
func TestPatienceBeginsWhileItReads(t *testing.T) {
	var patient atomic.Bool
	each(t, stream.Options{Patient: patient.Load}, func(t *testing.T, _ *stream.Server, h *handler, client net.Conn) {
		patient.Store(false)
		h.wait = time.Minute
		h.meanwhile = func() { // while the first is fed
			patient.Store(true)
			if _, err := io.WriteString(client, "b"); err != nil {
				t.Error(err)
			}
		}
		began := time.Now()
		if _, err := io.WriteString(client, "a"); err != nil {
			t.Fatal(err)
		}
		all := make([]byte, 2)
		if _, err := io.ReadFull(client, all); err != nil || string(all) != "ab" {
			t.Fatalf("%q, %v", all, err)
		}
		if d := time.Since(began); d < time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

// Who does not read loses its connection, after some megabytes or some time, and nobody has waited for it.
func TestAPeerThatDoesNotRead(t *testing.T) {
	each(t, stream.Options{}, func(t *testing.T, _ *stream.Server, h *handler, _ net.Conn) {
		began := time.Now()
		for range 100 {
			h.conn.Write(make([]byte, 100_000))
		}
		synctest.Wait()
		if d := time.Since(began); d != 0 {
			t.Errorf("writing took %v", d)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !errors.Is(h.why, os.ErrDeadlineExceeded) {
			t.Errorf("it ended with %v", h.why)
		}
	})
}

// Where too much waits all of it is dropped, and nothing that comes later is written: the peer would take it for what follows.
func TestNothingIsWrittenPastAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var lock sync.Mutex
		var o stream.Outbox
		drained := make(chan error, 1)
		add := func(b []byte) error {
			lock.Lock()
			defer lock.Unlock()
			return o.Add(b, func() { go func() { drained <- o.Drain(&lock, near, time.Hour) }() })
		}
		if err := add([]byte("first")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var err error
		for range 100 {
			if err = add(make([]byte, 100_000)); err != nil {
				break
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("too much waits: %v", err)
		}
		if again := add([]byte("later")); !errors.Is(again, err) {
			t.Errorf("after a gap: %v", again)
		}
		b := make([]byte, 100)
		if n, err := far.Read(b); err != nil || string(b[:n]) != "first" {
			t.Errorf("%q, %v", b[:n], err)
		}
		if why := <-drained; !errors.Is(why, err) {
			t.Errorf("it ended with %v", why)
		}
	})
}

// What was written has gone before the connection ends, also from outside, and Flush waits for that.
func TestClose(t *testing.T) {
	each(t, stream.Options{}, func(t *testing.T, s *stream.Server, h *handler, client net.Conn) {
		h.conn.Write([]byte("last words"))
		h.conn.Close(errBang)
		h.conn.Close(io.EOF)
		h.conn.Write([]byte("never"))
		s.Flush(time.Second)
		all, err := io.ReadAll(client)
		if err != nil || string(all) != "last words" {
			t.Errorf("%q, %v", all, err)
		}
		synctest.Wait()
		if !errors.Is(h.why, errBang) {
			t.Errorf("it ended with %v", h.why)
		}
	})
}

func TestAClosedServer(t *testing.T) {
	s := stream.New(stream.Options{})
	s.Close()
	for _, serve := range []func(net.Conn, func(*stream.Conn) stream.Handler){s.Take, s.Accept} {
		a, b := memnet.Pipe()
		serve(b, func(*stream.Conn) stream.Handler { panic("a connection of a closed server") })
		if _, err := a.Read(make([]byte, 1)); err == nil {
			t.Error("the connection lives")
		}
	}
}
