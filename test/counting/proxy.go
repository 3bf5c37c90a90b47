package counting

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"sync"
	"time"
)

// Fate is what becomes of a copy on its way to a subscriber.
type Fate uint8

// The fates.
const (
	Pass  Fate = iota
	Lose       // the subscriber never gets it; the broker is told that it did
	Twice      // it comes twice
	Swap       // it comes behind the next of its publisher's, or when the proxy is told to Release
)

// Copy is one that a broker sends to a subscriber.
type Copy struct {
	Client string // the subscriber
	Mark   Mark   // which message it is
	QoS    byte
}

// Proxy stands between devices and a broker.
type Proxy struct {
	*Wire
	target   string
	listener net.Listener
	running  sync.WaitGroup
	over     context.Context
	end      context.CancelFunc

	mu     sync.Mutex // protects the following fields
	pipes  map[*pipe]bool
	fate   func(Copy) Fate
	keeps  func(Mark) bool // of whose acknowledgement the publisher hears nothing
	frozen time.Time       // what the broker says waits until then
	closed time.Time       // devices are not let in until then
	barred func(client string) bool
}

// pipe is a connection through the proxy.
type pipe struct {
	proxy          *Proxy
	client, server side
	version        byte
	id             string // of the client; set by CONNECT

	mu        sync.Mutex // protects the following fields
	held      map[string][]byte
	surplus   map[uint16]int  // acknowledgements of copies that the broker did not send
	swallowed map[uint16]bool // ids of QoS 2 whose PUBLISH the subscriber never got
}

// side is one end of it, to which several may write.
type side struct {
	net.Conn
	mu *sync.Mutex
}

func (s side) send(raw []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.Write(raw)
	return err
}

// NewProxy begins to pass connections on to a target. It ends with Close.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Wire: newWire(), target: target, listener: l, pipes: make(map[*pipe]bool)}
	p.over, p.end = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends all connections and waits for their end.
func (p *Proxy) Close() {
	p.end()
	p.listener.Close()
	p.Cut(nil)
	p.running.Wait()
}

// Fates says what becomes of each copy; nil lets all pass.
func (p *Proxy) Fates(fate func(Copy) Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fate = fate
}

// Withhold says of which messages the broker's acknowledgement (QoS 1) does not reach the publisher.
func (p *Proxy) Withhold(which func(Mark) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keeps = which
}

// withholds reports whether a packet is such an acknowledgement.
func (p *Proxy) withholds(x *pipe, a packet) bool {
	p.mu.Lock()
	which := p.keeps
	p.mu.Unlock()
	if which == nil || a.kind != puback {
		return false
	}
	m, ok := p.awaits(x.name(), a.id)
	return ok && which(m)
}

// Freeze holds back what the broker says for a while.
func (p *Proxy) Freeze(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = time.Now().Add(d)
}

// Shut cuts the connections of clients, and lets these not in for a while; nil is all.
func (p *Proxy) Shut(which func(client string) bool, d time.Duration) {
	p.mu.Lock()
	p.closed, p.barred = time.Now().Add(d), which
	p.mu.Unlock()
	p.Cut(which)
}

// bars reports whether a client is not let in now.
func (p *Proxy) bars(client string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.closed) && (p.barred == nil || p.barred(client))
}

// Cut ends the connections of clients without a word; nil ends all. It returns how many.
func (p *Proxy) Cut(which func(client string) bool) (n int) {
	for _, x := range p.all() {
		if which == nil || which(x.name()) {
			x.close()
			n++
		}
	}
	return n
}

// Release sends what waits to be swapped and has nobody to swap with.
func (p *Proxy) Release() {
	for _, x := range p.all() {
		x.mu.Lock()
		held := x.held
		x.held = make(map[string][]byte)
		x.mu.Unlock()
		for _, raw := range held {
			x.deliver(raw)
		}
	}
}

func (p *Proxy) all() (all []*pipe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := range p.pipes {
		all = append(all, x)
	}
	return all
}

func (p *Proxy) accept() {
	for {
		nc, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(nc) })
	}
}

func (p *Proxy) serve(nc net.Conn) {
	defer nc.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	x := &pipe{
		proxy: p, client: side{nc, new(sync.Mutex)}, server: side{server, new(sync.Mutex)},
		held: make(map[string][]byte), surplus: make(map[uint16]int), swallowed: make(map[uint16]bool),
	}
	p.mu.Lock()
	p.pipes[x] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pipes, x)
		p.mu.Unlock()
	}()
	if p.over.Err() != nil { // Close has cut all others
		return
	}
	in := bufio.NewReader(nc)
	if x.version, err = version(in); err != nil {
		return
	}
	var down sync.WaitGroup
	down.Go(func() {
		x.down(bufio.NewReader(server))
		x.close()
	})
	x.up(in)
	x.close()
	down.Wait()
	p.ended(x, time.Now())
}

// close ends both sides.
func (x *pipe) close() {
	x.client.Close()
	x.server.Close()
}

func (x *pipe) name() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.id
}

// wait waits while the proxy is frozen.
func (x *pipe) wait() {
	x.proxy.mu.Lock()
	d := time.Until(x.proxy.frozen)
	x.proxy.mu.Unlock()
	if d > 0 {
		select {
		case <-time.After(d):
		case <-x.proxy.over.Done():
		}
	}
}

// aliases are the topics that a device has given numbers.
type aliases map[uint16]string

// resolve gives a message its topic.
func (a aliases) resolve(p packet) packet {
	switch {
	case p.alias == 0:
	case p.topic == "":
		p.topic = a[p.alias]
	default:
		a[p.alias] = p.topic
	}
	return p
}

// up passes on what a device sends.
func (x *pipe) up(in *bufio.Reader) {
	topics := make(aliases)
	for {
		p, err := read(in, x.version)
		if err != nil {
			return
		}
		switch p.kind {
		case connect:
			x.mu.Lock()
			x.id = p.client
			x.mu.Unlock()
			if x.proxy.bars(p.client) {
				return
			}
			x.proxy.connecting(p)
		case subscribe:
			x.proxy.subscribing(x.id, p.id, p.filters)
		case publish:
			x.proxy.sent(x.id, topics.resolve(p), time.Now())
		case puback, pubrec:
			x.proxy.took(x, p.id)
			if x.takes(p.id) {
				continue
			}
		}
		if x.server.send(p.raw) != nil {
			return
		}
	}
}

// takes reports whether an acknowledgement is of a copy that the broker did not send.
func (x *pipe) takes(id uint16) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.surplus[id] == 0 {
		return false
	}
	x.surplus[id]--
	return true
}

// down passes on what the broker says.
func (x *pipe) down(in *bufio.Reader) {
	for {
		p, err := read(in, x.version)
		if err != nil {
			return
		}
		x.wait()
		switch p.kind {
		case publish:
			if x.publish(p) != nil {
				return
			}
			continue
		case pubrel:
			x.mu.Lock()
			own := x.swallowed[p.id]
			delete(x.swallowed, p.id)
			x.mu.Unlock()
			if own {
				if x.server.send(answer(pubcomp, p.id)) != nil {
					return
				}
				continue
			}
			x.proxy.released(x.name(), p.id)
		}
		if x.proxy.withholds(x, p) {
			continue
		}
		x.proxy.answered(x, p, time.Now())
		if x.client.send(p.raw) != nil {
			return
		}
	}
}

// publish does with a copy what is its fate.
func (x *pipe) publish(p packet) error {
	m, ok := ParseMark(p.mark)
	if p.retain || !ok && p.about == "" {
		return x.client.send(p.raw)
	}
	x.proxy.mu.Lock()
	fate := x.proxy.fate
	x.proxy.mu.Unlock()
	what := Pass
	if fate != nil {
		what = fate(Copy{x.name(), m, p.qos})
	}
	switch {
	case what == Lose && p.qos == 2:
		x.mu.Lock()
		x.swallowed[p.id] = true
		x.mu.Unlock()
		return x.server.send(answer(pubrec, p.id))
	case what == Lose && p.qos == 1:
		return x.server.send(answer(puback, p.id))
	case what == Lose:
		return nil
	}
	from := m.Publisher()
	x.mu.Lock()
	held, waits := x.held[from]
	delete(x.held, from)
	if what == Swap && !waits {
		x.held[from] = p.raw
		x.mu.Unlock()
		return nil
	}
	x.mu.Unlock()
	if what == Twice {
		if p.qos > 0 {
			x.mu.Lock()
			x.surplus[p.id]++
			x.mu.Unlock()
		}
		if err := x.deliver(p.raw); err != nil {
			return err
		}
	}
	if err := x.deliver(p.raw); err != nil || !waits {
		return err
	}
	return x.deliver(held)
}

// deliver sends a copy, and notes that it came.
func (x *pipe) deliver(raw []byte) error {
	p, err := read(bufio.NewReader(bytes.NewReader(raw)), x.version)
	if err != nil {
		return err
	}
	x.client.mu.Lock() // what is noted comes in the order in which it is sent
	defer x.client.mu.Unlock()
	undo := x.proxy.came(x, p, time.Now())
	if _, err := x.client.Write(raw); err != nil {
		undo()
		return err
	}
	return nil
}
