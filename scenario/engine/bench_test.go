package engine_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
)

// One report from a device to its twin and back: Paho, TCP, the hub's front and store, and the response.
func BenchmarkReportRoundTrip(b *testing.B) {
	h, _ := openHub(b, hub.Options{})
	c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://" + h.Addr()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	key := iothub.NewKey()
	if _, err := c.Bulk(b.Context(), []iothub.BulkEntry{iothub.NewBulkEntry("create", "dev-1", key, iothub.NewKey())}); err != nil {
		b.Fatal(err)
	}
	answers := make(chan iothub.Topic, 1)
	conn, err := paho.New().Connect(b.Context(), link.Options{
		ClientID: "dev-1", Username: iothub.Username{Host: "localhost", DeviceID: "dev-1", APIVersion: "2021-04-12"}.String(),
		Password:  func() string { return iothub.NewSAS("localhost/devices/dev-1", key, "", time.Now().Add(time.Hour)) },
		KeepAlive: time.Minute, CleanSession: true, Dial: link.TCP(h.Addr()),
		Handler: func(m link.Message) {
			if topic, err := iothub.ParseTopic(m.Topic); err == nil {
				answers <- topic
			}
		},
		Lost: func(err error) { b.Error(err) },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Subscribe(b.Context(), link.Filter{Topic: iothub.FilterTwinResponses}); err != nil {
		b.Fatal(err)
	}
	body := []byte(`{"connectivity":{"type":"cellular"}}`)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		conn.Publish(link.Message{Topic: iothub.ReportTopic(strconv.Itoa(n)), Payload: body}, func(error) {})
		if answer := <-answers; answer.Status != 204 {
			b.Fatalf("status %d", answer.Status)
		}
	}
}
