package linktest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/eclipse/paho.golang/packets"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// model is a target that keeps a session, as the standards have it, and holds a client to what it owes.
type model struct {
	t         *testing.T
	delivered []int           // message by message, when it was first handed on
	released  map[uint16]bool // false for one with QoS 2 whose PUBREL is missing
	most      int             // its Receive Maximum
	open      map[uint16]bool // of this connection, what has no last acknowledgement yet
	owed      [][]byte        // acknowledgements that it has yet to send
}

// takes acts on a packet.
func (x *model) takes(text string) {
	var id uint16
	var qos byte
	var n int
	ack := func(kind mqtt.Type) { x.owed = append(x.owed, mqtt.AppendAck(nil, kind, id)) }
	if _, err := fmt.Sscanf(text, "PUBREL %d", &id); err == nil {
		delete(x.released, id)
		ack(mqtt.PUBCOMP)
		return
	}
	if _, err := fmt.Sscanf(text, "PUBLISH %d qos %d a: %d", &id, &qos, &n); err != nil {
		x.t.Errorf("the target got %s", text)
		return
	}
	if x.open[id] = true; len(x.open) > x.most {
		x.t.Errorf("%d are under way; at most %d may be", len(x.open), x.most)
	}
	_, had := x.released[id]
	if qos == 2 {
		x.released[id] = false
		ack(mqtt.PUBREC)
	} else {
		ack(mqtt.PUBACK)
	}
	if qos == 2 && had {
		return
	}
	switch last := len(x.delivered); {
	case n == last:
		x.delivered = append(x.delivered, 1)
	case n > last:
		x.t.Errorf("message %d came before message %d", n, last)
	case qos == 2:
		x.t.Errorf("message %d came twice", n)
	}
}

// anyOrder publishes, takes, acknowledges and cuts in any order: at the end each message has arrived, those with QoS 2 once, in the
// order in which they were sent, and who sent it was told so once.
func (s *Suite) anyOrder(t *testing.T, x *client) {
	for seed := range uint64(100) {
		s.schedule(t, &client{suite: s, version: x.version}, rand.New(rand.NewPCG(seed, 16)))
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func (s *Suite) schedule(t *testing.T, x *client, chance *rand.Rand) {
	m := &model{t: t, released: map[uint16]bool{}}
	var p *peer
	var c *connection
	var came chan string
	connect := func() {
		m.most, m.open, m.owed = 65_535, map[uint16]bool{}, nil
		var says *packets.Properties
		if x.version == link.V5 && chance.IntN(4) > 0 {
			m.most = 1 + chance.IntN(3)
			says = &packets.Properties{ReceiveMaximum: of(uint16(m.most))}
		}
		p, c = x.connects(t, c != nil, says)
		came = make(chan string, 1000)
		go func(p *peer, came chan<- string) {
			for text := p.next(); text != "EOF"; text = p.next() {
				came <- text
			}
		}(p, came)
	}
	answer := func() {
		a := m.owed[0]
		m.owed = m.owed[1:]
		if kind := mqtt.Type(a[0] >> 4); kind != mqtt.PUBREC {
			delete(m.open, uint16(a[2])<<8|uint16(a[3]))
		}
		p.send(t, a)
	}
	connect()
	var told []chan error
	for range 60 {
		synctest.Wait()
		switch chance.IntN(10) {
		case 0, 1, 2, 3:
			told = append(told, c.publishing(link.Message{Topic: "a", QoS: 1 + byte(chance.IntN(2)), Payload: fmt.Appendf(nil, "%d", len(told))}))
		case 4, 5, 6:
			if len(came) > 0 {
				m.takes(<-came)
			}
		case 7, 8:
			if len(m.owed) > 0 {
				answer()
			}
		case 9:
			if chance.IntN(2) == 0 {
				c.Conn.Abort()
				<-c.served
				p.nc.Close()
			} else {
				p.lose(c)
			}
			connect()
		}
	}
	for synctest.Wait(); len(came)+len(m.owed) > 0; synctest.Wait() {
		if len(came) > 0 {
			m.takes(<-came)
		} else {
			answer()
		}
	}
	for i, done := range told {
		if len(done) != 1 {
			t.Errorf("message %d was told %d times", i, len(done))
		} else if err := <-done; err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if len(m.delivered) != len(told) {
		t.Errorf("%d of %d messages arrived", len(m.delivered), len(told))
	}
	p.lose(c)
}
