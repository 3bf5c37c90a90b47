package fleet

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/book"
)

// A subscriber whose session is kept is there without a connection but for messages with QoS 0.
func TestWhatIsKeptForASubscriberThatIsAway(t *testing.T) {
	for _, c := range []struct {
		name            string
		subscribed, qos byte
		there           bool
	}{
		{"kept", 1, 1, true},
		{"QoS 0 is not", 1, 0, false},
		{"nor what is granted with QoS 0", 0, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, now := new(Fleet), time.Now()
			session, l := new(ear), new(line)
			l.grants(c.subscribed)
			session.turns(true, now.Add(-time.Hour))
			l.turns(true, now.Add(-time.Hour))
			l.turns(false, now.Add(-time.Minute))
			f.ears.Store(7, session)
			f.lines.Store(7, l)
			message := passing{sent: now.Add(-time.Second), timeout: time.Second}
			if got := f.listening(7, c.qos); got != c.there {
				t.Errorf("there: %v; want %v", got, c.there)
			}
			if got := f.presence(7, c.qos, message) == book.There; got != c.there {
				t.Errorf("it was there throughout: %v; want %v", got, c.there)
			}
		})
	}
}
