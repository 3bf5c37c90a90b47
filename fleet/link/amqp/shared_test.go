package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	driver "github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// together connects devices at once, on one connection.
func together(t *testing.T, d link.Driver, p *peer, n int) []*client {
	t.Helper()
	all, errs := make([]*client, n), make(chan error, n)
	for i := range n {
		go func() {
			o := p.options(fmt.Sprint("dev", i), nil)
			o.Connection = 7
			c, err := connect(t, d, o)
			all[i] = c
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A thousand devices have one connection: each its own answers, and what one of them is refused ends no other.
func TestThousandOnOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		p, d := newPeer(), driver.New()
		all := together(t, d, p, n)
		for i, c := range all {
			if err := c.subscribe(topics.FilterTwinResponses); err != nil {
				t.Fatal(err)
			}
			told := make(chan error, 2)
			c.Publish(link.Message{Topic: topics.TwinGet(fmt.Sprint(i)), Payload: []byte(" ")}, func(err error) { told <- err })
			c.Publish(link.Message{Topic: topics.Telemetry(fmt.Sprint("dev", i), nil), QoS: 1}, func(err error) { told <- err })
			if err := errors.Join(<-told, <-told); err != nil {
				t.Fatal(err)
			}
			if got := <-c.messages; !strings.HasPrefix(got, fmt.Sprintf("$iothub/twin/res/200/?$rid=%d ", i)) {
				t.Fatalf("device %d hears %s", i, got)
			}
		}
		synctest.Wait()
		if begun := strings.Count(strings.Join(p.said, "\n"), "begin"); p.dials != 1 || begun != 1 {
			t.Errorf("%d connections, %d sessions", p.dials, begun)
		}
		// One goes, and one is sent away; nobody else notices.
		all[0].Close()
		if err := <-all[0].over; err != nil {
			t.Error(err)
		}
		p.locked(func() {
			for handle, l := range p.links {
				if l.address == "/devices/dev1/messages/events" {
					l.name = "" // its DETACH was the first
					p.say(0, &amqp.Detach{Handle: handle, Closed: true, Error: &amqp.Error{Condition: amqp.UnauthorizedAccess}})
				}
			}
		})
		var refused *link.RefusedError
		if err := <-all[1].over; !errors.As(err, &refused) || !refused.Identity() {
			t.Errorf("a device that was sent away: %v", err)
		}
		p.locked(func() {
			p.token = func(name, _ string) int { return map[bool]int{true: 401, false: 200}[strings.HasSuffix(name, "/bad")] }
		})
		o := p.options("bad", nil)
		o.Connection = 7
		if _, err := connect(t, d, o); !errors.As(err, &refused) || refused.Status != 401 {
			t.Errorf("a bad token: %v", err)
		}
		o = p.options("dev0", nil)
		o.Connection = 7
		back, err := connect(t, d, o)
		if err != nil || p.dials != 1 {
			t.Fatalf("one that comes back: %v, %d connections", err, p.dials)
		}
		if err := all[2].publish(link.Message{Topic: topics.Telemetry("dev2", nil), QoS: 1}); err != nil {
			t.Error(err)
		}
		for _, c := range append(all[2:n-1:n-1], back) {
			c.Abort()
			if err := <-c.over; err != nil {
				t.Error(err)
			}
		}
		select {
		case <-p.done:
			t.Error("the connection has ended before its last device")
		default:
		}
		all[n-1].Close()
		if err := <-all[n-1].over; err != nil {
			t.Error(err)
		}
		<-p.done
		if last := p.said[len(p.said)-1]; last != "close" || p.failure != nil {
			t.Errorf("it ended with %s, %v", last, p.failure)
		}
		// And there is a new one for who comes then.
		c := together(t, d, p, 1)[0]
		c.Close()
		<-c.over
		<-p.done
		if p.dials != 2 {
			t.Errorf("%d connections", p.dials)
		}
	})
}

// When the connection is lost, or cut by one of them, all are told.
func TestSharedConnectionLost(t *testing.T) {
	for name, cut := range map[string]func(p *peer, first *client){
		"lost": func(p *peer, _ *client) { p.locked(func() { p.nc.Close() }) },
		"cut":  func(_ *peer, first *client) { first.Conn.(link.Cutter).Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer()
				p.settle = func([]byte) amqp.State { return amqp.State{} }
				all := together(t, driver.New(), p, 3)
				told := make(chan error, 3)
				for i, c := range all {
					c.Publish(link.Message{Topic: topics.Telemetry(fmt.Sprint("dev", i), nil), QoS: 1}, func(err error) { told <- err })
				}
				synctest.Wait()
				cut(p, all[0])
				for i, c := range all {
					if err := <-c.over; (err == nil) != (name == "cut" && i == 0) {
						t.Errorf("device %d: %v", i, err)
					}
					if err := <-told; !errors.Is(err, link.ErrLost) {
						t.Errorf("a message under way: %v", err)
					}
				}
				<-p.done
			})
		})
	}
}

// A dial that fails is the failure of all who waited for it, but of one whose time was up nobody hears.
func TestSharedDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := newPeer(), driver.New()
		nowhere := errors.New("no route to host")
		results := make(chan error, 10)
		for range 3 {
			go func() {
				o := p.options("dev", nil)
				o.Connection, o.Dial = 1, func(context.Context) (net.Conn, error) {
					time.Sleep(time.Second)
					return nil, nowhere
				}
				_, err := connect(t, d, o)
				results <- err
			}()
		}
		began := time.Now()
		for range 3 {
			if err := <-results; !errors.Is(err, nowhere) {
				t.Error(err)
			}
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("they failed after %v", took)
		}
		go func() {
			o := p.options("slow", nil)
			o.Connection, o.Dial = 1, func(ctx context.Context) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			_, err := d.Connect(t.Context(), o)
			results <- err
		}()
		synctest.Wait()
		time.Sleep(55 * time.Second) // of the minute that it has
		o := p.options("dev", nil)
		o.Connection = 1
		c, err := connect(t, d, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-results; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		c.Close()
		<-c.over
		<-p.done
	})
}

// Where the other side has few handles there are more sessions, and where it has no more of those a device is not connected.
func TestFewHandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := newPeer(), driver.New()
		p.begin.HandleMax, p.open.ChannelMax = 7, 1
		all := together(t, d, p, 2) // at once: neither knows how much room there is
		for i, c := range all {
			if err := c.subscribe(topics.FilterTwinResponses, topics.FilterMethods, topics.FilterC2D(fmt.Sprint("dev", i))); err != nil {
				t.Fatal(err)
			}
			if err := c.publish(link.Message{Topic: topics.Telemetry(fmt.Sprint("dev", i), nil), QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
		o := p.options("dev2", nil)
		o.Connection = 7
		if _, err := connect(t, d, o); err == nil {
			t.Error("a third device has found room")
		}
		// What ends with a session is only what is in it: the second device, which came to the second.
		synctest.Wait()
		early, late := all[0], all[1]
		if slices.ContainsFunc(p.addresses(1), func(s string) bool { return strings.Contains(s, "/dev0/") }) {
			early, late = late, early
		}
		p.locked(func() { p.say(1, &amqp.End{Error: &amqp.Error{Condition: amqp.LimitExceeded}}) })
		var refused *link.RefusedError
		if err := <-late.over; !errors.As(err, &refused) || !refused.Throttled() {
			t.Errorf("the device of a session that ended: %v", err)
		}
		synctest.Wait()
		if len(early.over) > 0 {
			t.Error("the other one ended too")
		}
		early.Close()
		<-early.over
		<-p.done
		if n := strings.Count(strings.Join(p.said, "\n"), "begin"); n != 2 {
			t.Errorf("%d sessions", n)
		}
	})
}

// Tokens go out as there is credit for them, and no more than the service has under way.
func TestTokensUnderWay(t *testing.T) {
	for _, c := range []struct{ credit, want uint32 }{{0, 30}, {3, 3}} {
		synctest.Test(t, func(t *testing.T) {
			p, d := newPeer(), driver.New()
			p.credit = c.credit
			p.token = func(string, string) int { return 0 } // no answer
			results := make(chan error, 40)
			for i := range 40 {
				go func() {
					o := p.options(fmt.Sprint("dev", i), nil)
					o.Connection = 1
					_, err := connect(t, d, o)
					results <- err
				}()
			}
			synctest.Wait()
			if n := len(p.messages); n != int(c.want) {
				t.Errorf("%d tokens are under way with credit for %d", n, c.credit)
			}
			if c.credit > 0 {
				p.locked(func() { p.flow(0, 0, 2) })
				synctest.Wait()
				if n := len(p.messages); n != int(c.want)+2 {
					t.Errorf("%d tokens are under way", n)
				}
			}
			for range 40 {
				if err := <-results; !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
			<-p.done
		})
	}
}

// Where there is room for one link more, and not for the two that show a token, a device is not connected, and the others do not notice.
func TestNoRoomForToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := newPeer(), driver.New()
		p.begin.HandleMax = 13
		p.on = func(_ *peer, _ uint16, b amqp.Body) bool { return b.Code == amqp.CodeDetach } // no handle is free again
		certified := func(id string) *client {
			o := p.options(id, nil)
			o.Connection, o.Password = 7, nil
			c, err := connect(t, d, o)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		stays := certified("stays") // it has one link, and two that come and go have six each
		for _, id := range []string{"dev1", "dev2"} {
			c := certified(id)
			if err := c.subscribe(topics.FilterTwinResponses, topics.FilterMethods, topics.FilterC2D(id)); err != nil {
				t.Fatal(err)
			}
			c.Close()
			<-c.over
		}
		o := p.options("late", nil)
		o.Connection = 7
		if _, err := connect(t, d, o); err == nil {
			t.Error("there was room")
		}
		synctest.Wait()
		if err := stays.publish(link.Message{Topic: topics.Telemetry("stays", nil), QoS: 1}); err != nil {
			t.Error(err)
		}
		stays.Close()
		<-stays.over
		<-p.done
	})
}
