package bare

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"

	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// pahoLoop connects clients, each of which subscribes, and then publishes messages with QoS 1, at a steady rate if there is one.
func pahoLoop(s Settings, out *json.Encoder) error {
	key, err := sas.ParseKey(s.Key)
	if err != nil {
		return fmt.Errorf("the key: %w", err)
	}
	clients := make([]mqtt.Client, len(s.Devices))
	before := spent()
	var connecting errgroup.Group
	connecting.SetLimit(100)
	for i, id := range s.Devices {
		connecting.Go(func() error {
			c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + s.Address).SetClientID(id).SetProtocolVersion(4).
				SetUsername(s.Host + "/" + id + "/?api-version=2021-04-12").
				SetPassword(sas.Sign(s.Host+"/devices/"+id, key, "device", time.Now().Add(time.Hour))).
				SetAutoReconnect(false).SetKeepAlive(3 * time.Minute))
			if err := done(c.Connect()); err != nil {
				return fmt.Errorf("connecting %s: %w", id, err)
			}
			clients[i] = c
			return done(c.Subscribe("$iothub/twin/res/#", 0, nil))
		})
	}
	if err := connecting.Wait(); err != nil {
		return err
	}
	f := Figures{Connected: len(clients), ConnectS: spent() - before}
	before, began := spent(), time.Now()
	var all sync.WaitGroup
	var trips, lost atomic.Int64
	each := time.Duration(0)
	if s.Rate > 0 {
		each = time.Duration(float64(len(clients)) / s.Rate * float64(time.Second))
	}
	payload := make([]byte, s.Request)
	for i, c := range clients {
		all.Go(func() {
			topic := "devices/" + s.Devices[i] + "/messages/events/"
			next, end := began.Add(time.Duration(float64(i)/float64(len(clients))*float64(each))), began.Add(s.duration())
			for ; next.Before(end) && time.Now().Before(end); next = next.Add(each) {
				time.Sleep(time.Until(next))
				if done(c.Publish(topic, 1, false, payload)) != nil {
					lost.Add(1)
				}
				trips.Add(1)
			}
		})
	}
	all.Wait()
	f.Trips, f.TripsS, f.Seconds = int(trips.Load()), spent()-before, time.Since(began).Seconds()
	for _, c := range clients {
		c.Disconnect(0)
	}
	if n := lost.Load(); n > 0 {
		return fmt.Errorf("%d of %d messages were not acknowledged", n, f.Trips)
	}
	return out.Encode(f)
}

var errLate = errors.New("no answer within 30 s")

// done waits for what a client does.
func done(t mqtt.Token) error {
	if !t.WaitTimeout(30 * time.Second) {
		return errLate
	}
	return t.Error()
}
