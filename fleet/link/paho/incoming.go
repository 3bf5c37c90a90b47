package paho

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
)

const (
	readBuffer = 512
	// maxPacket bounds an incoming packet, in bytes: the client makes room for what a header announces, up to 256 MB.
	maxPacket = 4 << 20

	connack = 0x20 // first byte of a CONNACK
	suback  = 0x90 // and of a SUBACK
)

// incoming is what the client reads: a connection in larger pieces, since the client asks for single bytes, and of
// its packets only those that the client can take. It knows the return codes of MQTT 3.1.1 only and takes a
// CONNACK with another one for a connection; it trusts the size of a packet and the number of codes in a SUBACK.
type incoming struct {
	net.Conn
	r       *bufio.Reader
	left    int          // bytes of the packet under way
	begun   bool         // the CONNACK has come
	filters atomic.Int32 // topic filters of the SUBSCRIBE under way
	writing atomic.Int64 // when the write under way began, in nanoseconds since 1970; 0 for none

	mu  sync.Mutex // protects err
	err error      // why nothing more is read
}

func newIncoming(nc net.Conn) *incoming {
	return &incoming{Conn: nc, r: bufio.NewReaderSize(nc, readBuffer)}
}

// failed is why nothing more is read; nil while all is well.
func (in *incoming) failed() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// SetWriteDeadline gives a write its time. The client has one time-out for two things: the write, which may take long, and
// handing a packet to its writer, for which it blocks its caller.
func (in *incoming) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() {
		t = t.Add(writeTimeout - handTimeout)
	}
	return in.Conn.SetWriteDeadline(t)
}

func (in *incoming) Write(p []byte) (int, error) {
	in.writing.Store(time.Now().UnixNano())
	defer in.writing.Store(0)
	return in.Conn.Write(p)
}

// writes reports whether a write is under way for so long.
func (in *incoming) writes(d time.Duration) bool {
	began := in.writing.Load()
	return began != 0 && time.Since(time.Unix(0, began)) >= d
}

func (in *incoming) Read(p []byte) (int, error) {
	if in.left == 0 {
		if err := in.next(); err != nil {
			in.mu.Lock()
			in.err = err
			in.mu.Unlock()
			return 0, err
		}
	}
	n, err := in.r.Read(p[:min(len(p), in.left)])
	in.left -= n
	return n, err
}

// next reads the header of the next packet.
func (in *incoming) next() error {
	b, err := in.r.Peek(1)
	if err != nil {
		return in.ended(err)
	}
	kind := b[0]
	if !in.begun && kind != connack {
		return in.stranger()
	}
	header, size, err := in.size()
	if err != nil {
		return in.ended(err)
	}
	if size > maxPacket {
		return link.ErrPacketSize
	}
	if !in.begun {
		if err := in.connack(header, size); err != nil {
			return err
		}
		in.begun = true
	}
	if kind == suback && size-2 != int(in.filters.Load()) {
		return link.ErrSuback
	}
	in.left = header + size
	return nil
}

// size reads the length of a packet, and of the header that holds it (MQTT 3.1.1 section 2.2.3).
func (in *incoming) size() (header, size int, err error) {
	for i := range 4 {
		b, err := in.r.Peek(i + 2)
		if err != nil {
			return 0, 0, err
		}
		size |= int(b[i+1]&0x7f) << (7 * i)
		if b[i+1]&0x80 == 0 {
			return i + 2, size, nil
		}
	}
	return 0, 0, link.ErrNotMQTT
}

// connack finds a refusal. Brokers of MQTT 5 alone send more than the return code, and have it in the same place.
func (in *incoming) connack(header, size int) error {
	if size < 2 {
		return link.ErrNotMQTT
	}
	b, err := in.r.Peek(header + 2)
	if err != nil {
		return in.ended(err)
	}
	if code := b[header+1]; code != 0 {
		return &link.RefusedError{Code: code}
	}
	return nil
}

// stranger is who answers CONNECT with something else than CONNACK.
func (in *incoming) stranger() error {
	b, _ := in.r.Peek(2) // one byte, if there is no second
	return link.Stranger(b, link.ErrSpeaksTLS, link.ErrSpeaksHTTP, link.ErrNotMQTT)
}

// ended is why the stream ended before the next packet was there.
func (in *incoming) ended(err error) error {
	if !in.begun && errors.Is(err, io.EOF) {
		return errors.Join(link.ErrNoConnack, err)
	}
	return err
}
