package soak

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// sent is one operation as it went over the wire. What was never answered has no end.
type sent struct {
	op     string
	at     time.Time
	end    time.Time
	status int  // of a twin response; 0 for an acknowledgement
	cut    bool // the connection ended before the answer
}

// wire is a proxy before a target. It counts what devices send and what they are answered, and misbehaves on demand.
type wire struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex // protects the following fields
	all     []*sent
	conns   map[*pipe]bool
	stalled time.Time // answers wait until then
	refuse  time.Time // connections are closed at once until then
	deaf    time.Time // connections are taken and nothing is read until then
	swallow float64   // share of answers that are lost
	lost    float64   // what has accumulated of it
}

// pipe is one connection through the proxy.
type pipe struct {
	wire           *wire
	client, server net.Conn
	over           atomic.Int64     // when a side was gone, in Unix nanoseconds; 0 before
	mu             sync.Mutex       // protects open
	open           map[string]*sent // by kind and id
}

func newWire(target string) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	w := &wire{target: target, listener: l, conns: make(map[*pipe]bool)}
	w.running.Go(w.accept)
	return w, nil
}

func (w *wire) addr() string { return w.listener.Addr().String() }

// close ends all connections and waits for the proxy's end.
func (w *wire) close() {
	w.listener.Close()
	w.cut()
	w.running.Wait()
}

func (w *wire) accept() {
	for {
		nc, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.running.Go(func() { w.serve(nc) })
	}
}

// set changes how the proxy behaves.
func (w *wire) set(change func(w *wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// cut ends all connections of devices without a word.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.conns {
		p.gone()
		p.client.Close()
		p.server.Close()
	}
}

// serve is one connection: its first byte tells MQTT from REST, which passes as it is.
func (w *wire) serve(client net.Conn) {
	defer client.Close()
	in := bufio.NewReader(client)
	first, err := in.Peek(1)
	if err != nil {
		return
	}
	mqtt := first[0] == 0x10
	w.mu.Lock()
	refused, deaf := time.Now().Before(w.refuse), time.Until(w.deaf)
	w.mu.Unlock()
	p := &pipe{wire: w, client: client, open: make(map[string]*sent)}
	if mqtt && (refused || deaf > 0) {
		// CONNECT has been sent, and is never answered.
		if packet, err := packets.ReadPacket(in); err == nil {
			p.begin(packet)
		}
		if !refused {
			time.Sleep(deaf)
		}
		p.end()
		return
	}
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		if mqtt {
			if packet, err := packets.ReadPacket(in); err == nil {
				p.begin(packet)
			}
			p.end()
		}
		return
	}
	defer server.Close()
	p.server = server
	if !mqtt {
		w.running.Go(func() {
			_, _ = io.Copy(client, server)
			client.Close()
		})
		_, _ = io.Copy(server, in)
		return
	}
	w.set(func(w *wire) { w.conns[p] = true })
	defer p.end()
	defer w.set(func(w *wire) { delete(w.conns, p) })
	var back sync.WaitGroup
	back.Go(func() {
		p.answers(server)
		client.Close()
	})
	for {
		packet, err := packets.ReadPacket(in)
		if err != nil {
			break
		}
		p.begin(packet)
		if packet.Write(server) != nil {
			break
		}
	}
	p.gone()
	client.Close()
	server.Close()
	back.Wait()
}

// gone notes that one side is no longer there: what has no answer by then has none.
func (p *pipe) gone() { p.over.CompareAndSwap(0, time.Now().UnixNano()) }

// begin notes what a device sends.
func (p *pipe) begin(packet packets.ControlPacket) {
	op, id := "", ""
	switch x := packet.(type) {
	case *packets.ConnectPacket:
		op, id = "connect", "connect"
	case *packets.SubscribePacket:
		op, id = "subscribe", "s"+strconv.Itoa(int(x.MessageID))
	case *packets.PublishPacket:
		switch rid := x.TopicName[strings.Index(x.TopicName, "$rid=")+len("$rid="):]; {
		case strings.HasPrefix(x.TopicName, "$iothub/twin/PATCH/"):
			op, id = "twin_report", "r"+rid
		case strings.HasPrefix(x.TopicName, "$iothub/twin/GET/"):
			op, id = "twin_get", "r"+rid
		case x.Qos == 1:
			op, id = "telemetry", "p"+strconv.Itoa(int(x.MessageID))
		}
	}
	if op == "" {
		return
	}
	s := &sent{op: op, at: time.Now()}
	p.wire.set(func(w *wire) { w.all = append(w.all, s) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[id] = s
}

// answers hands on what the target says, as late as the proxy is told to, or not at all.
func (p *pipe) answers(server net.Conn) {
	in := bufio.NewReader(server)
	for {
		packet, err := packets.ReadPacket(in)
		if err != nil {
			return
		}
		id, status, late := "", 0, false
		switch x := packet.(type) {
		case *packets.ConnackPacket:
			id, status = "connect", int(x.ReturnCode)
		case *packets.SubackPacket:
			id = "s" + strconv.Itoa(int(x.MessageID))
		case *packets.PubackPacket:
			id = "p" + strconv.Itoa(int(x.MessageID))
			late = true
		case *packets.PublishPacket:
			if rest, ok := strings.CutPrefix(x.TopicName, "$iothub/twin/res/"); ok {
				code, query, _ := strings.Cut(rest, "/?")
				status, _ = strconv.Atoi(code)
				for _, part := range strings.Split(query, "&") {
					if rid, ok := strings.CutPrefix(part, "$rid="); ok {
						id, late = "r"+rid, true
					}
				}
			}
		}
		time.Sleep(p.wire.wait())
		if late && p.wire.swallows() {
			continue
		}
		at := time.Now()
		if packet.Write(p.client) != nil {
			return
		}
		p.answered(id, status, at)
	}
}

func (p *pipe) answered(id string, status int, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.open[id]; s != nil {
		delete(p.open, id)
		p.wire.set(func(*wire) { s.end, s.status = at, status })
	}
}

// end notes that the connection is over.
func (p *pipe) end() {
	p.gone()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wire.set(func(*wire) {
		for _, s := range p.open {
			s.cut, s.end = true, time.Unix(0, p.over.Load())
		}
	})
	p.open = nil
}

// wait is how long answers are held back now.
func (w *wire) wait() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(0, time.Until(w.stalled))
}

// swallows decides whether an answer is lost: evenly, so that the share is exact.
func (w *wire) swallows() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost += w.swallow
	if w.lost < 1 {
		return false
	}
	w.lost--
	return true
}
