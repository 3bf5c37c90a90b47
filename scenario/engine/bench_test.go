package engine_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
)

// One report from a device to its twin and back: Paho, TCP, the hub's front and store, and the response.
func BenchmarkReportRoundTrip(b *testing.B) {
	h, err := hub.Open(b.Context(), hub.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.Close() })
	c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://" + h.Addr()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	key := sas.NewKey()
	if _, err := c.Bulk(b.Context(), []registry.BulkEntry{registry.NewBulkEntry("create", "dev-1", key, sas.NewKey())}); err != nil {
		b.Fatal(err)
	}
	answers := make(chan topics.Topic, 1)
	conn, err := paho.New().Connect(b.Context(), link.Options{
		ClientID: "dev-1", Username: username.Name{Host: "localhost", DeviceID: "dev-1", APIVersion: "2021-04-12"}.String(),
		Password:  func() string { return sas.Sign("localhost/devices/dev-1", key, "", time.Now().Add(time.Hour)) },
		KeepAlive: time.Minute, CleanSession: true, Dial: link.TCP(h.Addr()),
		Handler: func(m link.Message) {
			if topic, err := topics.Parse(m.Topic); err == nil {
				answers <- topic
			}
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	served, subscribed := make(chan error, 1), make(chan error, 1)
	conn.Serve(func(err error) { served <- err })
	defer func() {
		conn.Close()
		if err := <-served; err != nil {
			b.Error(err)
		}
	}()
	conn.Subscribe(func(err error) { subscribed <- err }, link.Filter{Topic: topics.FilterTwinResponses})
	if err := <-subscribed; err != nil {
		b.Fatal(err)
	}
	body := []byte(`{"connectivity":{"type":"cellular"}}`)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		conn.Publish(link.Message{Topic: topics.Report(strconv.Itoa(n)), Payload: body}, func(error) {})
		if answer := <-answers; answer.Status != 204 {
			b.Fatalf("status %d", answer.Status)
		}
	}
}
