package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

// raw writes frames as it likes, and tells what comes back.
type raw struct {
	t    *testing.T
	nc   net.Conn
	rest []byte
}

func dialRaw(t *testing.T, h *hub) *raw {
	t.Helper()
	a, b := memnet.Pipe()
	h.server.Take(b)
	t.Cleanup(func() { a.Close() })
	return &raw{t: t, nc: a}
}

// write writes and goes on when the other side has closed.
func (r *raw) write(b ...byte) *raw {
	_, _ = r.nc.Write(b)
	return r
}

func (r *raw) send(channel uint16, p amqp.Performative, payload ...byte) *raw {
	return r.write(amqp.AppendFrame(nil, channel, p, payload)...)
}

// next is what comes next, in a few words; "" at the end.
func (r *raw) next() string {
	r.t.Helper()
	for {
		if text, n := describe(r.t, r.rest); n > 0 {
			r.rest = r.rest[n:]
			return text
		}
		var b [8192]byte
		n, err := r.nc.Read(b[:])
		if err != nil {
			if err != io.EOF {
				r.t.Fatalf("reading: %v", err)
			}
			return ""
		}
		r.rest = append(r.rest, b[:n]...)
	}
}

func failureOf(e *amqp.Error) string {
	if e == nil {
		return ""
	}
	return " " + e.Condition
}

func describe(t *testing.T, b []byte) (string, int) {
	t.Helper()
	if len(b) >= 8 && amqp.IsHeader(b) {
		return fmt.Sprintf("header %d", b[4]), 8
	}
	f, n, err := amqp.Cut(b, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		return "", 0
	}
	if len(f.Body) == 0 {
		return "heartbeat", n
	}
	p, err := amqp.Parse(f.Body)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	switch p.Code {
	case amqp.CodeMechanisms:
		var m amqp.Mechanisms
		check(m.Decode(p.Fields))
		return "mechanisms " + strings.Join(m.Names, ","), n
	case amqp.CodeOutcome:
		var m amqp.Outcome
		check(m.Decode(p.Fields))
		return fmt.Sprintf("outcome %d %s", m.Code, m.Additional), n
	case amqp.CodeOpen:
		return "open", n
	case amqp.CodeBegin:
		return fmt.Sprintf("begin %d", f.Channel), n
	case amqp.CodeAttach:
		var m amqp.Attach
		check(m.Decode(p.Fields))
		return fmt.Sprintf("attach %d %s %v", m.Handle, m.Name, m.HasSource || m.HasTarget), n
	case amqp.CodeFlow:
		var m amqp.Flow
		check(m.Decode(p.Fields))
		text := fmt.Sprintf("flow in=%d win=%d out=%d", m.NextIncomingID.V, m.IncomingWindow, m.NextOutgoingID)
		if m.Handle.Set {
			text += fmt.Sprintf(" handle=%d count=%d credit=%d", m.Handle.V, m.DeliveryCount.V, m.LinkCredit.V)
		}
		return text, n
	case amqp.CodeTransfer:
		var m amqp.Transfer
		check(m.Decode(p.Fields))
		return fmt.Sprintf("transfer %d id=%v tag=%d more=%v %d", m.Handle, m.DeliveryID.V, len(m.DeliveryTag), m.More, len(p.Payload)), n
	case amqp.CodeDisposition:
		var m amqp.Disposition
		check(m.Decode(p.Fields))
		return fmt.Sprintf("disposition %v %d settled=%v %v", m.Role, m.First, m.Settled, m.State.Code), n
	case amqp.CodeDetach:
		var m amqp.Detach
		check(m.Decode(p.Fields))
		return fmt.Sprintf("detach %d%s", m.Handle, failureOf(m.Error)), n
	case amqp.CodeEnd:
		var m amqp.End
		check(m.Decode(p.Fields))
		return fmt.Sprintf("end %d%s", f.Channel, failureOf(m.Error)), n
	case amqp.CodeClose:
		var m amqp.Close
		check(m.Decode(p.Fields))
		return "close" + failureOf(m.Error), n
	}
	return fmt.Sprintf("0x%02x", p.Code), n
}

func (r *raw) expect(want ...string) *raw {
	r.t.Helper()
	for _, w := range want {
		if got := r.next(); got != w {
			r.t.Fatalf("%q came; want %q", got, w)
		}
	}
	return r
}

// opened is a connection that is open, with a session on channel 3.
func (r *raw) opened() *raw {
	r.t.Helper()
	r.write(amqp.HeaderAMQP[:]...).send(0, open()).send(3, begin())
	return r.expect("header 0", "open", "begin 3")
}

func open() *amqp.Open { return &amqp.Open{ContainerID: "c", MaxFrameSize: 4096, ChannelMax: 65535} }

func begin() *amqp.Begin {
	return &amqp.Begin{NextOutgoingID: 7, IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 1<<32 - 1}
}

func attach(name string, handle uint32, role bool, address string) *amqp.Attach {
	a := &amqp.Attach{
		Name: []byte(name), Handle: handle, Role: role, SndSettleMode: amqp.ModeUnset, RcvSettleMode: amqp.ModeUnset, HasSource: true, HasTarget: true,
	}
	v := amqp.Value(amqp.AppendString(nil, address))
	if role == amqp.RoleSender {
		a.Target.Address, a.InitialDeliveryCount = v, amqp.Some(0)
	} else {
		a.Source.Address = v
	}
	return a
}

func transfer(handle, id uint32) *amqp.Transfer {
	return &amqp.Transfer{Handle: handle, DeliveryID: amqp.Some(id), DeliveryTag: []byte("t"), MessageFormat: amqp.Some(0)}
}

// sending is a connection on which a link sends to "in", with handle 5 and a credit of 100.
func (r *raw) sending() *raw {
	r.t.Helper()
	return r.opened().send(3, attach("n", 5, amqp.RoleSender, "in")).expect("attach 5 n true", "flow in=7 win=5000 out=1 handle=5 count=0 credit=100")
}

// Each mistake is answered where it was made, and what is behind it goes on: a link, a session, the connection.
func TestMistakes(t *testing.T) {
	closed := func(condition string) []string { return []string{"close " + condition, ""} }
	frame := func(body string) []byte {
		b, start := amqp.BeginFrame(nil, amqp.FrameAMQP, 3)
		return amqp.EndFrame(append(b, body...), start)
	}
	for name, tt := range map[string]struct {
		do   func(r *raw)
		want []string
	}{
		"unknown header": {func(r *raw) { r.write([]byte("AMQP\x02\x01\x00\x00")...) }, []string{"header 0", ""}},
		"version":        {func(r *raw) { r.write([]byte("AMQP\x00\x00\x09\x01")...) }, []string{"header 0", ""}},
		"frame before open": {func(r *raw) {
			r.write(amqp.HeaderAMQP[:]...).send(0, begin())
		}, []string{"header 0", "open", "close amqp:not-allowed", ""}},
		"no SASL frame": {func(r *raw) {
			r.write(amqp.HeaderSASL[:]...).send(0, open())
		}, []string{"header 3", "mechanisms MSSBCBS,ANONYMOUS,PLAIN", ""}},
		"bad PLAIN": {func(r *raw) {
			r.write(amqp.HeaderSASL[:]...).write(amqp.AppendSASL(nil, &amqp.Init{Mechanism: "PLAIN", Response: []byte("\x00a\x00b")})...)
		}, []string{"header 3", "mechanisms MSSBCBS,ANONYMOUS,PLAIN", "outcome 1 ", ""}},
		"unknown mechanism": {func(r *raw) {
			r.write(amqp.HeaderSASL[:]...).write(amqp.AppendSASL(nil, &amqp.Init{Mechanism: "EXTERNAL"})...)
		}, []string{"header 3", "mechanisms MSSBCBS,ANONYMOUS,PLAIN", "outcome 1 ", ""}},
		"tiny frames": {func(r *raw) {
			o := open()
			o.MaxFrameSize = 511
			r.write(amqp.HeaderAMQP[:]...).send(0, o)
		}, append([]string{"header 0", "open"}, closed(amqp.InvalidField)...)},
		"impatience": {func(r *raw) {
			o := open()
			o.IdleTimeOut = amqp.Some(99)
			r.write(amqp.HeaderAMQP[:]...).send(0, o)
		}, append([]string{"header 0", "open"}, closed(amqp.NotAllowed)...)},
		"no name": {func(r *raw) {
			o := open()
			o.ContainerID = ""
			r.write(amqp.HeaderAMQP[:]...).send(0, o)
		}, append([]string{"header 0", "open"}, closed(amqp.InvalidField)...)},
		"second open":       {func(r *raw) { r.opened().send(0, open()) }, closed(amqp.NotAllowed)},
		"large frame":       {func(r *raw) { r.opened().write(0, 1, 0, 1, 2, 0, 0, 0) }, closed(amqp.FramingError)},
		"small frame":       {func(r *raw) { r.opened().write(0, 0, 0, 7, 2, 0, 0, 0) }, closed(amqp.DecodeError)},
		"SASL frame":        {func(r *raw) { r.opened().write(0, 0, 0, 8, 2, 1, 0, 0) }, closed(amqp.DecodeError)},
		"no performative":   {func(r *raw) { r.opened().write(frame("\x43")...) }, closed(amqp.DecodeError)},
		"unknown one":       {func(r *raw) { r.opened().write(frame("\x00\x53\x19\x45")...) }, closed(amqp.DecodeError)},
		"short list":        {func(r *raw) { r.opened().write(frame("\x00\x53\x12\x45")...) }, closed(amqp.DecodeError)},
		"long list":         {func(r *raw) { r.opened().write(frame("\x00\x53\x17\xc0\x03\x02\x40\x40")...) }, closed(amqp.DecodeError)},
		"cut value":         {func(r *raw) { r.opened().write(frame("\x00\x53\x13\xc0\x09")...) }, closed(amqp.DecodeError)},
		"deep value":        {func(r *raw) { r.opened().write(frame(strings.Repeat("\x00", 5000))...) }, closed(amqp.DecodeError)},
		"unknown channel":   {func(r *raw) { r.opened().send(4, &amqp.End{}) }, closed(amqp.NotAllowed)},
		"channel in use":    {func(r *raw) { r.opened().send(3, begin()) }, closed(amqp.NotAllowed)},
		"channel too high":  {func(r *raw) { r.opened().send(8192, begin()) }, closed(amqp.FramingError)},
		"answer to nothing": {func(r *raw) { r.opened().send(4, &amqp.Begin{HasRemote: true}) }, closed(amqp.NotAllowed)},
		"handle too high":   {func(r *raw) { r.opened().send(3, attach("n", 262144, false, "in")) }, closed(amqp.FramingError)},
		"handle in use": {
			func(r *raw) { r.sending().send(3, attach("m", 5, false, "in")) },
			[]string{"end 3 amqp:session:handle-in-use"},
		},
		"no link name":   {func(r *raw) { r.opened().send(3, attach("", 5, false, "in")) }, []string{"end 3 amqp:invalid-field"}},
		"unknown handle": {func(r *raw) { r.opened().send(3, transfer(5, 0)) }, []string{"end 3 amqp:session:unattached-handle"}},
		"unknown detach": {func(r *raw) { r.opened().send(3, &amqp.Detach{Handle: 1}) }, []string{"end 3 amqp:session:unattached-handle"}},
		"unknown flow":   {func(r *raw) { r.opened().send(3, &amqp.Flow{Handle: amqp.Some(1)}) }, []string{"end 3 amqp:session:unattached-handle"}},
		"wrong range":    {func(r *raw) { r.opened().send(3, &amqp.Disposition{First: 2, Last: amqp.Some(1)}) }, []string{"end 3 amqp:invalid-field"}},
		"nothing there":  {func(r *raw) { r.opened().send(3, attach("n", 5, true, "no")) }, []string{"attach 5 n false", "detach 5 amqp:not-found"}},
		"name in use":    {func(r *raw) { r.sending().send(3, attach("n", 6, false, "in")) }, []string{"attach 6 n false", "detach 6 amqp:not-allowed"}},
		"no delivery id": {func(r *raw) { r.sending().send(3, &amqp.Transfer{Handle: 5, DeliveryTag: []byte("t")}) }, []string{"detach 5 amqp:invalid-field"}},
		"no tag":         {func(r *raw) { r.sending().send(3, &amqp.Transfer{Handle: 5, DeliveryID: amqp.Some(0)}) }, []string{"detach 5 amqp:invalid-field"}},
		"against the flow": {func(r *raw) {
			r.opened().send(3, attach("n", 5, true, "out")).expect("attach 5 n true").send(3, transfer(5, 0))
		}, []string{"detach 5 amqp:not-allowed"}},
		"another id": {func(r *raw) {
			first := transfer(5, 0)
			first.More = true
			r.sending().send(3, first, 1).send(3, transfer(5, 1), 2)
		}, []string{"detach 5 amqp:invalid-field"}},
		"no credit": {func(r *raw) {
			r.t.Helper()
			r.opened().send(3, attach("m", 1, false, "in")).expect("attach 1 m true").expect("flow in=7 win=5000 out=1 handle=1 count=0 credit=100")
			for i := range uint32(101) {
				r.send(3, transfer(1, i))
			}
		}, []string{"detach 1 amqp:link:transfer-limit-exceeded"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, engine.Options{})
				h.mute = name == "no credit"
				r := dialRaw(t, h)
				tt.do(r)
				r.expect(tt.want...)
				if tt.want[len(tt.want)-1] != "" { // the connection lives, and has done with it
					last := strings.Fields(tt.want[len(tt.want)-1])
					if last[0] == "end" {
						r.send(3, &amqp.Flow{}).send(3, &amqp.End{}).send(3, begin()).expect("begin 3")
					} else {
						var handle uint32
						fmt.Sscan(last[1], &handle)
						r.send(3, &amqp.Flow{Handle: amqp.Some(handle)}).send(3, &amqp.Detach{Handle: handle, Closed: true})
						r.send(3, attach("again", handle, false, "in")).expect(fmt.Sprintf("attach %d again true", handle))
						r.next()
					}
					r.send(0, &amqp.Close{}).expect("close", "")
				}
				h.server.Close()
			})
		})
	}
}

// What comes byte by byte is as good, and so is what comes all at once.
func TestPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, engine.Options{})
		all := append([]byte(nil), amqp.HeaderSASL[:]...)
		all = amqp.AppendSASL(all, &amqp.Init{Mechanism: "ANONYMOUS"})
		all = append(all, amqp.HeaderAMQP[:]...)
		all = amqp.AppendFrame(all, 0, open(), nil)
		all = amqp.AppendHeartbeat(all)
		all = amqp.AppendFrame(all, 3, begin(), nil)
		all = amqp.AppendFrame(all, 3, attach("n", 5, false, "in"), nil)
		for i := range uint32(3) {
			m := transfer(5, i)
			m.More = i == 1
			if i == 2 {
				m = &amqp.Transfer{Handle: 5}
			}
			all = amqp.AppendFrame(all, 3, m, bytes.Repeat([]byte{byte(i)}, 300))
		}
		all = amqp.AppendFrame(all, 0, &amqp.Close{}, nil)
		want := []string{
			"header 3", "mechanisms MSSBCBS,ANONYMOUS,PLAIN", "outcome 0 Welcome!", "header 0", "open", "begin 3", "attach 5 n true",
			"flow in=7 win=5000 out=1 handle=5 count=0 credit=100", "disposition true 0 settled=true accepted", "disposition true 1 settled=true accepted",
			"close", "",
		}
		dialRaw(t, h).write(all...).expect(want...)
		r := dialRaw(t, h)
		for _, b := range all {
			r.write(b)
			synctest.Wait()
		}
		r.expect(want...)
		for i, m := range h.got {
			if n := []int{300, 600}[i%2]; len(m) != n {
				t.Errorf("message %d has %d bytes; want %d", i, len(m), n)
			}
		}
		if len(h.got) != 4 {
			t.Errorf("%d messages came; want 4", len(h.got))
		}
		h.server.Close()
	})
}

// Deliveries wait for credit, for the session's window, and are cut into frames that the peer takes; drain and echo are answered.
func TestFlowControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, engine.Options{})
		r := dialRaw(t, h).opened()
		r.send(3, attach("n", 0, true, "out")).expect("attach 0 n true")
		l := h.link("out", true)
		if _, err := l.Send("x", true, nil); err != engine.ErrNoCredit {
			t.Errorf("without credit: %v", err)
		}
		flow := func(in, window, count, credit uint32, drain, echo bool) {
			r.send(3, &amqp.Flow{
				NextIncomingID: amqp.Some(in), IncomingWindow: window, Handle: amqp.Some(0), DeliveryCount: amqp.Some(count), LinkCredit: amqp.Some(credit),
				Drain: drain, Echo: echo,
			})
			synctest.Wait()
		}
		if err := l.Post([]byte("later")); err != nil {
			t.Error(err)
		}
		flow(1, 3, 0, 10, false, true)
		r.expect("transfer 0 id=0 tag=16 more=false 5", "flow in=7 win=5000 out=2 handle=0 count=1 credit=9")
		if n := l.Credit(); n != 9 {
			t.Errorf("credit %d; want 9", n)
		}
		if _, err := l.Send("x", true, make([]byte, 10000)); err != nil { // three frames, where the window has two
			t.Error(err)
		}
		if err := l.Post([]byte("behind")); err != nil {
			t.Error(err)
		}
		r.expect("transfer 0 id=1 tag=1 more=true 3968", "transfer 0 id=0 tag=0 more=true 3968")
		flow(4, 1, 1, 9, false, false)
		r.expect("transfer 0 id=0 tag=0 more=false 2064")
		flow(5, 1<<32-1, 3, 1<<32-1, false, false)
		r.expect("transfer 0 id=2 tag=16 more=false 6")
		flow(6, 100, 3, 20, true, false)
		r.expect("flow in=7 win=5000 out=6 handle=0 count=23 credit=0")
		if n := l.Credit(); n != 0 {
			t.Errorf("credit %d after a drain", n)
		}
		r.send(3, &amqp.Flow{Echo: true}).expect("flow in=7 win=5000 out=6")
		// What nobody takes ends the link.
		var err error
		for err == nil {
			err = l.Post(make([]byte, 10))
		}
		r.expect("detach 0 amqp:resource-limit-exceeded")
		r.send(3, &amqp.Detach{Handle: 0, Closed: true})
		synctest.Wait()
		if _, err := l.Send("x", true, nil); err != engine.ErrDetached {
			t.Errorf("on a link that is over: %v", err)
		}
		l.Detach(nil)
		h.server.Close()
		if len(h.over) != 1 || len(h.ended) != 1 {
			t.Errorf("over %v, ended %v", h.over, h.ended)
		}
	})
}

// Links, sessions and what comes in part are bounded.
func TestFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, engine.Options{})
		r := dialRaw(t, h).opened()
		for i := range uint32(16) {
			r.send(3, attach(fmt.Sprint("n", i), i, true, "out")).expect(fmt.Sprintf("attach %d n%d true", i, i))
		}
		for i := uint32(16); i < 80; i++ {
			r.send(3, attach(fmt.Sprint("n", i), i, true, "out")).expect(fmt.Sprintf("attach %d n%d false", i, i), fmt.Sprintf("detach %d amqp:resource-limit-exceeded", i))
		}
		r.send(3, attach("n", 80, true, "out")).expect("close amqp:resource-limit-exceeded", "")

		r = dialRaw(t, h).opened()
		for i := range uint16(15) {
			r.send(10+i, begin()).expect(fmt.Sprint("begin ", 10+i))
		}
		r.send(100, begin()).expect("close amqp:resource-limit-exceeded", "")

		// Of who has not shown who it is nothing is kept that is larger than a token.
		r = dialRaw(t, h).sending()
		m := transfer(5, 0)
		m.More = true
		piece := make([]byte, 60000)
		r.send(3, m, piece...).expect("detach 5 amqp:resource-limit-exceeded")

		// One delivery of more than a megabyte, and five that are not whole.
		h.known = true
		r = dialRaw(t, h).sending()
		for range 17 {
			r.send(3, m, piece...)
		}
		r.send(3, m, piece...).expect("detach 5 amqp:link:message-size-exceeded")
		r.send(3, &amqp.Detach{Handle: 5, Closed: true})
		for i := range uint32(5) {
			r.send(3, attach(fmt.Sprint("p", i), i, false, "in")).expect(fmt.Sprintf("attach %d p%d true", i, i))
			r.next()
			m := transfer(i, i)
			m.More = true
			for range 17 {
				r.send(3, m, piece...)
				synctest.Wait()
			}
		}
		r.expect("detach 4 amqp:resource-limit-exceeded")
		h.server.Close()
	})
}

// Who says nothing, or not enough, is given up; who is there hears from the hub in time.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, engine.Options{})
		began := time.Now()
		passed := func(want time.Duration) {
			t.Helper()
			if d := time.Since(began).Round(time.Second); d != want {
				t.Errorf("after %v; want %v", d, want)
			}
			began = time.Now()
		}
		dialRaw(t, h).write([]byte("AMQ")...).expect("")
		passed(10 * time.Second)
		dialRaw(t, h).opened().expect("close amqp:unauthorized-access", "")
		passed(65 * time.Second)
		r := dialRaw(t, h).opened()
		h.conns[len(h.conns)-1].Identified()
		r.expect("heartbeat", "heartbeat", "close amqp:resource-limit-exceeded")
		passed(240 * time.Second)
		r.expect("")
		passed(5 * time.Second)
		o := open()
		o.IdleTimeOut = amqp.Some(10000)
		r = dialRaw(t, h)
		r.write(amqp.HeaderAMQP[:]...).send(0, o).expect("header 0", "open")
		c := h.conns[len(h.conns)-1]
		c.Identified()
		c.Wake(time.Now().Add(2 * time.Second))
		for range 100 { // its own heartbeats keep it
			r.expect("heartbeat").write(amqp.AppendHeartbeat(nil)...)
		}
		passed(400 * time.Second)
		if h.alarms != 1 {
			t.Errorf("%d alarms", h.alarms)
		}
		h.server.Disconnect(&amqp.Error{Condition: amqp.ConnectionForced})
		r.expect("close amqp:connection:forced").send(0, &amqp.Close{}).expect("")
		passed(0)
		h.server.Close()
	})
}

// A peer that does not read loses its connection, and nobody waits for it.
func TestAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, engine.Options{})
		r := dialRaw(t, h)
		r.write(amqp.HeaderAMQP[:]...).send(0, open())
		b := begin()
		b.IncomingWindow = 1<<32 - 1
		r.send(3, b).send(3, attach("n", 0, true, "out"))
		r.send(3, &amqp.Flow{NextIncomingID: amqp.Some(1), IncomingWindow: 1<<32 - 1, Handle: amqp.Some(0), DeliveryCount: amqp.Some(0), LinkCredit: amqp.Some(1 << 30)})
		synctest.Wait()
		l := h.link("out", true)
		payload := make([]byte, 100_000)
		sent := 0
		for ; sent < 1000; sent++ {
			if _, err := l.Send("", true, payload); err != nil {
				break
			}
			synctest.Wait()
		}
		if sent < 50 || sent > 100 {
			t.Errorf("%d deliveries of 100 KB went to who does not read", sent)
		}
		h.server.Close()
	})
}
