package wire_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/wire"
)

// owner keeps what came, and how it ended.
type owner struct {
	wire.Conn
	pollers  nowait.Pollers
	came     []byte
	finished chan error
}

func (o *owner) Take(b []byte) error {
	o.came = append(o.came, b...)
	return nil
}

func (o *owner) Fail(why error) {
	o.Lock()
	defer o.Unlock()
	o.End(why)
}

func (o *owner) Finished() { o.finished <- o.Over() }

// Over a connection that does not wait, and over one that does, what comes is taken, what is sent arrives before the end, and that is
// told once.
func TestConn(t *testing.T) {
	bye := errors.New("bye")
	for name, pipe := range map[string]func() (a, b net.Conn){"quick": memnet.Pipe, "waiting": net.Pipe} {
		for _, ours := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					near, far := pipe()
					o := &owner{finished: make(chan error, 2)}
					o.Begin(near, near, o)
					o.Lock()
					o.Serve(&o.pollers)
					for range 3 {
						o.Send(func(b []byte) []byte { return append(b, "said "...) })
					}
					o.Unlock()
					if _, err := far.Write([]byte("heard")); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					want := bye
					if ours {
						o.Lock()
						o.Leave(bye, time.Second)
						o.Unlock()
					}
					said := make([]byte, 15)
					if _, err := io.ReadFull(far, said); err != nil || string(said) != "said said said " {
						t.Errorf("said %q, %v", said, err)
					}
					if !ours {
						far.Close()
						want = io.EOF
					}
					if err := <-o.finished; !errors.Is(err, want) {
						t.Errorf("ended with %v; want %v", err, want)
					}
					synctest.Wait()
					if string(o.came) != "heard" || len(o.finished) > 0 {
						t.Errorf("came %q, told %d times more", o.came, len(o.finished))
					}
					far.Close()
				})
			})
		}
	}
}

// Who does not read is owed so much, and what is under way has its time to leave.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := &owner{finished: make(chan error, 2)}
		o.Begin(near, near, o)
		o.Lock()
		o.Serve(&o.pollers)
		before := o.Full()
		for range 3 {
			o.Send(func(b []byte) []byte { return append(b, make([]byte, 100<<10)...) })
		}
		after := o.Full()
		o.Leave(errors.New("bye"), time.Second)
		o.Unlock()
		if before || !after {
			t.Errorf("full before: %v, and after: %v", before, after)
		}
		began := time.Now()
		<-o.finished
		if took := time.Since(began); took != time.Second {
			t.Errorf("it has left after %v", took)
		}
		far.Close()
	})
}

// hasty is a transport on which the other side ends the connection as soon as it has what was written, and that is read before the write
// returns.
type hasty struct {
	net.Conn
	heard, read chan struct{}
	fails       error
}

func (h *hasty) Write(b []byte) (int, error) {
	close(h.heard)
	<-h.read
	synctest.Wait() // the owner knows
	return len(b), h.fails
}

func (h *hasty) Read([]byte) (int, error) {
	<-h.heard
	defer close(h.read)
	return 0, io.EOF
}

func (h *hasty) Close() error { return nil }

func (h *hasty) SetWriteDeadline(time.Time) error { return nil }

// What was said before the end is known to be said, whoever ended the connection then; what failed, or was never written, is not.
func TestSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		fails error
		more  bool
		want  bool
	}{
		"all was written":            {want: true},
		"the write failed":           {fails: io.ErrClosedPipe},
		"some had yet to be written": {more: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hasty{heard: make(chan struct{}), read: make(chan struct{}), fails: tt.fails}
				o := &owner{finished: make(chan error, 2)}
				o.Begin(h, h, o)
				o.Lock()
				o.Serve(&o.pollers)
				bye := func(b []byte) []byte { return append(b, "bye"...) }
				o.Send(bye)
				if tt.more {
					o.Unlock()
					<-h.heard
					o.Lock()
					o.Send(bye)
				}
				o.Leave(errors.New("bye"), time.Second)
				o.Unlock()
				<-o.finished
				if o.Lock(); o.Said() != tt.want {
					t.Errorf("said: %v", o.Said())
				}
				o.Unlock()
			})
		})
	}
}
