package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

func TestMain(m *testing.M) {
	// Some tests need a process of their own for one side.
	for variable, be := range map[string]func(string) error{devicesVariable: crowdOf, hubVariable: serveData} {
		text := os.Getenv(variable)
		if text == "" {
			continue
		}
		if err := be(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, o hub.Options) (*hub.Hub, *service.Client) {
	t.Helper()
	h, err := hub.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	to := service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://" + h.Addr()}
	if o.NoPort {
		to.BaseURL, to.Dial = "http://hub", h.Dial
	}
	c, err := service.New(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := h.Close(); err != nil {
			t.Errorf("closing the hub: %v", err)
		}
	})
	return h, c
}

func newDevice(t *testing.T, c *service.Client, id string) registry.Identity {
	t.Helper()
	d, err := c.CreateDevice(t.Context(), registry.Identity{DeviceID: id, Status: registry.StatusEnabled})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

type message struct{ topic, payload string }

func connect(t *testing.T, h *hub.Hub, id string, key sas.Key) (mqtt.Client, chan message, error) {
	t.Helper()
	messages := make(chan message, 100)
	o := mqtt.NewClientOptions().AddBroker("tcp://" + h.Addr()).SetClientID(id).SetProtocolVersion(4).SetAutoReconnect(false).SetCleanSession(true).
		SetUsername("localhost/" + id + "/?api-version=2021-04-12").
		SetPassword(sas.Sign("localhost/devices/"+id, key, "", time.Now().Add(time.Hour))).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { messages <- message{m.Topic(), string(m.Payload())} })
	c := mqtt.NewClient(o)
	token := c.Connect()
	<-token.Done()
	if token.Error() == nil {
		t.Cleanup(func() { c.Disconnect(50) })
	}
	return c, messages, token.Error()
}

func next(t *testing.T, messages chan message) message {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(5 * time.Second):
		t.Fatal("no message within five seconds")
		return message{}
	}
}

// The tutorial that the project grew out of, from both ends.
func TestTutorial(t *testing.T) {
	h, service := open(t, hub.Options{})
	d := newDevice(t, service, "dev-1")
	if _, err := service.PatchTwin(t.Context(), "dev-1", []byte(`{"tags":{"location":{"region":"US","plant":"Redmond43"}}}`), ""); err != nil {
		t.Fatal(err)
	}
	const plant = "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'"
	const cellular = plant + " AND properties.reported.connectivity.type = 'cellular'"
	count := func(sql string) int {
		t.Helper()
		n := 0
		for p := service.Query(sql, 100); p.More(); {
			page, err := p.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n += len(page.Items)
		}
		return n
	}
	if n := count(plant); n != 1 {
		t.Errorf("the plant has %d devices; want 1", n)
	}
	if n := count(cellular); n != 0 {
		t.Errorf("%d devices are cellular before any reported; want 0", n)
	}
	c, messages, err := connect(t, h, "dev-1", d.Authentication.SymmetricKey.Primary)
	if err != nil {
		t.Fatal(err)
	}
	for _, filter := range []string{topics.FilterTwinResponses, topics.FilterDesired} {
		token := c.Subscribe(filter, 1, nil)
		<-token.Done()
		if token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	c.Publish(topics.TwinGet("1"), 0, false, " ")
	if m := next(t, messages); m.topic != "$iothub/twin/res/200/?$rid=1" || m.payload != `{"desired":{"$version":1},"reported":{"$version":1}}` {
		t.Errorf("twin = %v", m)
	}
	c.Publish(topics.Report("2"), 1, false, `{"connectivity":{"type":"cellular"}}`)
	if m := next(t, messages); m.topic != "$iothub/twin/res/204/?$rid=2&$version=2" || m.payload != "" {
		t.Errorf("report = %v", m)
	}
	if n := count(cellular); n != 1 {
		t.Errorf("%d devices are cellular; want 1", n)
	}
	if _, err := service.PatchTwin(t.Context(), "dev-1", []byte(`{"properties":{"desired":{"location":"B43"}}}`), ""); err != nil {
		t.Fatal(err)
	}
	if m := next(t, messages); m.topic != "$iothub/twin/PATCH/properties/desired/?$version=2" || m.payload != `{"location":"B43","$version":2}` {
		t.Errorf("desired = %v", m)
	}
}

func TestWrongKeyIsRefused(t *testing.T) {
	h, service := open(t, hub.Options{})
	newDevice(t, service, "dev-1")
	if _, _, err := connect(t, h, "dev-1", sas.NewKey()); err == nil {
		t.Error("a wrong key was accepted")
	}
	if _, _, err := connect(t, h, "nobody", sas.NewKey()); err == nil {
		t.Error("an unknown device was accepted")
	}
}

// Writes from both sides at once: the backend's and the front's locks must not wait for each other.
func TestDesiredWhileDevicesComeAndGo(t *testing.T) {
	h, service := open(t, hub.Options{})
	const devices = 20
	var ids [devices]registry.Identity
	for i := range ids {
		ids[i] = newDevice(t, service, fmt.Sprint("dev-", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ctx.Err() == nil; n++ {
			patch, _ := json.Marshal(map[string]any{"properties": map[string]any{"desired": map[string]int{"n": n}}})
			if _, err := service.PatchTwin(t.Context(), ids[n%devices].DeviceID, patch, ""); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		d := ids[n%devices]
		c, _, err := connect(t, h, d.DeviceID, d.Authentication.SymmetricKey.Primary)
		if err != nil {
			t.Fatal(err)
		}
		c.Disconnect(0)
	}
	<-done
}
