package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"os"
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

var everything = []string{topics.FilterTwinResponses, topics.FilterDesired, topics.FilterMethods, topics.FilterC2D("dev")}

func TestWhatIsSaid(t *testing.T) {
	p := newPeer()
	in(t, p, func(t *testing.T, c *client) {
		if err := c.subscribe(everything...); err != nil {
			t.Fatal(err)
		}
		for _, m := range []link.Message{
			{Topic: topics.Telemetry("dev", nil), Payload: []byte("a"), QoS: 1},
			{Topic: topics.Telemetry("dev", nil), Payload: []byte("b")},
			{Topic: topics.TwinGet("1"), Payload: []byte(" ")},
			{Topic: topics.Report("2"), Payload: []byte(`{"a":1}`), QoS: 1},
		} {
			if err := c.publish(m); err != nil {
				t.Errorf("%s: %v", m.Topic, err)
			}
		}
		for _, want := range []string{
			`$iothub/twin/res/200/?$rid=1 {"desired":{"$version":1},"reported":{"$version":1}}`, "$iothub/twin/res/200/?$rid=2&$version=7 ",
		} {
			if got := <-c.messages; got != want {
				t.Errorf("%q arrived; want %q", got, want)
			}
		}
		synctest.Wait()
		c.Close()
		if err := <-c.over; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	want := []string{
		"open hub.example 65536 180000", "begin", "attach $cbs false 255/255", "attach $cbs true 255/255", "flow 100 of 1",
		"attach /devices/dev/messages/events false 255/255", "disposition 1 accepted settled true",
		"attach /devices/dev/twin false 1/0 twin", "attach /devices/dev/twin true 1/0 twin",
		"attach /devices/dev/methods/devicebound false 255/0 methods", "attach /devices/dev/methods/devicebound true 255/0 methods",
		"attach /devices/dev/messages/devicebound true 255/255", "flow 100 of 4", "flow 100 of 6", "flow 100 of 7",
		"disposition 2 accepted settled true", "disposition 3 accepted settled true", "disposition 4 accepted settled true",
	}
	var said []string
	for _, s := range p.said {
		if !strings.HasPrefix(s, "detach") {
			said = append(said, s)
		}
	}
	want = append(want, "close")
	if !slices.Equal(said, want) {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	if got, want := p.messages, []string{
		"$cbs   token of dev", "twin PUT /notifications/twin/properties/desired", "events   a", "events   b", "twin GET", `twin PATCH /properties/reported {"a":1}`,
	}; !slices.Equal(got, want) {
		t.Errorf("messages %q; want %q", got, want)
	}
}

func text(s string) amqp.Value { return amqp.AppendString(nil, s) }

func TestWhatArrives(t *testing.T) {
	p := newPeer()
	id := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	in(t, p, func(t *testing.T, c *client) {
		if err := c.subscribe(everything...); err != nil {
			t.Fatal(err)
		}
		p.locked(func() {
			b, s := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
			b = amqp.AppendString(amqp.AppendSymbol(b, "resource"), "/properties/desired")
			b = amqp.AppendLong(amqp.AppendSymbol(b, "version"), 9)
			b = amqp.AppendData(amqp.EndMap(b, s, 2), []byte(`{"x":1,"$version":9}`))
			p.send(0, p.handle("/twin"), b)
			b = amqp.AppendProperties(nil, &amqp.Properties{CorrelationID: amqp.AppendUUID(nil, id)})
			b, s = amqp.BeginSection(b, amqp.SectionApplicationProperties)
			b = amqp.AppendString(amqp.AppendString(b, "IoThub-methodname"), "reboot")
			b = amqp.AppendData(amqp.EndMap(b, s, 1), []byte(`{"in":5}`))
			p.send(0, p.handle("/methods/devicebound"), b)
			b = amqp.AppendProperties(nil, &amqp.Properties{MessageID: text("m 1"), To: text("/devices/dev/messages/devicebound"), ContentType: "text/plain"})
			b, s = amqp.BeginSection(b, amqp.SectionApplicationProperties)
			b = amqp.AppendString(amqp.AppendString(b, "a&b"), "c")
			b = amqp.AppendData(amqp.EndMap(b, s, 1), []byte("hello"))
			p.send(0, p.handle("/messages/devicebound"), b)
		})
		for _, want := range []string{
			`$iothub/twin/PATCH/properties/desired/?$version=9 {"x":1,"$version":9}`,
			`$iothub/methods/POST/reboot/?$rid=01020304-0506-0708-090a-0b0c0d0e0f10 {"in":5}`,
			`devices/dev/messages/devicebound/%24.mid=m%201&%24.to=%2Fdevices%2Fdev%2Fmessages%2Fdevicebound&%24.ct=text%2Fplain&a%26b=c hello`,
		} {
			if got := <-c.messages; got != want {
				t.Errorf("%q arrived; want %q", got, want)
			}
		}
		var answer amqp.Message
		p.locked(func() {
			p.on = func(_ *peer, _ uint16, b amqp.Body) bool {
				if b.Code == amqp.CodeTransfer {
					answer, _ = amqp.ParseMessage(slices.Clone(b.Payload))
				}
				return false
			}
		})
		if err := c.publish(link.Message{Topic: topics.MethodResponse(202, "01020304-0506-0708-090a-0b0c0d0e0f10"), Payload: []byte("{}"), QoS: 1}); err != nil {
			t.Error(err)
		}
		got, ok := answer.Properties.CorrelationID.UUID()
		status := answer.Application.Get("IoThub-status")
		if n, _ := status.Int(); !ok || got != id || status.Kind() != amqp.Int || n != 202 || string(answer.Data) != "{}" {
			t.Errorf("answered %+v", answer)
		}
		c.Close()
		<-c.over
	})
}

func TestTelemetryProperties(t *testing.T) {
	p := newPeer()
	in(t, p, func(t *testing.T, c *client) {
		var m amqp.Message
		p.locked(func() {
			p.on = func(_ *peer, _ uint16, b amqp.Body) bool {
				if b.Code == amqp.CodeTransfer {
					m, _ = amqp.ParseMessage(slices.Clone(b.Payload))
				}
				return false
			}
		})
		bag := topics.Bag{
			{Name: "$.mid", Value: "1", HasValue: true},
			{Name: "$.cid", Value: "2", HasValue: true},
			{Name: "$.ct", Value: "application/json", HasValue: true},
			{Name: "$.ce", Value: "utf-8", HasValue: true},
			{Name: "$.sub", Value: "pump", HasValue: true},
			{Name: "a b", Value: "c/d", HasValue: true},
			{Name: "$.ctime", Value: "2026-01-02T03:04:05Z", HasValue: true},
			{Name: "$.uid", Value: "me", HasValue: true},
		}
		if err := c.publish(link.Message{Topic: topics.Telemetry("dev", bag), Payload: []byte("{}"), QoS: 1}); err != nil {
			t.Fatal(err)
		}
		sub, _ := m.Annotations.Get("dt-subject").Text()
		a, _ := m.Application.Get("a b").Text()
		created, _ := m.Application.Get("iothub-creation-time-utc").Text()
		q := m.Properties
		mid, _ := q.MessageID.Text()
		cid, _ := q.CorrelationID.Text()
		got := []string{mid, cid, q.ContentType, q.ContentEncoding, sub, a, created, string(q.UserID), string(m.Data)}
		if want := []string{"1", "2", "application/json", "utf-8", "pump", "c/d", "2026-01-02T03:04:05Z", "me", "{}"}; !slices.Equal(got, want) {
			t.Errorf("%q; want %q", got, want)
		}
		for _, m := range []link.Message{
			{Topic: topics.Telemetry("another", nil), QoS: 1},
			{Topic: "a/b"},
			{Topic: topics.Telemetry("dev", nil), QoS: 2},
			{Topic: topics.TwinGet("1")},
			{Topic: topics.Desired(1)},
			{Topic: topics.Telemetry("dev", nil) + "a=%zz", QoS: 1},
		} {
			if err := c.publish(m); err == nil || errors.Is(err, link.ErrLost) {
				t.Errorf("%s with QoS %d: %v", m.Topic, m.QoS, err)
			}
		}
		c.Abort()
		if err := <-c.over; err != nil {
			t.Error(err)
		}
	})
}

// What the other side would not have is told with its condition or status.
func TestRefusals(t *testing.T) {
	condition := func(s string) func(*link.RefusedError) bool {
		return func(e *link.RefusedError) bool { return e.Condition == s }
	}
	for name, c := range map[string]struct {
		change func(*peer)
		want   func(*link.RefusedError) bool
	}{
		"token":           {func(p *peer) { p.token = func(string, string) int { return 401 } }, func(e *link.RefusedError) bool { return e.Status == 401 && e.Identity() }},
		"too many tokens": {func(p *peer) { p.token = func(string, string) int { return 500 } }, func(e *link.RefusedError) bool { return e.Status == 500 && e.Failure() }},
		"telemetry link": {
			func(p *peer) { p.refuse = map[string]string{"/events": "com.microsoft:device-container-throttled"} }, (*link.RefusedError).Throttled,
		},
		"link of tokens": {func(p *peer) { p.refuse = map[string]string{"$cbs": amqp.NotAllowed} }, condition(amqp.NotAllowed)},
		"connection": {func(p *peer) {
			p.on = func(p *peer, _ uint16, b amqp.Body) bool {
				if b.Code == amqp.CodeBegin {
					p.say(0, &amqp.Close{Error: &amqp.Error{Condition: amqp.ConnectionForced}})
				}
				return b.Code == amqp.CodeBegin
			}
		}, condition(amqp.ConnectionForced)},
		"session": {func(p *peer) {
			p.on = func(p *peer, ch uint16, b amqp.Body) bool {
				if b.Code == amqp.CodeAttach {
					p.say(ch, &amqp.End{Error: &amqp.Error{Condition: amqp.LimitExceeded}})
				}
				return b.Code == amqp.CodeAttach
			}
		}, condition(amqp.LimitExceeded)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer()
				c.change(p)
				_, err := connect(t, driver.New(), p.options("dev", nil))
				var refused *link.RefusedError
				if !errors.As(err, &refused) || !c.want(refused) {
					t.Errorf("connecting: %v", err)
				}
				<-p.done
			})
		})
	}
}

// What a link is refused is told to who asked for it, and the device goes on.
func TestSubscriptionRefused(t *testing.T) {
	p := newPeer()
	p.refuse = map[string]string{"/methods/devicebound": amqp.NotFound}
	p.twin = func(operation string) int {
		if operation == "PUT" {
			return 429
		}
		return 200
	}
	in(t, p, func(t *testing.T, c *client) {
		var refused *link.RefusedError
		if err := c.subscribe(topics.FilterMethods); !errors.As(err, &refused) || refused.Condition != amqp.NotFound || !errors.Is(err, link.ErrSubscription) {
			t.Errorf("methods: %v", err)
		}
		if err := c.subscribe(topics.FilterDesired); !errors.As(err, &refused) || refused.Status != 429 || !refused.Throttled() {
			t.Errorf("desired properties: %v", err)
		}
		if err := c.subscribe("a/#"); !errors.Is(err, link.ErrSubscription) {
			t.Errorf("a filter that is none: %v", err)
		}
		if err := c.subscribe(topics.FilterTwinResponses); err != nil {
			t.Errorf("answers of the twin: %v", err)
		}
		c.Close()
		<-c.over
	})
}

// A pair of which one link is refused is none; it may be had later.
func TestHalfOfAPairRefused(t *testing.T) {
	for _, role := range []string{"true", "false"} {
		p := newPeer()
		p.refuse = map[string]string{role + " /devices/dev/methods/devicebound": amqp.LimitExceeded}
		in(t, p, func(t *testing.T, c *client) {
			told := make(chan error, 1)
			c.Subscribe(func(err error) { told <- err }, link.Filter{Topic: topics.FilterMethods})
			if err := c.subscribe(topics.FilterDesired); err != nil {
				t.Error(err)
			}
			var refused *link.RefusedError
			if err := <-told; !errors.As(err, &refused) || !refused.Throttled() {
				t.Errorf("half of a pair: %v", err)
			}
			if err := c.publish(link.Message{Topic: topics.MethodResponse(200, "1"), QoS: 1}); err == nil {
				t.Error("an answer went over half of a pair")
			}
			p.locked(func() { p.refuse = nil })
			if err := c.subscribe(topics.FilterMethods); err != nil {
				t.Error(err)
			}
			if err := c.publish(link.Message{Topic: topics.MethodResponse(200, "1"), QoS: 1}); err != nil {
				t.Error(err)
			}
			c.Close()
			<-c.over
		})
	}
}

func TestOutcomes(t *testing.T) {
	p := newPeer()
	p.settle = func(payload []byte) amqp.State {
		switch string(payload) {
		case "throttled":
			return amqp.State{Code: amqp.Rejected, Error: &amqp.Error{Condition: "com.microsoft:device-container-throttled"}}
		case "rejected":
			return amqp.State{Code: amqp.Rejected}
		case "released":
			return amqp.State{Code: amqp.Released}
		case "never":
			return amqp.State{}
		}
		return amqp.State{Code: amqp.Accepted}
	}
	in(t, p, func(t *testing.T, c *client) {
		say := func(s string) error {
			return c.publish(link.Message{Topic: topics.Telemetry("dev", nil), Payload: []byte(s), QoS: 1})
		}
		var refused *link.RefusedError
		if err := say("throttled"); !errors.As(err, &refused) || !refused.Throttled() {
			t.Errorf("throttled: %v", err)
		}
		for _, s := range []string{"rejected", "released"} {
			if err := say(s); err == nil || errors.As(err, &refused) || errors.Is(err, link.ErrLost) {
				t.Errorf("%s: %v", s, err)
			}
		}
		if err := say("accepted"); err != nil {
			t.Error(err)
		}
		// What is not settled ends with the connection, once.
		told := make(chan error, 3)
		c.Publish(link.Message{Topic: topics.Telemetry("dev", nil), Payload: []byte("never"), QoS: 1}, func(err error) { told <- err })
		synctest.Wait()
		p.locked(func() { p.nc.Close() })
		if err := <-told; !errors.Is(err, link.ErrLost) {
			t.Errorf("never settled: %v", err)
		}
		if err := <-c.over; err == nil {
			t.Error("ended as if this side had wanted it")
		}
		if err := say("late"); !errors.Is(err, link.ErrLost) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Without credit messages wait, as many as there is room for; and large ones go in frames that the other side takes, in the window that it gives.
func TestCreditWindowAndFrames(t *testing.T) {
	p := newPeer()
	p.credit, p.open.MaxFrameSize, p.begin.IncomingWindow = 1, 512, 5000
	in(t, p, func(t *testing.T, c *client) {
		large := strings.Repeat("0123456789", 3000)
		told := make(chan error, 100)
		for i, s := range []string{"one", large, "three"} {
			c.Publish(link.Message{Topic: topics.Telemetry("dev", nil), Payload: []byte(s), QoS: byte(i % 2)}, func(err error) { told <- err })
		}
		synctest.Wait()
		if len(told) != 1 {
			t.Fatalf("%d are done with credit for one", len(told))
		}
		for _, grant := range []struct{ window, credit uint32 }{{0, 1}, {10, 1}, {20, 1}, {5000, 1}, {5000, 2}} {
			window := grant.window
			p.locked(func() {
				h := uint32(2)
				p.say(0, &amqp.Flow{
					NextIncomingID: amqp.Some(p.got[0]), IncomingWindow: window, NextOutgoingID: 1, OutgoingWindow: 1, Handle: amqp.Some(h),
					DeliveryCount: amqp.Some(1), LinkCredit: amqp.Some(grant.credit),
				})
			})
			synctest.Wait()
			if window == 5000 && grant.credit == 1 && len(told) != 2 { // credit is for messages, whatever their frames
				t.Fatalf("%d are done with credit for two", len(told))
			}
			if window < 5000 && len(told) != 1 {
				t.Fatalf("%d are done in a window of %d frames", len(told), window)
			}
		}
		if len(told) != 3 || len(p.messages) != 4 || p.messages[2] != "events   "+large || p.messages[3] != "events   three" {
			t.Errorf("%d are done, %d messages", len(told), len(p.messages))
		}
		for range 3 {
			if err := <-told; err != nil {
				t.Error(err)
			}
		}
		many := 0
		var full error
		for range 100 {
			c.Publish(link.Message{Topic: topics.Telemetry("dev", nil), Payload: make([]byte, 10_000)}, func(err error) {
				if many++; full == nil {
					full = err
				}
			})
		}
		if many == 0 || many > 80 || !errors.Is(full, context.DeadlineExceeded) {
			t.Errorf("%d of 100 do not wait: %v", many, full)
		}
		p.locked(func() { // it wants to have it all, or to take its credit back
			p.say(0, &amqp.Flow{
				NextIncomingID: amqp.Some(p.got[0]), IncomingWindow: 5000, NextOutgoingID: 1, OutgoingWindow: 1, Handle: amqp.Some(2), DeliveryCount: amqp.Some(3),
				LinkCredit: amqp.Some(1000), Drain: true,
			})
		})
		synctest.Wait()
		if last := p.said[len(p.said)-1]; many != 100 || last != "flow 0 of 2" {
			t.Errorf("%d of 100 are done after a drain, and then it said %s", many, last)
		}
		c.Abort()
		<-c.over
	})
}

// The largest grants that there are are grants.
func TestLargestGrants(t *testing.T) {
	p := newPeer()
	p.credit, p.begin.IncomingWindow = 1<<32-1, 1<<32-1
	in(t, p, func(t *testing.T, c *client) {
		if err := c.publish(link.Message{Topic: topics.Telemetry("dev", nil), QoS: 1}); err != nil {
			t.Error(err)
		}
		c.Close()
		<-c.over
	})
}

func TestEcho(t *testing.T) {
	p := newPeer()
	in(t, p, func(t *testing.T, c *client) {
		p.locked(func() {
			p.say(0, &amqp.Flow{NextIncomingID: amqp.Some(p.got[0]), IncomingWindow: 5000, NextOutgoingID: 1, OutgoingWindow: 1, Echo: true})
		})
		synctest.Wait()
		if last := p.said[len(p.said)-1]; last != "flow 0 of 0" {
			t.Errorf("said %s", last)
		}
		c.Close()
		<-c.over
	})
}

func TestSecondMode(t *testing.T) {
	p := newPeer()
	p.on = func(p *peer, ch uint16, b amqp.Body) bool {
		if b.Code != amqp.CodeTransfer {
			return false
		}
		var x amqp.Transfer
		if x.Decode(b.Fields) != nil || x.Handle != 2 {
			return false
		}
		p.say(ch, &amqp.Disposition{Role: amqp.RoleReceiver, First: x.DeliveryID.V, State: amqp.State{Code: amqp.Accepted}})
		return true
	}
	in(t, p, func(t *testing.T, c *client) {
		if err := c.publish(link.Message{Topic: topics.Telemetry("dev", nil), QoS: 1}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := strings.Count(strings.Join(p.said, "\n"), "disposition 1 accepted settled true"); n != 2 { // of the answer to its token, and this one
			t.Errorf("said %q", p.said)
		}
		c.Close()
		<-c.over
	})
}

func TestHeartbeats(t *testing.T) {
	p := newPeer()
	p.open.IdleTimeOut = amqp.Some(60_000)
	in(t, p, func(t *testing.T, c *client) {
		began := time.Now()
		beats := func() (n int) {
			p.locked(func() {
				for _, s := range p.said {
					if s == "heartbeat" {
						n++
					}
				}
			})
			return n
		}
		for range 8 { // it says something every 75 s, and hears something every 30
			time.Sleep(75 * time.Second)
			p.locked(func() { p.write(amqp.AppendHeartbeat(nil)) })
		}
		if n := beats(); n < 18 || n > 21 {
			t.Errorf("%d heartbeats in %v", n, time.Since(began))
		}
		silent := time.Now()
		err := <-c.over // three minutes of silence are too many
		if took := time.Since(silent); !errors.Is(err, os.ErrDeadlineExceeded) || took != 3*time.Minute {
			t.Errorf("ended with %v after %v", err, took)
		}
	})
}

func TestRenew(t *testing.T) {
	p := newPeer()
	status, names := 200, []string(nil)
	p.token = func(name, _ string) int {
		names = append(names, name)
		return status
	}
	in(t, p, func(t *testing.T, c *client) {
		renew := c.Conn.(link.Renewer).Renew
		if err := wait(renew); err != nil {
			t.Error(err)
		}
		p.locked(func() { status = 401 })
		var refused *link.RefusedError
		if err := wait(renew); !errors.As(err, &refused) || refused.Status != 401 {
			t.Errorf("refused: %v", err)
		}
		p.locked(func() { status = 0 }) // no answer
		told := make(chan error, 2)
		renew(func(err error) { told <- err })
		synctest.Wait()
		p.locked(func() { status = 200 })
		if err := wait(renew); err != nil {
			t.Error(err)
		}
		if err := <-told; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a token that another came after: %v", err)
		}
		if err := c.publish(link.Message{Topic: topics.Telemetry("dev", nil), QoS: 1}); err != nil {
			t.Errorf("the connection goes on: %v", err)
		}
		c.Close()
		<-c.over
	})
	if want := slices.Repeat([]string{"hub.example/devices/dev"}, 5); !slices.Equal(names, want) {
		t.Errorf("tokens for %q", names)
	}
}

// A device with a certificate shows no token.
func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		o := p.options("a%b/?", nil)
		o.Password = nil
		c, err := connect(t, driver.New(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(c.Conn.(link.Renewer).Renew); err != nil {
			t.Error(err)
		}
		c.Close()
		<-c.over
		<-p.done
		if got, want := fmt.Sprint(p.said[:3]), "[open hub.example 65536 180000 begin attach /devices/a%25b%2F%3F/messages/events false 255/255]"; got != want {
			t.Errorf("said %s; want %s", got, want)
		}
	})
}

// What the other side ends is told, with its condition, and answered.
func TestEndedByTheOtherSide(t *testing.T) {
	forced := &amqp.Error{Condition: amqp.DetachForced, Description: "Server Busy. Please retry operation"}
	for name, c := range map[string]struct {
		do        func(p *peer)
		condition string
		answer    string
	}{
		"detach":               {func(p *peer) { p.say(0, &amqp.Detach{Handle: 2, Closed: true, Error: forced}) }, amqp.DetachForced, "close"},
		"detach of tokens":     {func(p *peer) { p.say(0, &amqp.Detach{Handle: 0, Closed: true, Error: forced}) }, amqp.DetachForced, "close"},
		"end":                  {func(p *peer) { p.say(0, &amqp.End{Error: forced}) }, amqp.DetachForced, "close"},
		"close":                {func(p *peer) { p.say(0, &amqp.Close{Error: forced}) }, amqp.DetachForced, "close"},
		"close without a word": {func(p *peer) { p.say(0, &amqp.Close{}) }, "", "close"},
		"cut":                  {func(p *peer) { p.nc.Close() }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer()
			p.settle = func([]byte) amqp.State { return amqp.State{} }
			in(t, p, func(t *testing.T, x *client) {
				told := make(chan error, 2)
				x.Publish(link.Message{Topic: topics.Telemetry("dev", nil), QoS: 1}, func(err error) { told <- err })
				synctest.Wait()
				p.locked(func() { c.do(p) })
				err := <-x.over
				var refused *link.RefusedError
				if err == nil || errors.As(err, &refused) != (c.condition != "") || refused != nil && refused.Condition != c.condition {
					t.Errorf("ended with %v", err)
				}
				if err := <-told; !errors.Is(err, link.ErrLost) {
					t.Errorf("a message that was under way: %v", err)
				}
				synctest.Wait()
				if last := p.said[len(p.said)-1]; c.answer != "" && last != c.answer {
					t.Errorf("answered %q", last)
				}
			})
		})
	}
}
