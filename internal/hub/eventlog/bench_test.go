package eventlog_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

// What a message costs that nobody reads, which is every message of most runs.
func BenchmarkOff(b *testing.B) {
	l := open(b, eventlog.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if l.On() {
			b.Fatal("it is on")
		}
	}
}

// What a message of 600 bytes costs while two read.
func BenchmarkOn(b *testing.B) {
	l := open(b, eventlog.Options{Partitions: 1})
	payload := make([]byte, 600)
	encode := func(dst []byte, _ eventlog.Position) []byte { return append(dst, payload...) }
	var readers [2]*eventlog.Reader
	for i := range readers {
		readers[i] = reader(b, l, 0, eventlog.Start(), func() {})
	}
	var got []eventlog.Event
	b.ReportAllocs()
	for b.Loop() {
		l.Append("dev-1", len(payload), encode)
		for _, r := range readers {
			got = r.Take(got[:0], 10)
		}
	}
	if len(got) != 1 {
		b.Error("nobody read it")
	}
}
