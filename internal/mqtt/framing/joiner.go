package framing

import (
	"bytes"

	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Joiner cuts what comes in pieces into packets. It has no memory but of a packet that is not whole. The zero value is ready.
type Joiner struct{ partial []byte }

// Feed gives take the packets that are whole, which are valid until it returns, and keeps the rest. A packet may have up to most bytes
// after its header; DefaultMaxPacket when 0. It ends with the error of take, or those of Reader.Next; then it is used no more.
func (j *Joiner) Feed(b []byte, most int, take func(mqtt.Packet) error) error {
	return j.FeedAs(V311, b, most, take)
}

// FeedAs is Feed of the packets of any version of MQTT.
func (j *Joiner) FeedAs(check Check, b []byte, most int, take func(mqtt.Packet) error) error {
	if len(j.partial) > 0 {
		b = append(j.partial, b...)
	}
	kept := b
	for len(b) > 0 {
		p, n, err := cut(b, most, check)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := take(p); err != nil {
			return err
		}
		b = b[n:]
	}
	switch {
	case len(b) == 0:
		j.partial = nil
	case len(b) < len(kept) || j.partial == nil:
		j.partial = bytes.Clone(b)
	default:
		j.partial = b
	}
	return nil
}
