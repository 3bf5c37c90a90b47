package amqp_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/fleet/link"
	driver "github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// Whoever answers with something else than AMQP is named; so is silence.
func TestStrangers(t *testing.T) {
	for want, b := range map[error]string{
		driver.ErrSpeaksHTTP: "HTTP/1.1 400 Bad Request\r\n\r\n", driver.ErrSpeaksTLS: "\x15\x03\x01\x00\x02\x02\x0a", driver.ErrNotAMQP: "\x20\x02\x00\x00",
		driver.ErrSASL: "AMQP\x03\x01\x00\x00", driver.ErrVersion: "AMQP\x00\x00\x09\x01", driver.ErrNoOpen: "", context.DeadlineExceeded: "AMQP\x00",
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			p := newPeer()
			o := p.options("dev", nil)
			o.Dial = func(context.Context) (net.Conn, error) { return near, nil }
			go func() {
				header := make([]byte, 4096) // all that comes with it, so that nobody writes in vain
				_, _ = far.Read(header)
				_, _ = far.Write([]byte(b))
				if !errors.Is(want, context.DeadlineExceeded) {
					far.Close()
				}
			}()
			if _, err := connect(t, driver.New(), o); !errors.Is(err, want) {
				t.Errorf("%q: %v; want %v", b, err, want)
			}
			far.Close()
		})
	}
}

// A peer that breaks the protocol is told so, and its connection ends with a reason.
func TestViolations(t *testing.T) {
	transfer := func(x amqp.Transfer, size int) func(*peer) {
		return func(p *peer) {
			x.Handle = p.handle("$cbs")
			p.say(0, &x, make([]byte, size)...)
		}
	}
	id := amqp.Some(9)
	for name, c := range map[string]struct {
		do        func(*peer)
		want      link.ProtocolError
		condition string
	}{
		"no AMQP":              {func(p *peer) { p.write([]byte{0, 0, 0, 9, 2, 0, 0, 0, 0x99}) }, driver.ErrViolation, amqp.DecodeError},
		"a giant frame":        {func(p *peer) { p.write([]byte{0x7f, 0, 0, 0}) }, driver.ErrFrameSize, amqp.FramingError},
		"SASL":                 {func(p *peer) { p.write([]byte{0, 0, 0, 8, 2, 1, 0, 0}) }, driver.ErrViolation, amqp.FramingError},
		"a second OPEN":        {func(p *peer) { p.say(0, &p.open) }, driver.ErrViolation, amqp.NotAllowed},
		"a BEGIN of its own":   {func(p *peer) { p.say(3, &amqp.Begin{}) }, driver.ErrViolation, amqp.NotAllowed},
		"a link of its own":    {func(p *peer) { p.say(0, &amqp.Attach{Name: []byte("x"), Role: true, HasSource: true}) }, driver.ErrViolation, amqp.NotAllowed},
		"no session":           {func(p *peer) { p.say(5, &amqp.Flow{}) }, driver.ErrViolation, amqp.NotAllowed},
		"FLOW of no link":      {func(p *peer) { p.say(0, &amqp.Flow{Handle: amqp.Some(77)}) }, driver.ErrViolation, amqp.UnattachedHandle},
		"DETACH of no link":    {func(p *peer) { p.say(0, &amqp.Detach{Handle: 77}) }, driver.ErrViolation, amqp.UnattachedHandle},
		"frames from tomorrow": {func(p *peer) { p.say(0, &amqp.Flow{NextIncomingID: amqp.Some(1000)}) }, driver.ErrViolation, amqp.InvalidField},
		"TRANSFER on no link":  {func(p *peer) { p.say(0, &amqp.Transfer{Handle: 77, DeliveryID: id}) }, driver.ErrViolation, amqp.UnattachedHandle},
		"TRANSFER to a sender": {func(p *peer) { p.say(0, &amqp.Transfer{Handle: 2, DeliveryID: id}) }, driver.ErrViolation, amqp.UnattachedHandle},
		"no number":            {transfer(amqp.Transfer{}, 0), driver.ErrViolation, amqp.InvalidField},
		"no message":           {transfer(amqp.Transfer{DeliveryID: id}, 5), driver.ErrViolation, amqp.DecodeError},
		"two at once": {func(p *peer) {
			transfer(amqp.Transfer{DeliveryID: id, More: true}, 5)(p)
			transfer(amqp.Transfer{DeliveryID: amqp.Some(10)}, 5)(p)
		}, driver.ErrViolation, amqp.NotAllowed},
		"a message without end": {func(p *peer) {
			for range 1000 {
				transfer(amqp.Transfer{DeliveryID: id, More: true}, 60_000)(p)
			}
		}, driver.ErrTooLarge, amqp.MessageSizeExceeded},
		"an empty message without end": {func(p *peer) {
			for range 5000 {
				transfer(amqp.Transfer{DeliveryID: id, More: true}, 0)(p)
			}
		}, driver.ErrTooLarge, amqp.MessageSizeExceeded},
		"a DISPOSITION that ends before it begins": {func(p *peer) {
			p.say(0, &amqp.Disposition{Role: true, First: 5, Last: amqp.Some(4), Settled: true})
		}, driver.ErrViolation, amqp.InvalidField},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer()
			in(t, p, func(t *testing.T, x *client) {
				p.locked(func() { c.do(p) })
				err := <-x.over
				if !errors.Is(err, c.want) {
					t.Errorf("ended with %v; want %v", err, c.want)
				}
				synctest.Wait()
				if last := p.said[len(p.said)-1]; last != "close "+c.condition {
					t.Errorf("said %q", last)
				}
			})
		})
	}
}

// A peer that reads nothing is granted nothing more, and is not to send without.
func TestDeafPeer(t *testing.T) {
	p := newPeer()
	in(t, p, func(t *testing.T, c *client) {
		if err := c.subscribe(topics.FilterTwinResponses); err != nil {
			t.Fatal(err)
		}
		deaf, full := make(chan struct{}), 0
		publish := func() {
			for range 50 {
				c.Publish(link.Message{Topic: topics.Telemetry("dev", nil), Payload: make([]byte, 10_000)}, func(err error) {
					if errors.Is(err, context.DeadlineExceeded) {
						full++
					}
				})
			}
		}
		p.locked(func() { p.deaf = deaf })
		publish()
		synctest.Wait() // it has read for the last time: what makes room for more credit
		publish()
		p.locked(func() {
			for range 200 {
				p.send(0, p.handle("/twin"), amqp.AppendData(nil, nil))
			}
		})
		if err := <-c.over; !errors.Is(err, driver.ErrNoTransfer) {
			t.Errorf("ended with %v", err)
		}
		close(deaf)
		if full == 0 || full == 100 {
			t.Errorf("%d of 100 were not sent", full)
		}
	})
}

// What the other side does not settle does not grow without end, and what it would not take is not sent.
func TestBounds(t *testing.T) {
	p := newPeer()
	p.credit, p.most = 1<<31-1, 1000
	p.begin.IncomingWindow = 1<<31 - 1
	p.settle = func([]byte) amqp.State { return amqp.State{} }
	in(t, p, func(t *testing.T, c *client) {
		say := func(n int) (done bool, why error) {
			c.Publish(link.Message{Topic: topics.Telemetry("dev", nil), Payload: make([]byte, n), QoS: 1}, func(err error) { done, why = true, err })
			return done, why
		}
		if done, err := say(1000); !done || err == nil || errors.Is(err, link.ErrLost) {
			t.Errorf("a message that is too large: %v", err)
		}
		told := 0
		for range 10_000 {
			c.Publish(link.Message{Topic: topics.Telemetry("dev", nil), QoS: 1}, func(error) { told++ })
		}
		if done, err := say(0); !done || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one more than ten thousand: %v", err)
		}
		c.Abort()
		<-c.over
		if told != 10_000 {
			t.Errorf("%d are told", told)
		}
	})
}

// Without credit, messages wait; so many that it can only be the target's doing are too many.
func TestManyWithoutCredit(t *testing.T) {
	p := newPeer()
	p.credit = 1
	in(t, p, func(t *testing.T, c *client) {
		full, ended := 0, 0
		for range 10_003 { // one of them goes out
			c.Publish(link.Message{Topic: topics.Telemetry("dev", nil)}, func(err error) {
				if ended++; errors.Is(err, context.DeadlineExceeded) {
					full++
				}
			})
		}
		if full != 2 || ended != 3 {
			t.Errorf("%d were too many, %d ended", full, ended)
		}
		c.Abort()
		<-c.over
		if ended != 10_003 {
			t.Errorf("%d ended", ended)
		}
	})
}
