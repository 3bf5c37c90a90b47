package hub_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	driver "github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// driven is a device that the driver of AMQP connects.
type driven struct {
	link.Conn
	heard chan string
	over  chan error
}

// drive connects a device, with a key.
func drive(t *testing.T, d link.Driver, dial link.Dialer, id string, key sas.Key, connection int) (*driven, error) {
	t.Helper()
	x := &driven{heard: make(chan string, 100), over: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var err error
	x.Conn, err = d.Connect(ctx, link.Options{
		ClientID: id, Host: "localhost", KeepAlive: time.Minute, Connection: connection, Dial: dial,
		Password: func() string { return sas.Sign("localhost/devices/"+id, key, "", time.Now().Add(time.Hour)) },
		Handler:  func(m link.Message) { x.heard <- m.Topic + " " + string(m.Payload) },
	})
	if err == nil {
		x.Serve(func(err error) { x.over <- err })
	}
	return x, err
}

// does waits until something is done.
func (x *driven) does(t *testing.T, begin func(done func(error))) error {
	t.Helper()
	result := make(chan error, 2)
	begin(func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
		return nil
	}
}

func (x *driven) says(t *testing.T, topic, payload string, qos byte) error {
	t.Helper()
	return x.does(t, func(done func(error)) {
		x.Publish(link.Message{Topic: topic, Payload: []byte(payload), QoS: qos}, done)
	})
}

func (x *driven) hears(t *testing.T, begins, holds string) string {
	t.Helper()
	select {
	case got := <-x.heard:
		if !strings.HasPrefix(got, begins) || !strings.Contains(got, holds) {
			t.Errorf("heard %q; want %s… %s", got, begins, holds)
		}
		return got
	case err := <-x.over:
		t.Fatalf("%s: the connection is over: %v", begins, err)
	case <-time.After(20 * time.Second):
		t.Fatalf("does not hear %s", begins)
	}
	return ""
}

func (x *driven) ends(t *testing.T) error {
	t.Helper()
	select {
	case err := <-x.over:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
		return nil
	}
}

// The fleet's driver of AMQP and the hub understand each other, over every transport.
func TestAMQPDriver(t *testing.T) {
	h, c := open(t, hub.Options{})
	trust := &tls.Config{RootCAs: h.CAPool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
	clear := link.TCP(h.Addr())
	for transport, dial := range map[string]link.Dialer{
		"tcp": clear, "tls": link.TLS(clear, trust), "ws": link.WebSocket(clear, "localhost", "/$iothub/websocket", link.WebAMQP), "memory": h.Dial,
	} {
		t.Run(transport, func(t *testing.T) {
			id := "amqp-" + transport
			key := newDevice(t, c, id).Authentication.SymmetricKey.Primary
			d := driver.New()
			var refused *link.RefusedError
			if _, err := drive(t, d, dial, id, sas.NewKey(), 0); !errors.As(err, &refused) || refused.Status != 401 {
				t.Errorf("a wrong key: %v", err)
			}
			x, err := drive(t, d, dial, id, key, 0)
			if err != nil {
				t.Fatal(err)
			}
			x.wholeLife(t, c, id)
			second, err := drive(t, d, dial, id, key, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := x.ends(t); err == nil {
				t.Error("a device that another connection took over ended as if this side had wanted it")
			}
			second.Close()
			if err := second.ends(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// wholeLife is all that a device does on a connection.
func (x *driven) wholeLife(t *testing.T, c *service.Client, id string) {
	t.Helper()
	if err := x.does(t, func(done func(error)) {
		x.Subscribe(done, link.Filter{Topic: topics.FilterTwinResponses}, link.Filter{Topic: topics.FilterDesired}, link.Filter{Topic: topics.FilterMethods},
			link.Filter{Topic: topics.FilterC2D(id)})
	}); err != nil {
		t.Fatal(err)
	}
	if err := x.says(t, topics.TwinGet("1"), " ", 0); err != nil {
		t.Error(err)
	}
	x.hears(t, "$iothub/twin/res/200/?$rid=1", `"reported":{"$version":1}`)
	if err := x.says(t, topics.Report("2"), `{"connectivity":{"type":"cellular"}}`, 0); err != nil {
		t.Error(err)
	}
	x.hears(t, "$iothub/twin/res/20", "/?$rid=2&$version=2 ")
	if err := x.says(t, topics.Report("3"), `[]`, 0); err != nil {
		t.Error(err)
	}
	x.hears(t, "$iothub/twin/res/400/?$rid=3", "")
	if _, err := c.PatchTwin(t.Context(), id, []byte(`{"properties":{"desired":{"interval":15}}}`), ""); err != nil {
		t.Fatal(err)
	}
	x.hears(t, "$iothub/twin/PATCH/properties/desired/?$version=2 ", `"interval":15`)
	answer := make(chan error, 1)
	go func() {
		r, err := c.InvokeMethod(t.Context(), id, methods.Request{Name: "reboot", Payload: json.RawMessage(`{"in":5}`), ResponseTimeout: methods.Seconds(10 * time.Second)})
		if err == nil && (r.Status != 202 || string(r.Payload) != `{"ok":true}`) {
			err = fmt.Errorf("answered %+v", r)
		}
		answer <- err
	}()
	call := x.hears(t, "$iothub/methods/POST/reboot/?$rid=", `{"in":5}`)
	topic, _, _ := strings.Cut(call, " ")
	parsed, err := topics.Parse(topic)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.says(t, topics.MethodResponse(202, parsed.RequestID), `{"ok":true}`, 1); err != nil {
		t.Error(err)
	}
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if err := c.SendC2D(t.Context(), id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	x.hears(t, topics.C2D(id, nil), "hello")
	for qos := range byte(2) {
		if err := x.says(t, topics.Telemetry(id, topics.Bag{{Name: "a", Value: "b", HasValue: true}}), `{"temperature":21}`, qos); err != nil {
			t.Error(err)
		}
	}
	if err := x.does(t, x.Conn.(link.Renewer).Renew); err != nil {
		t.Error(err)
	}
	var refused *link.RefusedError
	if err := x.says(t, topics.Telemetry(id, nil), strings.Repeat("x", 300_000), 1); !errors.As(err, &refused) || refused.Condition != "amqp:link:message-size-exceeded" {
		t.Errorf("a message that is too large: %v", err)
	}
	if err := x.says(t, topics.Telemetry(id, nil), "{}", 1); err != nil {
		t.Error(err)
	}
}

// Many devices on one connection: each with its own twin, and what the service does to one is no matter of the others.
func TestAMQPDriverShares(t *testing.T) {
	h, c := open(t, hub.Options{})
	const n = 50
	d := driver.New()
	keys, all := make([]sas.Key, n), make([]*driven, n)
	for i := range n {
		keys[i] = newDevice(t, c, fmt.Sprint("shared-", i)).Authentication.SymmetricKey.Primary
	}
	var connecting sync.WaitGroup
	for i := range n {
		connecting.Go(func() {
			x, err := drive(t, d, h.Dial, fmt.Sprint("shared-", i), keys[i], 1)
			if err != nil {
				t.Errorf("device %d: %v", i, err)
			}
			all[i] = x
		})
	}
	connecting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	var refused *link.RefusedError
	if _, err := drive(t, d, h.Dial, "nobody", sas.NewKey(), 1); !errors.As(err, &refused) || !refused.Identity() {
		t.Errorf("a device that the hub does not know: %v", err)
	}
	for i := range 3 {
		all[i].wholeLife(t, c, fmt.Sprint("shared-", i))
	}
	if err := c.DeleteDevice(t.Context(), "shared-0"); err != nil {
		t.Fatal(err)
	}
	if err := all[0].ends(t); err == nil {
		t.Error("a device that is deleted ended as if this side had wanted it")
	}
	for i, x := range all[1:] {
		if err := x.says(t, topics.Telemetry(fmt.Sprint("shared-", i+1), nil), "{}", 1); err != nil {
			t.Error(err)
		}
		x.Close()
		if err := x.ends(t); err != nil {
			t.Error(err)
		}
	}
}
