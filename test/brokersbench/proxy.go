//go:build integration

package brokersbench

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// message is one that a publisher sent with QoS 1; acked is zero while nobody has acknowledged it.
type message struct{ sent, acked time.Time }

// proxy stands before a broker and notes when each message came, and when its acknowledgement. Packets are read by a codec that none
// of this project wrote.
type proxy struct {
	listener net.Listener
	broker   string
	running  sync.WaitGroup

	mu          sync.Mutex
	connections [][]*message
	open        []net.Conn
}

func newProxy(t *testing.T, broker string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, broker: broker}
	p.running.Go(p.accept)
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// close ends all connections, waits for them and gives the messages of each.
func (p *proxy) close() [][]*message {
	p.listener.Close()
	p.mu.Lock()
	for _, c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
	return p.connections
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.broker)
		if err != nil {
			client.Close()
			continue
		}
		c := &connection{waiting: make(map[uint16]*message)}
		p.mu.Lock()
		p.open = append(p.open, client, server)
		p.mu.Unlock()
		p.running.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { relay(server, client, c.published) })
			both.Go(func() { relay(client, server, c.acknowledged) })
			both.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.connections = append(p.connections, c.messages)
		})
	}
}

// relay passes packets on until either side ends, and then ends both.
func relay(to, from net.Conn, seen func(packets.ControlPacket, time.Time)) {
	defer to.Close()
	defer from.Close()
	for {
		packet, err := packets.ReadPacket(from)
		if err != nil {
			return
		}
		seen(packet, time.Now())
		if err := packet.Write(to); err != nil && !errors.Is(err, io.EOF) {
			return
		}
	}
}

// connection is one publisher's.
type connection struct {
	mu       sync.Mutex
	messages []*message
	waiting  map[uint16]*message
}

func (c *connection) published(packet packets.ControlPacket, at time.Time) {
	if x, ok := packet.(*packets.PublishPacket); ok && x.Qos == 1 {
		c.mu.Lock()
		defer c.mu.Unlock()
		m := &message{sent: at}
		c.messages = append(c.messages, m)
		c.waiting[x.MessageID] = m
	}
}

func (c *connection) acknowledged(packet packets.ControlPacket, at time.Time) {
	if x, ok := packet.(*packets.PubackPacket); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		if m := c.waiting[x.MessageID]; m != nil {
			m.acked = at
			delete(c.waiting, x.MessageID)
		}
	}
}

// truth is the latencies of a run, in order, and how many of them are of messages that were left out: a publisher that waits for its
// acknowledgement sends nothing while the broker stands still. What its own pace, the median gap between two messages, would have
// sent meanwhile counts from when it would have been due.
func truth(connections [][]*message) (all []time.Duration, leftOut int) {
	for _, messages := range connections {
		var gaps []time.Duration
		for i := 1; i < len(messages); i++ {
			gaps = append(gaps, messages[i].sent.Sub(messages[i-1].sent))
		}
		slices.Sort(gaps)
		for i, m := range messages {
			if m.acked.IsZero() {
				continue
			}
			all = append(all, m.acked.Sub(m.sent))
			if i+1 == len(messages) {
				continue
			}
			pace, next := gaps[len(gaps)/2], messages[i+1].sent
			for due := m.sent.Add(pace); pace > 0 && due.Before(m.acked) && next.Sub(due) > pace/2; due = due.Add(pace) {
				all = append(all, m.acked.Sub(due))
				leftOut++
			}
		}
	}
	slices.Sort(all)
	return all, leftOut
}
