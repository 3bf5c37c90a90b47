package fault_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/fleet/link/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// far is the other side of connections: it keeps what arrives, with the time, and may answer.
type far struct {
	mu       sync.Mutex
	conns    []net.Conn
	arrivals map[int][]arrival // by number of the connection
	ended    map[int]error
	echo     bool
	reading  sync.WaitGroup
}

type arrival struct {
	after time.Duration
	text  string
}

func newFar(echo bool) *far {
	return &far{arrivals: map[int][]arrival{}, ended: map[int]error{}, echo: echo}
}

func (f *far) dial(context.Context) (net.Conn, error) {
	near, other := net.Pipe()
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.conns)
	f.conns = append(f.conns, other)
	began := time.Now()
	f.reading.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			k, err := other.Read(buf)
			f.mu.Lock()
			if err != nil {
				f.ended[n] = err
				f.mu.Unlock()
				return
			}
			f.arrivals[n] = append(f.arrivals[n], arrival{time.Since(began), string(buf[:k])})
			echo := f.echo
			f.mu.Unlock()
			if echo {
				_, _ = other.Write(buf[:k])
			}
		}
	})
	return near, nil
}

func (f *far) got(n int) []arrival {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.arrivals[n]
}

func (f *far) text(n int) string {
	var b bytes.Buffer
	for _, a := range f.got(n) {
		b.WriteString(a.text)
	}
	return b.String()
}

func open(t *testing.T, n *fault.Network, f *far, index int) net.Conn {
	t.Helper()
	c, err := n.Dial(index, f.dial)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("writing %q: %d, %v", text, n, err)
	}
}

// in runs a test in a bubble of virtual time, and holds it to leave nothing behind.
func in(t *testing.T, name string, devices int, echo bool, test func(t *testing.T, n *fault.Network, f *far)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n, f := fault.New(7, devices), newFar(echo)
			test(t, n, f)
			n.Wait()
			for _, c := range f.conns {
				c.Close()
			}
			f.reading.Wait()
		})
	})
}

func TestLatency(t *testing.T) {
	in(t, "round trips", 2, true, func(t *testing.T, n *fault.Network, f *far) {
		c := open(t, n, f, 0)
		defer c.Close()
		roundTrip := func(want time.Duration) {
			t.Helper()
			began, buf := time.Now(), make([]byte, 10)
			write(t, c, "ping")
			if k, err := c.Read(buf); err != nil || string(buf[:k]) != "ping" || time.Since(began) != want {
				t.Errorf("read %q, %v after %v; want %v", buf[:k], err, time.Since(began), want)
			}
		}
		roundTrip(0)
		end := n.Begin(fault.Fault{Latency: 50 * time.Millisecond})
		roundTrip(100 * time.Millisecond)
		roundTrip(100 * time.Millisecond)
		other := n.Begin(fault.Fault{Latency: time.Second, Covers: func(i int) bool { return i == 1 }})
		roundTrip(100 * time.Millisecond)
		end()
		end()
		roundTrip(0)
		other()
	})
	in(t, "what is under way does not wait for what is before it", 1, false, func(t *testing.T, n *fault.Network, f *far) {
		defer n.Begin(fault.Fault{Latency: 50 * time.Millisecond})()
		began := time.Now()
		c := open(t, n, f, 0)
		defer c.Close()
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("dialling took %v; want a round trip", took)
		}
		for range 10 {
			write(t, c, "x")
		}
		time.Sleep(time.Second)
		if f.text(0) != "xxxxxxxxxx" || f.got(0)[9].after != 50*time.Millisecond {
			t.Errorf("arrived: %v", f.got(0))
		}
	})
	in(t, "what was written before the end arrives", 1, false, func(t *testing.T, n *fault.Network, f *far) {
		c := open(t, n, f, 0)
		defer n.Begin(fault.Fault{Latency: 50 * time.Millisecond})()
		write(t, c, "farewell")
		c.Close()
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing to a closed connection: %v", err)
		}
		time.Sleep(time.Second)
		if f.text(0) != "farewell" || f.ended[0] == nil {
			t.Errorf("arrived: %v, end: %v", f.got(0), f.ended[0])
		}
	})
}

func TestJitterKeepsOrder(t *testing.T) {
	in(t, "", 1, false, func(t *testing.T, n *fault.Network, f *far) {
		c := open(t, n, f, 0)
		defer c.Close()
		defer n.Begin(fault.Fault{Latency: 10 * time.Millisecond, Jitter: 100 * time.Millisecond})()
		var sent []time.Duration
		began, text := time.Now(), ""
		for i := range 26 {
			letter := string(rune('a' + i))
			sent = append(sent, time.Since(began))
			text += letter
			write(t, c, letter)
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if f.text(0) != text {
			t.Fatalf("arrived %q", f.text(0))
		}
		low, top := time.Hour, time.Duration(0)
		for i, a := range f.got(0) {
			low, top = min(low, a.after-sent[i]), max(top, a.after-sent[i])
		}
		if low < 10*time.Millisecond || top > 110*time.Millisecond || top-low < 50*time.Millisecond {
			t.Errorf("delays from %v to %v; want some of 10ms to 110ms", low, top)
		}
	})
}

func TestBandwidth(t *testing.T) {
	in(t, "", 1, false, func(t *testing.T, n *fault.Network, f *far) {
		c := open(t, n, f, 0)
		defer c.Close()
		defer n.Begin(fault.Fault{Bandwidth: 64 << 10})()
		began := time.Now()
		block := string(make([]byte, 16<<10))
		for range 8 {
			write(t, c, block)
		}
		// 64 KiB may be under way; the writer waited until the rest was out.
		if took := time.Since(began); took != time.Second {
			t.Errorf("writing 128 KiB took %v; want a second until half of it was out", took)
		}
		time.Sleep(5 * time.Second)
		got := f.got(0)
		if last := got[len(got)-1].after; len(f.text(0)) != 128<<10 || last != 2*time.Second {
			t.Errorf("%d bytes, the last after %v; want 128 KiB after 2s", len(f.text(0)), last)
		}
	})
}

// Resets follow from seed and device, and both sides see them.
func TestLoss(t *testing.T) {
	resets := func(seed uint64) (at []int) {
		synctest.Test(t, func(t *testing.T) {
			n, f := fault.New(seed, 50), newFar(false)
			defer f.reading.Wait()
			defer n.Begin(fault.Fault{Loss: 0.02})()
			for i := range 50 {
				c := open(t, n, f, i)
				k, err := 0, error(nil)
				for ; err == nil; k++ {
					_, err = c.Write([]byte("x"))
				}
				if !errors.Is(err, fault.ErrReset) || !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("device %d: %v", i, err)
				}
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Errorf("device %d reads from a connection that was reset", i)
				}
				at = append(at, k)
				c.Close()
			}
			n.Wait()
			f.reading.Wait()
		})
		return at
	}
	a, b, other := resets(1), resets(1), resets(2)
	sum, differ := 0, 0
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("device %d: reset at write %d, then at %d with the same seed", i, a[i], b[i])
		}
		if a[i] != other[i] {
			differ++
		}
		sum += a[i]
	}
	if mean := float64(sum) / float64(len(a)); mean < 30 || mean > 75 || differ < 40 {
		t.Errorf("reset at write %.0f on average, %d differ with another seed; want about 50", mean, differ)
	}
}

// A half-open connection takes everything and gives nothing, and says so to nobody; a new one works.
func TestHalfOpen(t *testing.T) {
	in(t, "", 200, true, func(t *testing.T, n *fault.Network, f *far) {
		conns := make([]net.Conn, 200)
		for i := range conns {
			conns[i] = open(t, n, f, i)
		}
		n.Begin(fault.Fault{HalfOpen: 0.25, Covers: func(i int) bool { return i < 100 }})()
		dead := 0
		for i, c := range conns {
			write(t, c, "ping")
			if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			_, err := c.Read(make([]byte, 10))
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded) && i < 100:
				dead++
				if f.text(i) != "" {
					t.Errorf("%q arrived on a dead connection", f.text(i))
				}
				c.Close()
				conns[i] = open(t, n, f, i)
				write(t, conns[i], "ping")
				if _, err := conns[i].Read(make([]byte, 10)); err != nil {
					t.Errorf("a new connection: %v", err)
				}
			case err != nil:
				t.Errorf("device %d: %v", i, err)
			}
		}
		if dead < 15 || dead > 35 {
			t.Errorf("%d of 100 went dead; want about 25", dead)
		}
		// The other side ends a dead connection, and the device does not hear of it.
		n.Begin(fault.Fault{HalfOpen: 1})()
		f.conns[len(f.conns)-1].Close()
		for _, c := range conns {
			if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading from a dead connection: %v", err)
			}
			c.Close()
		}
	})
}

// In a partition nothing passes in either direction; afterwards all of it arrives, in order.
func TestPartition(t *testing.T) {
	in(t, "", 100, true, func(t *testing.T, n *fault.Network, f *far) {
		began := time.Now()
		conns := make([]net.Conn, 100)
		for i := range conns {
			conns[i] = open(t, n, f, i)
			write(t, conns[i], "a") // the echo is on its way when the partition begins
		}
		end := n.Begin(fault.Fault{Partition: 0.3})
		time.AfterFunc(20*time.Second, end)
		var wait sync.WaitGroup
		var mu sync.Mutex
		apart := 0
		for i, c := range conns {
			wait.Go(func() {
				buf := make([]byte, 3)
				write(t, c, "b")
				write(t, c, "c")
				if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "abc" {
					t.Errorf("device %d read %q, %v", i, buf, err)
				}
				switch took := time.Since(began); {
				case took == 20*time.Second:
					mu.Lock()
					apart++
					mu.Unlock()
				case took != 0:
					t.Errorf("device %d waited %v", i, took)
				}
				c.Close()
			})
		}
		refused := 0 // dialling waits too, as long as its context allows
		for i := range conns {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				c, err := n.Dial(i, f.dial)(ctx)
				if err == nil {
					c.Close()
					return
				}
				mu.Lock()
				refused++
				mu.Unlock()
			})
		}
		wait.Wait()
		if apart < 20 || apart > 40 || refused != apart {
			t.Errorf("%d were cut off, %d could not dial; want about 30", apart, refused)
		}
	})
}

func TestDeadlines(t *testing.T) {
	in(t, "", 1, false, func(t *testing.T, n *fault.Network, f *far) {
		c := open(t, n, f, 0)
		defer c.Close()
		defer n.Begin(fault.Fault{Bandwidth: 1000})()
		began := time.Now()
		if err := c.SetDeadline(began.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		write(t, c, string(make([]byte, 60<<10)))
		if _, err := c.Write(make([]byte, 60<<10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing more than fits: %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("the deadline of a second came after %v", took)
		}
		time.AfterFunc(time.Second, func() { _ = c.SetWriteDeadline(time.Now().Add(time.Hour)) })
		if err := c.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 60<<10)); err != nil {
			t.Errorf("a deadline that was moved while one waited: %v", err)
		}
	})
}

// null is a connection that takes and gives at once.
type null struct{ net.Conn }

func (null) Write(b []byte) (int, error) { return len(b), nil }
func (null) Close() error                { return nil }

// What the wrapper costs a write while no fault is active, beside the bare connection.
func BenchmarkWrite(b *testing.B) {
	dial := func(context.Context) (net.Conn, error) { return null{}, nil }
	bare, _ := dial(b.Context())
	wrapped, err := fault.New(1, 1).Dial(0, dial)(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"bare": bare, "wrapped": wrapped} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			packet := make([]byte, 100)
			for b.Loop() {
				if _, err := c.Write(packet); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
