package protocol

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
)

// Exchange is an endpoint of an agent: Exchanged of another agent of its run; no answer.
const Exchange = "exchange"

// Exchanged is what an agent's subscribers got of another agent's devices, and which of them are there, in order. One that is told twice has the same
// number. It is written with AppendTo, as a run may have many arrivals in a second.
type Exchanged struct {
	Run      string
	From     string        // the agent
	Number   uint64        // from 1, of those to the same agent
	Within   time.Duration // by how much the times in it may be wrong
	Arrivals []fleet.Arrival
	// Listeners are told before the Arrivals.
	Listeners []fleet.Listener
}

// exchangeVersion is the first byte of what is written.
const exchangeVersion = 3

// How a listener stands, in a byte.
const (
	isThere byte = 1 << iota
	isConnected
	isForgotten // at a time that follows
	isUnkept
)

func flag(set bool, x byte) byte {
	if set {
		return x
	}
	return 0
}

// AppendTo writes it. An arrival takes some 10 bytes.
func (x *Exchanged) AppendTo(b []byte) []byte {
	b = append(b, exchangeVersion)
	b = appendText(appendText(b, x.Run), x.From)
	b = binary.AppendUvarint(b, x.Number)
	b = binary.AppendVarint(b, int64(x.Within))
	b = binary.AppendUvarint(b, uint64(len(x.Listeners)))
	var last int64
	for _, l := range x.Listeners {
		b = binary.AppendUvarint(b, uint64(l.Subscriber))
		how := flag(l.There, isThere) | flag(l.Connected, isConnected) | flag(!l.Until.IsZero(), isForgotten) | flag(l.Unkept, isUnkept)
		b = append(b, how)
		b, last = appendTime(b, l.At, last)
		if !l.Until.IsZero() {
			b, last = appendTime(b, l.Until, last)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(x.Arrivals)))
	for _, a := range x.Arrivals {
		b = binary.AppendUvarint(b, uint64(a.Publisher))
		b = binary.AppendUvarint(b, uint64(a.Kind))
		b = binary.AppendUvarint(b, uint64(a.Turn))
		b = binary.AppendUvarint(b, uint64(a.Subscriber))
		b, last = appendTime(b, a.At, last)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTime writes a time as what it is after another.
func appendTime(b []byte, at time.Time, last int64) ([]byte, int64) {
	n := at.UnixNano()
	return binary.AppendVarint(b, n-last), n
}

// ReadExchanged reads what AppendTo wrote. Errors match ErrFormat.
func ReadExchanged(b []byte) (*Exchanged, error) {
	r := reader{left: b}
	if r.octet() != exchangeVersion {
		r.bad = true
	}
	x := &Exchanged{Run: r.text(), From: r.text(), Number: r.number(), Within: time.Duration(r.signed())}
	for range r.count(3) {
		x.Listeners = append(x.Listeners, r.listener())
	}
	for range r.count(5) {
		x.Arrivals = append(x.Arrivals, fleet.Arrival{Publisher: r.index(), Kind: r.index(), Turn: int64(r.index()), Subscriber: r.index(), At: r.time()})
	}
	if r.bad || len(r.left) > 0 {
		return nil, fmt.Errorf("%w: what agents exchange of deliveries", ErrFormat)
	}
	return x, nil
}

// reader reads what is there, and zeros once something was not as it should be.
type reader struct {
	left []byte
	last int64 // time
	bad  bool
}

func (r *reader) listener() (l fleet.Listener) {
	l.Subscriber = r.index()
	how := r.octet()
	r.bad = r.bad || how >= isUnkept<<1
	l.There, l.Connected, l.Unkept, l.At = how&isThere != 0, how&isConnected != 0, how&isUnkept != 0, r.time()
	if how&isForgotten != 0 {
		l.Until = r.time()
	}
	return l
}

func (r *reader) octet() (x byte) {
	if r.bad = r.bad || len(r.left) == 0; r.bad {
		return 0
	}
	x, r.left = r.left[0], r.left[1:]
	return x
}

func (r *reader) number() uint64 {
	x, n := binary.Uvarint(r.left)
	return took(r, x, n)
}

func (r *reader) signed() int64 {
	x, n := binary.Varint(r.left)
	return took(r, x, n)
}

// took goes on behind a number of n bytes.
func took[T int64 | uint64](r *reader, x T, n int) T {
	if r.bad = r.bad || n <= 0; r.bad {
		return 0
	}
	r.left = r.left[n:]
	return x
}

// index reads a number that is no less than 0 as an int.
func (r *reader) index() int {
	x := r.number()
	if x > 1<<62 {
		r.bad = true
		return 0
	}
	return int(x)
}

// count reads how many things follow, of which each has no fewer than so many bytes.
func (r *reader) count(size int) int {
	n := r.number()
	if r.bad = r.bad || n > uint64(len(r.left)/size); r.bad {
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.count(1)
	s := string(r.left[:n])
	r.left = r.left[n:]
	return s
}

func (r *reader) time() time.Time {
	r.last += r.signed()
	return time.Unix(0, r.last)
}
