package framing

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/twinfleet/twinfleet/internal/mqtt"
)

func TestReader(t *testing.T) {
	var stream []byte
	sizes := []int{0, 10, 600, 5, 100_000, 3, 511, 512, 513}
	for _, n := range sizes {
		stream = mqtt.AppendPublish(stream, "t", make([]byte, n), 0, false, false, 0)
	}
	for name, in := range map[string]io.Reader{"whole": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream))} {
		r := NewReader(in)
		for _, n := range sizes {
			p, err := r.Next()
			var m mqtt.Publish
			if err == nil {
				err = mqtt.DecodePublish(p, &m)
			}
			if err != nil || len(m.Payload) != n {
				t.Fatalf("%s: %d bytes, %v; want %d", name, len(m.Payload), err, n)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the end is %v; want EOF", name, err)
		}
		if len(r.buf) > smallBuffer {
			t.Errorf("%s: the buffer stayed at %d bytes", name, len(r.buf))
		}
	}
	if _, err := NewReader(strings.NewReader("\x30\x05ab")).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a packet cut short: %v", err)
	}
	r := NewReader(strings.NewReader("\x30\xff\xff\xff\x7f"))
	if _, err := r.Next(); !errors.Is(err, ErrTooLarge) || len(r.buf) > smallBuffer {
		t.Errorf("a packet of 256 MB: %v, buffer %d", err, len(r.buf))
	}
}

// Cut finds the packets that a Reader finds, and the same mistakes, however much has come.
func FuzzCut(f *testing.F) {
	f.Add(mqtt.AppendPublish(mqtt.AppendAck(nil, mqtt.PUBACK, 1), "a", []byte("x"), 0, false, false, 0), 3)
	f.Add([]byte("\x30\xff\xff\xff\x7f"), 1)
	f.Add([]byte("\x82\x05\x00"), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		r := NewReader(bytes.NewReader(b))
		rest, have := b, 0
		for {
			want, whole := r.Next()
			var got mqtt.Packet
			n, err := 0, error(nil)
			for n == 0 && err == nil && have < len(rest) {
				have = min(len(rest), have+max(1, piece%64))
				got, n, err = Cut(rest[:have], 0)
			}
			if whole != nil {
				if n > 0 || (err == nil) != (errors.Is(whole, io.EOF) || errors.Is(whole, io.ErrUnexpectedEOF)) || err != nil && err.Error() != whole.Error() {
					t.Fatalf("Cut: %d, %v; Reader: %v", n, err, whole)
				}
				return
			}
			if err != nil || got.Type != want.Type || got.Flags != want.Flags || !bytes.Equal(got.Body, want.Body) {
				t.Fatalf("Cut: %+v, %v; Reader: %+v", got, err, want)
			}
			rest, have = rest[n:], max(0, have-n-1)
		}
	})
}

// A Joiner finds the packets that a Reader finds, and the same mistakes, in whatever pieces they come.
func FuzzJoiner(f *testing.F) {
	f.Add(mqtt.AppendPublish(mqtt.AppendAck(nil, mqtt.PUBACK, 1), "a", []byte("x"), 0, false, false, 0), 3)
	f.Add([]byte("\x30\xff\xff\xff\x7f"), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		r, j := NewReader(bytes.NewReader(b)), Joiner{}
		take := func(got mqtt.Packet) error {
			want, err := r.Next()
			if err != nil || got.Type != want.Type || got.Flags != want.Flags || !bytes.Equal(got.Body, want.Body) {
				t.Fatalf("Joiner: %+v; Reader: %+v, %v", got, want, err)
			}
			return nil
		}
		var err error
		for rest := b; len(rest) > 0 && err == nil; {
			n := min(len(rest), 1+max(0, piece)%64)
			err = j.Feed(bytes.Clone(rest[:n]), 0, take)
			rest = rest[n:]
		}
		_, want := r.Next()
		if err == nil != (errors.Is(want, io.EOF) || errors.Is(want, io.ErrUnexpectedEOF)) || err != nil && err.Error() != want.Error() {
			t.Fatalf("Joiner: %v; Reader: %v", err, want)
		}
		if err == nil && errors.Is(want, io.EOF) && j.partial != nil {
			t.Fatalf("%d bytes are kept of whole packets", len(j.partial))
		}
	})
}

// repeat gives the same packet for ever.
type repeat struct {
	b  []byte
	at int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.at:])
	r.at = (r.at + n) % len(r.b)
	return n, nil
}

func TestReadingDoesNotAllocate(t *testing.T) {
	r := NewReader(&repeat{b: mqtt.AppendPublish(nil, "$iothub/twin/PATCH/properties/reported/?$rid=1", []byte(`{"connectivity":{"type":"cellular"}}`), 1,
		false, false, 3)})
	var m mqtt.Publish
	if n := testing.AllocsPerRun(1000, func() {
		p, err := r.Next()
		if err == nil {
			err = mqtt.DecodePublish(p, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	r := NewReader(&repeat{b: mqtt.AppendPublish(nil, "$iothub/twin/PATCH/properties/reported/?$rid=1", []byte(`{"connectivity":{"type":"cellular"}}`), 1,
		false, false, 3)})
	var m mqtt.Publish
	b.ReportAllocs()
	for b.Loop() {
		p, err := r.Next()
		if err == nil {
			err = mqtt.DecodePublish(p, &m)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
