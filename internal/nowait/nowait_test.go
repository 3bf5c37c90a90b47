package nowait_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/nowait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is the two ends of a connection, of which the near one is to be watched.
type pair func(t *testing.T) (near nowait.Conn, far net.Conn)

func pairs() map[string]pair {
	return map[string]pair{
		"memory": func(*testing.T) (nowait.Conn, net.Conn) {
			near, far := memnet.Pipe()
			return near.(nowait.Conn), far
		},
		"TCP": func(t *testing.T) (nowait.Conn, net.Conn) {
			t.Helper()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			near, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			return nowait.TCP(near).(nowait.Conn), far
		},
	}
}

// collector keeps what is read from a connection that is watched, until it ends.
type collector struct {
	mu   sync.Mutex
	got  bytes.Buffer
	over chan error
}

// collect watches a connection; r is what is read from, the connection itself or what lies above it.
func collect(t *testing.T, ps *nowait.Pollers, c nowait.Conn, r io.Reader) *collector {
	t.Helper()
	k := &collector{over: make(chan error, 1)}
	ended := false
	stop, err := ps.Watch(c, func(buffer []byte) {
		for !ended {
			n, err := r.Read(buffer)
			k.mu.Lock()
			k.got.Write(buffer[:n])
			k.mu.Unlock()
			if errors.Is(err, nowait.ErrAgain) {
				return
			}
			if err != nil {
				ended = true
				k.over <- err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		c.Close()
	})
	return k
}

func (k *collector) text() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.got.String()
}

func wait(t *testing.T, over chan error) error {
	t.Helper()
	select {
	case err := <-over:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was read to the end")
		return nil
	}
}

// What comes on many connections is read, whole and in order, up to their ends.
func TestWatch(t *testing.T) {
	for name, open := range pairs() {
		t.Run(name, func(t *testing.T) {
			var ps nowait.Pollers
			var far []net.Conn
			var near []*collector
			const n = 200
			for range n {
				c, other := open(t)
				if _, err := other.Write([]byte("before, ")); err != nil {
					t.Fatal(err)
				}
				c.SetNoWait()
				near, far = append(near, collect(t, &ps, c, c)), append(far, other)
			}
			for _, text := range []string{"one, ", "two, ", "three"} {
				for _, c := range far {
					if _, err := c.Write([]byte(text)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, c := range far {
				c.Close()
			}
			for i, k := range near {
				if err := wait(t, k.over); !errors.Is(err, io.EOF) || k.text() != "before, one, two, three" {
					t.Fatalf("connection %d: %q, %v", i, k.text(), err)
				}
			}
		})
	}
}

// Writes do not wait for a side that does not read, and nothing of them is lost when it does.
func TestWritesDoNotWait(t *testing.T) {
	for name, open := range pairs() {
		t.Run(name, func(t *testing.T) {
			near, far := open(t)
			defer near.Close()
			near.SetNoWait()
			var ps nowait.Pollers
			collect(t, &ps, near, near)
			want := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
			for part := want; len(part) > 0; part = part[1<<16:] {
				if n, err := near.Write(part[:1<<16]); n != 1<<16 || err != nil {
					t.Fatalf("%d bytes, %v", n, err)
				}
			}
			if near.Kept() == 0 {
				t.Error("16 MB were taken by a side that does not read")
			}
			got := bytes.Buffer{}
			_ = far.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.CopyN(&got, far, int64(len(want))); err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%d bytes of %d, %v", got.Len(), len(want), err)
			}
			far.Close()
		})
	}
}

// A side that reads as fast as it can gets all that is written, however the two meet.
func TestNothingIsLeftBehind(t *testing.T) {
	for name, open := range pairs() {
		t.Run(name, func(t *testing.T) {
			var ps nowait.Pollers
			b := make([]byte, 4<<20)
			for i := range 3 {
				near, far := open(t)
				near.SetNoWait()
				collect(t, &ps, near, near)
				got := make(chan error)
				go func() {
					_ = far.SetReadDeadline(time.Now().Add(5 * time.Second))
					read := 0
					for {
						n, err := far.Read(make([]byte, 32<<10))
						if read += n; read == len(b) || err != nil {
							read = 0
							got <- err
						}
						if err != nil {
							return
						}
					}
				}()
				for range 20 {
					if _, err := near.Write(b); err != nil {
						t.Fatal(err)
					}
					if err := <-got; err != nil {
						t.Fatalf("connection %d: %v, and %d bytes are kept", i, err, near.Kept())
					}
				}
				far.Close()
				<-got
			}
		})
	}
}

// Whoever closes a connection, and whenever, it is closed on both sides, and who watches it is told.
func TestCloseByAnother(t *testing.T) {
	for name, open := range pairs() {
		t.Run(name, func(t *testing.T) {
			var ps nowait.Pollers
			for i := range 200 {
				near, far := open(t)
				closed := make(chan error, 1)
				go func() {
					for range i * 5 {
						runtime.Gosched()
					}
					closed <- near.Close()
				}()
				near.SetNoWait()
				over := make(chan error, 1)
				stop, err := ps.Watch(near, func(buffer []byte) {
					if _, err := near.Read(buffer); err != nil && !errors.Is(err, nowait.ErrAgain) {
						select {
						case over <- err:
						default:
						}
					}
				})
				if err == nil {
					if err := wait(t, over); !errors.Is(err, net.ErrClosed) {
						t.Fatalf("%d: who watches is told %v", i, err)
					}
					stop()
				}
				if err := wait(t, closed); err != nil {
					t.Fatalf("%d: closing: %v", i, err)
				}
				_ = far.SetReadDeadline(time.Now().Add(30 * time.Second))
				if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Fatalf("%d: the other side reads %v", i, err)
				}
				far.Close()
			}
		})
	}
}

// TLS lies above it: what is left of a record is read when the rest has come.
func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer server.Close()
	trust := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.ServerName = "example.com"
	for name, open := range pairs() {
		t.Run(name, func(t *testing.T) {
			var ps nowait.Pollers
			near, far := open(t)
			other := tls.Server(drip{far}, &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12})
			secure := tls.Client(near, trust)
			shaken := shake(other)
			if err := secure.Handshake(); err != nil {
				t.Fatal(err)
			}
			if err := wait(t, shaken); err != nil {
				t.Fatal(err)
			}
			near.SetNoWait()
			k := collect(t, &ps, near, secure)
			want := bytes.Repeat([]byte("a record "), 5000)
			if _, err := other.Write(want); err != nil {
				t.Fatal(err)
			}
			other.Close()
			if err := wait(t, k.over); !errors.Is(err, io.EOF) || k.text() != string(want) {
				t.Errorf("%d bytes of %d, %v", len(k.text()), len(want), err)
			}
		})
	}
}

// shake shakes hands beside the test.
func shake(c *tls.Conn) chan error {
	over := make(chan error, 1)
	go func() { over <- c.Handshake() }()
	return over
}

// drip writes in small pieces.
type drip struct{ net.Conn }

func (d drip) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += 700 {
		if _, err := d.Conn.Write(b[i:min(len(b), i+700)]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}
