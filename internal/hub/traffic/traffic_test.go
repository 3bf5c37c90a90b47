package traffic

import (
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func TestNobodyLooks(t *testing.T) {
	var tap Tap
	if tap.On() {
		t.Error("a new tap is on")
	}
	body := []byte("{}")
	if n := testing.AllocsPerRun(100, func() { tap.Publish(Event{Kind: Report, ID: "d"}, body) }); n != 0 {
		t.Errorf("publishing costs %v allocations while nobody looks", n)
	}
	s, err := tap.Subscribe("")
	if err != nil || !tap.On() {
		t.Fatalf("On = %t, %v", tap.On(), err)
	}
	s.Close()
	if tap.On() {
		t.Error("the tap is on when the last has gone")
	}
}

// Of what comes too fast a part is shown and all is counted, and a flood of one kind hides no other kind.
func TestFloodIsSampled(t *testing.T) {
	var tap Tap
	s, err := tap.Subscribe("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				tap.Publish(Event{Kind: Telemetry, ID: "d"}, []byte("x"))
			}
		})
	}
	wg.Wait()
	tap.Publish(Event{Kind: Method, ID: "d", Text: "reboot"}, nil)
	<-s.Ready()
	b := s.Take()
	if b.Counts[Telemetry] != 4000 || b.Counts[Method] != 1 || len(b.Events) != perKind+1 || b.LeftOut() != 4000-perKind {
		t.Errorf("counts %v, %d events, %d left out", b.Counts, len(b.Events), b.LeftOut())
	}
	if last := b.Events[len(b.Events)-1]; last.Text != "reboot" || last.At.IsZero() {
		t.Errorf("the last event is %+v", last)
	}
	if b := s.Take(); len(b.Events) != 0 || len(b.Counts) != 0 {
		t.Errorf("a second Take gives %+v", b)
	}
	tap.Publish(Event{Kind: Telemetry, ID: "d"}, nil)
	if b := s.Take(); len(b.Events) != 1 {
		t.Errorf("after a Take %d events are shown; want 1", len(b.Events))
	}
}

func TestOneDevice(t *testing.T) {
	var tap Tap
	s, err := tap.Subscribe("a")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, id := range []string{"a", "ab", "a/m", "b", ""} {
		tap.Publish(Event{ID: id}, nil)
	}
	var got []string
	for _, e := range s.Take().Events {
		got = append(got, e.ID)
	}
	if strings.Join(got, " ") != "a a/m" {
		t.Errorf("events of %q", got)
	}
}

func TestBounds(t *testing.T) {
	var tap Tap
	var all []*Subscription
	for range most {
		s, err := tap.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if _, err := tap.Subscribe(""); err != ErrBusy {
		t.Errorf("one too many: %v", err)
	}
	tap.Publish(Event{}, []byte(strings.Repeat("ü", 1000)))
	e := all[0].Take().Events[0]
	if len(e.Body) > MaxBody || !utf8.ValidString(e.Body) || e.Size != 2000 {
		t.Errorf("%d bytes of a body of %d, valid %t", len(e.Body), e.Size, utf8.ValidString(e.Body))
	}
	tap.Publish(Event{}, append(make([]byte, MaxBody-1), "üü"...))
	if e := all[0].Take().Events[0]; len(e.Body) != MaxBody-1 {
		t.Errorf("half a character is shown: %d bytes", len(e.Body))
	}
	for _, s := range all {
		s.Close()
	}
	for _, k := range Kinds() {
		if k.String() == "" || k.String() == "unknown" {
			t.Errorf("kind %d has no name", k)
		}
	}
}
