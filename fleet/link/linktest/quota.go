package linktest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/eclipse/paho.golang/packets"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// source is a target that sends messages in a session which it keeps, and as many at once as section 4.9 of MQTT 5 lets it.
type source struct {
	t       *testing.T
	version link.Version
	most    int // the client's Receive Maximum, of this connection
	quota   int
	id      uint16
	sent    []*outgoing // in their order, without those that have ended
	count   int
}

// outgoing is a message that has not ended.
type outgoing struct {
	id       uint16
	number   int
	qos      byte
	due      bool // on this connection it was not sent yet
	released bool // its PUBREL is, or was
}

// begin is a new connection: what has not ended is sent once more (section 4.4).
func (x *source) begin(p *peer, most int) {
	x.most, x.quota = most, most
	for _, m := range x.sent {
		if m.due = !m.released; m.released {
			p.ack(x.t, mqtt.PUBREL, m.id)
		}
	}
	x.resend(p)
}

func (x *source) resend(p *peer) {
	for _, m := range x.sent {
		if m.due && x.quota > 0 {
			m.due = false
			x.write(p, m, true)
		}
	}
}

func (x *source) write(p *peer, m *outgoing, dup bool) {
	x.quota--
	payload := []byte(strconv.Itoa(m.number))
	if x.version == link.V5 {
		p.send(x.t, written(&packets.Publish{Topic: "a", QoS: m.qos, PacketID: m.id, Duplicate: dup, Payload: payload, Properties: &packets.Properties{}}))
	} else {
		p.send(x.t, mqtt.AppendPublish(nil, "a", payload, m.qos, false, dup, m.id))
	}
}

// publish sends the next message, if there is room for it.
func (x *source) publish(p *peer, qos byte) {
	if x.quota == 0 || slices.ContainsFunc(x.sent, func(m *outgoing) bool { return m.due }) {
		return
	}
	x.id++
	m := &outgoing{id: x.id, number: x.count, qos: qos}
	x.sent, x.count = append(x.sent, m), x.count+1
	x.write(p, m, false)
}

// takes acts on what the client says.
func (x *source) takes(p *peer, text string) {
	var kind string
	var id uint16
	if _, err := fmt.Sscanf(text, "%s %d", &kind, &id); err != nil {
		x.t.Fatalf("the target got %s", text)
	}
	i := slices.IndexFunc(x.sent, func(m *outgoing) bool { return m.id == id })
	switch {
	case kind == "PUBREC" && i >= 0:
		x.sent[i].released = true
		p.ack(x.t, mqtt.PUBREL, id)
	case (kind == "PUBACK" || kind == "PUBCOMP") && i >= 0:
		x.sent = slices.Delete(x.sent, i, i+1)
		x.quota = min(x.most, x.quota+1) // also for what was sent on a connection before
		x.resend(p)
	default:
		x.t.Fatalf("the target got %s", text)
	}
}

// receivesAll holds a client to what a target sends that counts as section 4.9 says: it takes all of it, that with QoS 2 once and in its order,
// and never says that it was too much.
func (s *Suite) receivesAll(t *testing.T, x *client) {
	for seed := range uint64(100) {
		s.receiving(t, &client{suite: s, version: x.version}, rand.New(rand.NewPCG(seed, 49)))
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func (s *Suite) receiving(t *testing.T, x *client, chance *rand.Rand) {
	m := &source{t: t, version: x.version}
	var p *peer
	var c *connection
	var came chan string
	arrived := make(map[int]int)
	connect := func() {
		most := 65_535
		if x.version == link.V5 {
			most = 1 + chance.IntN(3)
			x.receives = uint16(most)
		}
		p, c = x.connects(t, c != nil, nil)
		came = make(chan string, 1000)
		go func(p *peer, came chan<- string) {
			for text := p.next(); text != "EOF"; text = p.next() {
				came <- text
			}
		}(p, came)
		m.begin(p, most)
	}
	gone := func() {
		last := -1
		for len(c.messages) > 0 {
			got := <-c.messages
			n, err := strconv.Atoi(string(got.Payload))
			if err != nil {
				t.Error(err)
			}
			if arrived[n]++; got.QoS == 2 && (arrived[n] > 1 || n < last) {
				t.Errorf("message %d came %d times, after message %d", n, arrived[n], last)
			}
			if got.QoS == 2 {
				last = n
			}
		}
	}
	connect()
	for range 60 {
		synctest.Wait()
		switch chance.IntN(10) {
		case 0, 1, 2, 3:
			m.publish(p, 1+byte(chance.IntN(2)))
		case 4, 5, 6, 7, 8:
			if len(came) > 0 {
				m.takes(p, <-came)
			}
		case 9:
			p.lose(c)
			gone()
			connect()
		}
	}
	for synctest.Wait(); len(came) > 0; synctest.Wait() {
		m.takes(p, <-came)
	}
	p.lose(c)
	gone()
	if len(m.sent) > 0 || len(arrived) != m.count {
		t.Errorf("%d of %d messages arrived, and %d have not ended", len(arrived), m.count, len(m.sent))
	}
}
