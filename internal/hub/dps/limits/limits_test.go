package limits

import (
	"errors"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Limits{
		"":                                 {},
		"azure":                            {1000, 1000, 1000, 5},
		"registrations=60":                 {Registrations: 60},
		"polls=7,service=8,device-polls=9": {0, 7, 8, 9},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"aws", "registrations", "registrations=", "registrations=0", "registrations=-1", "registrations=1.5", "x=1", "polls=1,", " azure"} {
		if got, err := Parse(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q is %+v, %v; want ErrMalformed", text, got, err)
		}
	}
}

// So many pass at once after a quiet time, then one for each share of the time; the others are told when.
func TestLimiter(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	l := New(6, time.Minute, start)
	for i := range 6 {
		if _, ok := l.Take(start); !ok {
			t.Fatalf("number %d does not pass", i)
		}
	}
	wait, ok := l.Take(start)
	if ok || wait < 9*time.Second || wait > 10*time.Second+time.Millisecond {
		t.Fatalf("the seventh: %v, %v; want to wait 10 s", wait, ok)
	}
	if _, ok := l.Take(start.Add(wait)); !ok {
		t.Error("who waited is refused")
	}
	var none *Limiter
	if _, ok := none.Take(start); !ok || New(0, time.Minute, start) != nil {
		t.Error("no limit refuses")
	}
}
