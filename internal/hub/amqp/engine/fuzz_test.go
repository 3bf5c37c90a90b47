package engine_test

import (
	"io"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

// Whatever comes, in whatever pieces, at the beginning or with links attached, the connection ends when its peer goes, and every link is
// told of its end once.
func FuzzConnection(f *testing.F) {
	seed := amqp.AppendFrame(nil, 3, transfer(5, 0), []byte("m"))
	seed = amqp.AppendFrame(seed, 3, &amqp.Flow{Handle: amqp.Some(6), LinkCredit: amqp.Some(10), Echo: true, Drain: true}, nil)
	seed = amqp.AppendFrame(seed, 3, &amqp.Disposition{Role: true, First: 0, Last: amqp.Some(9), State: amqp.State{Code: amqp.Released}}, nil)
	seed = amqp.AppendFrame(seed, 3, &amqp.Detach{Handle: 5}, nil)
	seed = amqp.AppendFrame(seed, 3, attach("m", 7, true, "no"), nil)
	f.Add(true, uint8(0), amqp.AppendFrame(seed, 3, &amqp.End{}, nil))
	f.Add(true, uint8(3), amqp.AppendFrame(nil, 0, &amqp.Close{}, nil))
	start := append([]byte(nil), amqp.HeaderSASL[:]...)
	start = amqp.AppendSASL(start, &amqp.Init{Mechanism: "PLAIN", Response: []byte("\x00me\x00secret")})
	f.Add(false, uint8(1), amqp.AppendFrame(append(start, amqp.HeaderAMQP[:]...), 0, open(), nil))
	f.Fuzz(func(t *testing.T, attached bool, piece uint8, b []byte) {
		h := newHub(t, engine.Options{})
		client, server := memnet.Pipe()
		h.server.Take(server)
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, client)
		}()
		if attached {
			begun := append([]byte(nil), amqp.HeaderAMQP[:]...)
			begun = amqp.AppendFrame(begun, 0, open(), nil)
			begun = amqp.AppendFrame(begun, 3, begin(), nil)
			begun = amqp.AppendFrame(begun, 3, attach("a", 5, amqp.RoleSender, "echo"), nil)
			begun = amqp.AppendFrame(begun, 3, attach("b", 6, amqp.RoleReceiver, "echo"), nil)
			_, _ = client.Write(begun)
		}
		for len(b) > 0 {
			n := min(len(b), int(piece)+1)
			_, _ = client.Write(b[:n])
			b = b[n:]
		}
		client.Close()
		<-read
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Microsecond) {
			h.mu.Lock()
			done := len(h.ended) == 1
			h.mu.Unlock()
			if done {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the connection does not end")
			}
		}
		h.server.Close()
		if links := h.attached; len(h.over) != links {
			t.Errorf("%d links, and %d are over", links, len(h.over))
		}
	})
}
