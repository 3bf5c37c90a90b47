package hub_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// subscriber is what the hub has acknowledged of the session of one device.
type subscriber struct {
	key        string
	subscribed bool // to twin responses, as acknowledged
	asked      bool // as asked for last, which may not have been acknowledged
	changes    int
}

// run changes the session until the hub is killed; an error says what the hub did wrong. A connection that ends is no error.
func (s *subscriber) run(v *victim, id string, enough *atomic.Int64) error {
	for {
		if ended, err := s.session(v, id, s.changes%7 == 6, enough); ended || err != nil {
			return err
		}
	}
}

// session is one connection; ended says that the hub is gone.
func (s *subscriber) session(v *victim, id string, clean bool, enough *atomic.Int64) (ended bool, err error) {
	if clean {
		s.asked = false
	}
	nc, r, ok, err := v.login(id, &s.key, clean, nil)
	if !ok {
		return true, err
	}
	defer nc.Close()
	// ask sends packets and reads until the answer to the last.
	ask := func(b []byte, last mqtt.Type) (published bool, p mqtt.Packet, err error) {
		if _, err := nc.Write(b); err != nil {
			return false, p, err
		}
		for {
			if p, err = r.Next(); err != nil || p.Type == last {
				return published, p, err
			}
			published = published || p.Type == mqtt.PUBLISH
		}
	}
	_, p, err := ask(nil, mqtt.CONNACK)
	if err != nil {
		return true, nil
	}
	if present, code, err := mqtt.DecodeConnack(p.Body); err != nil || code != mqtt.Accepted || clean && present || !clean && s.subscribed && s.asked && !present {
		return true, fmt.Errorf("%s: CONNACK %d, %v, session present %t, clean %t, subscribed %t", id, code, err, present, clean, s.subscribed)
	}
	if clean {
		s.subscribed = false
		s.changes++
		enough.Add(-1)
		return false, nil
	}
	got, _, err := ask(mqtt.AppendEmpty(mqtt.AppendPublish(nil, topics.TwinGet("1"), nil, 0, false, false, 0), mqtt.PINGREQ), mqtt.PINGRESP)
	if err != nil {
		return true, nil
	}
	if got != s.subscribed && got != s.asked {
		return true, fmt.Errorf("%s: the filter is there: %t; acknowledged %t, asked for %t", id, got, s.subscribed, s.asked)
	}
	s.subscribed = got
	for range 3 {
		b, acknowledgement := mqtt.AppendSubscribe(nil, 1, mqtt.Subscription{Filter: []byte(topics.FilterTwinResponses)}), mqtt.SUBACK
		if s.subscribed {
			b, acknowledgement = mqtt.AppendUnsubscribe(nil, 1, topics.FilterTwinResponses), mqtt.UNSUBACK
		}
		s.asked = !s.subscribed
		if _, _, err := ask(b, acknowledgement); err != nil {
			return true, nil
		}
		s.subscribed = s.asked
		s.changes++
		enough.Add(-1)
	}
	return false, nil
}

// A hub with --data is killed while devices subscribe, take that back, and begin clean sessions, repeatedly: the next hub has the filters
// that were acknowledged last.
func TestKillSessions(t *testing.T) {
	dir := t.TempDir()
	var devices [killWriters]subscriber
	killRounds(t, dir, func(round int) int { return 20 + round*11%50 }, func(v *victim, i int, enough *atomic.Int64) error {
		return devices[i].run(v, fmt.Sprint("dev-", i), enough)
	})
	total := 0
	for i := range devices {
		total += devices[i].changes
	}
	if total < 15**kills {
		t.Errorf("%d changes in %d rounds: the load does not bite", total, *kills)
	}
}
