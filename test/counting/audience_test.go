//go:build integration

package counting

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/twinfleet/twinfleet/internal/audience"
	"github.com/twinfleet/twinfleet/test/rig"
)

// device speaks MQTT 5 by hand.
type device struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, addr, id string) *device {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	d := &device{t, nc, bufio.NewReader(nc)}
	d.send(&packets.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, ClientID: id, CleanStart: true, KeepAlive: 60, Properties: &packets.Properties{}})
	d.read(packets.CONNACK)
	return d
}

func (d *device) send(p packets.Packet) {
	d.t.Helper()
	if _, err := p.WriteTo(d); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) read(kind byte) packets.Packet {
	d.t.Helper()
	for {
		c, err := packets.ReadPacket(d.in)
		if err != nil {
			d.t.Fatal(err)
		}
		if c.Type == kind {
			return c.Content
		}
	}
}

func (d *device) subscribe(id uint16, noLocal bool, filters ...string) {
	s := &packets.Subscribe{PacketID: id, Properties: &packets.Properties{}}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, packets.SubOptions{Topic: f, NoLocal: noLocal && !strings.HasPrefix(f, "$share/")})
	}
	d.send(s)
	t := d.read(packets.SUBACK).(*packets.Suback)
	for i, reason := range t.Reasons {
		if reason >= 0x80 {
			d.t.Fatalf("%s: refused with %#x", filters[i], reason)
		}
	}
}

func (d *device) publish(topic, mark string) {
	d.send(&packets.Publish{Topic: topic, Payload: []byte("21.3"), Properties: &packets.Properties{User: []packets.User{{Key: "_delivery", Value: mark}}}})
}

// Mosquitto sends what is published to the audience that is reckoned, and the account of the wire says so too: filters that overlap, shared groups,
// subscribers that do not get what they send themselves.
func TestAudienceIsThatOfMosquitto(t *testing.T) {
	t.Parallel()
	addr := rig.Mosquitto(t, "log_type none")
	level := []string{"a", "b", "", "+", "+", "$a"}
	for round := range 20 {
		p := between(t, addr)
		r := rand.New(rand.NewPCG(uint64(round), 16))
		var all []audience.Subscriber
		var devices []*device
		for i := range 5 {
			s := audience.Subscriber{Index: i, NoLocal: r.IntN(2) == 0}
			for range 1 + r.IntN(4) {
				levels := make([]string, 1+r.IntN(3))
				for j := range levels {
					levels[j] = level[r.IntN(len(level))]
				}
				if r.IntN(3) == 0 {
					levels = append(levels, "#")
				}
				f := strings.Join(levels, "/")
				if f == "" {
					f = "+"
				}
				if r.IntN(4) == 0 && f[0] != '$' { // Mosquitto 2.0 shares no subscriptions of such topics
					f = fmt.Sprintf("$share/g%d/%s", r.IntN(2), f)
				}
				s.Filters = append(s.Filters, f)
			}
			d := dial(t, p.Addr(), fmt.Sprintf("device-%d", i))
			d.subscribe(1, s.NoLocal, s.Filters...)
			d.subscribe(2, false, "$all/is/said")
			all, devices = append(all, s), append(devices, d)
		}
		x := audience.New(all)
		topics, due := []string{}, 0
		for turn := range 30 {
			levels := make([]string, 1+r.IntN(3))
			for j := range levels {
				levels[j] = []string{"a", "b", "", "$a", "c"}[r.IntN(5)]
			}
			topic := strings.Join(levels, "/")
			if topic == "" {
				topic = "a"
			}
			topics = append(topics, topic)
			due += x.Of(topic, turn%len(devices)).Slots()
		}
		from := make(map[string]int)
		for turn, topic := range topics {
			i := turn % len(devices)
			devices[i].publish(topic, fmt.Sprintf("r-%d.1-%d", i, turn))
			from[fmt.Sprintf("r-%d.1-%d", i, turn)] = turn
		}
		for _, d := range devices {
			d.publish("$all/is/said", "")
		}
		got := make([]map[int]int, len(topics)) // by turn and device: copies
		for i := range got {
			got[i] = make(map[int]int)
		}
		for i, d := range devices {
			for left := len(devices); left > 0; {
				m := d.read(packets.PUBLISH).(*packets.Publish)
				mark := m.Properties.User[0].Value
				if mark == "" {
					left--
					continue
				}
				got[from[mark]][i]++
			}
		}
		for turn, topic := range topics {
			a := x.Of(topic, turn%len(devices))
			copies, most := 0, len(a.Groups)
			for i, n := range got[turn] {
				copies += n
				if !a.Has(i) {
					t.Errorf("round %d: %d got %s, which %v do not match", round, i, topic, all[i].Filters)
				}
			}
			for _, o := range a.Own {
				most += o.Copies
				if got[turn][o.Subscriber] == 0 {
					t.Errorf("round %d: %d did not get %s of %d, which %v match", round, o.Subscriber, topic, turn%len(devices), all[o.Subscriber].Filters)
				}
			}
			if copies < a.Slots() || copies > most {
				t.Errorf("round %d: %d copies of %s; want %d to %d: %v", round, copies, topic, a.Slots(), most, all)
			}
		}
		account := p.Judge(Judging{Publishers: func(string) bool { return true }, Timeout: time.Minute})
		if account.Due() != due || account.InTime+account.Edge != due || account.Duplicates+account.Strange > 0 {
			t.Errorf("round %d: %+v; want %d in time", round, account, due)
		}
		p.Close()
	}
}
