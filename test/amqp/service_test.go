package amqp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"github.com/Azure/go-amqp"
	"github.com/coder/websocket"
)

func partitionAddress(n int) string {
	return fmt.Sprintf("%s/ConsumerGroups/$Default/Partitions/%d", hub.EventHub, n)
}

// reading holds the readers to one at a time: a partition takes five of a consumer group.
var reading sync.Mutex

// eventsOf are a device's first n events.
func eventsOf(t *testing.T, d identity, n int) []*amqp.Message {
	t.Helper()
	all, _ := readEvents(t, d, n)
	return all
}

// readEvents reads a device's events from the beginning until there are n, and says which partition has them.
func readEvents(t *testing.T, d identity, n int) (all []*amqp.Message, partition int) {
	t.Helper()
	reading.Lock()
	defer reading.Unlock()
	s := service(t, "service")
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	type event struct {
		m         *amqp.Message
		partition int
	}
	found := make(chan event)
	var readers sync.WaitGroup
	for p := range 4 {
		r := receiver(t, s, partitionAddress(p), &amqp.ReceiverOptions{Credit: 100})
		readers.Go(func() {
			for {
				m, err := r.Receive(ctx, nil)
				if err != nil {
					return
				}
				if m.Annotations["iothub-connection-device-id"] == d.id {
					select {
					case found <- event{m, p}:
					case <-ctx.Done():
						return
					}
				}
			}
		})
	}
	defer func() {
		cancel()
		readers.Wait()
		_ = s.Close(context.Background())
	}()
	for len(all) < n {
		select {
		case e := <-found:
			all, partition = append(all, e.m), e.partition
		case <-ctx.Done():
			t.Fatalf("%d events of %d", len(all), n)
		}
	}
	return all, partition
}

// Services' links.
func TestServices(t *testing.T) {
	t.Parallel()
	t.Run("a message that the hub cannot deliver is refused alone, with its reason", func(t *testing.T) {
		t.Parallel()
		l, d := sender(t, service(t, "service"), "/messages/devicebound", nil), newDevice(t)
		for to, want := range map[string]amqp.ErrCond{"/devices/nobody-at-all/messages/devicebound": "amqp:not-found", "/somewhere": "com.microsoft:argument-error"} {
			m := amqp.NewMessage([]byte("x"))
			m.Properties = &amqp.MessageProperties{To: &to}
			if err := l.Send(within(t), m, nil); condition(err) != want {
				t.Errorf("%s: %v", to, err)
			}
		}
		to := d.address("messages/devicebound")
		m := amqp.NewMessage([]byte("x"))
		m.Properties = &amqp.MessageProperties{To: &to, MessageID: newUUID()}
		send(t, l, m)
		if waiting(t, d) != 1 {
			t.Error("it does not wait")
		}
	})
	t.Run("feedback in two steps: its type, its tag, its user", func(t *testing.T) {
		t.Parallel()
		s, d := service(t, "service"), newDevice(t)
		sendTo(t, d, "x", "iothub-messageid", d.id, "iothub-ack", "full")
		rest(t, "DELETE", "/devices/"+d.id+"/commands", nil)
		r := receiver(t, s, "/messages/serviceBound/feedback", &amqp.ReceiverOptions{SettlementMode: amqp.ReceiverSettleModeSecond.Ptr()})
		for {
			m := receive(t, r)
			if m.Properties.ContentType == nil || *m.Properties.ContentType != "application/vnd.microsoft.iothub.feedback.json" || len(m.Properties.UserID) == 0 || len(m.DeliveryTag) != 16 {
				t.Errorf("%+v, a tag of %d bytes", m.Properties, len(m.DeliveryTag))
			}
			if err := r.AcceptMessage(within(t), m); err != nil {
				t.Fatal(err)
			}
			var records []struct{ OriginalMessageID, StatusCode string }
			if err := json.Unmarshal(m.GetData(), &records); err != nil {
				t.Fatalf("%v: %s", err, m.GetData())
			}
			for _, one := range records {
				if one.OriginalMessageID == d.id && one.StatusCode == "Purged" {
					return
				}
			}
		}
	})
	t.Run("messages/events on the hub is redirected", func(t *testing.T) {
		t.Parallel()
		for _, address := range []string{"messages/events", "messages/events/$management", "messages/events/ConsumerGroups/$Default/Partitions/0"} {
			err := refusedReceiver(within(t), service(t, "service"), address)
			var told *amqp.Error
			if !errors.As(err, &told) || told.Condition != "amqp:link:redirect" {
				t.Errorf("%s: %v", address, err)
				continue
			}
			info := told.Info
			if _, ok := info["port"].(int32); !ok || info["hostname"] == "" || info["network-host"] == nil || info["address"] == nil {
				t.Errorf("%s: %#v, the port is a %T", address, info, info["port"])
			}
		}
	})
}

// Microsoft's Event Hubs client.
func TestEventHubs(t *testing.T) {
	t.Parallel()
	overSocket := func(ctx context.Context, args azeventhubs.WebSocketConnParams) (net.Conn, error) {
		transport := websocketClient()
		c, _, err := websocket.Dial(ctx, "wss://"+hub.host+"/$servicebus/websocket", &websocket.DialOptions{Subprotocols: []string{"AMQPWSB10"}, HTTPClient: transport})
		if err != nil {
			return nil, err
		}
		c.SetReadLimit(-1)
		return websocket.NetConn(context.WithoutCancel(ctx), c, websocket.MessageBinary), nil
	}
	open := func(t *testing.T, socket bool, policy, key, name string) *azeventhubs.ConsumerClient {
		t.Helper()
		opts := &azeventhubs.ConsumerClientOptions{TLSConfig: hub.tls.Clone(), CustomEndpoint: hub.host, RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1}}
		if socket {
			opts.NewWebSocketConn, opts.TLSConfig, opts.CustomEndpoint = overSocket, nil, ""
		}
		text := fmt.Sprintf("Endpoint=sb://localhost/;SharedAccessKeyName=%s;SharedAccessKey=%s", policy, key)
		c := must[*azeventhubs.ConsumerClient](t)(azeventhubs.NewConsumerClientFromConnectionString(text, name, azeventhubs.DefaultConsumerGroup, opts))
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		return c
	}
	partition := func(t *testing.T, c *azeventhubs.ConsumerClient, id string, opts azeventhubs.PartitionClientOptions) *azeventhubs.PartitionClient {
		t.Helper()
		p := must[*azeventhubs.PartitionClient](t)(c.NewPartitionClient(id, &opts))
		t.Cleanup(func() { _ = p.Close(context.Background()) })
		return p
	}
	earliest := true
	for name, socket := range map[string]bool{"TCP": false, "WebSocket": true} {
		t.Run("properties over "+name, func(t *testing.T) {
			t.Parallel()
			c := open(t, socket, "service", hub.Policies["service"], hub.EventHub)
			all := must[azeventhubs.EventHubProperties](t)(c.GetEventHubProperties(within(t), nil))
			if all.Name != hub.EventHub || fmt.Sprint(all.PartitionIDs) != "[0 1 2 3]" || all.GeoReplicationEnabled {
				t.Errorf("%+v", all)
			}
			for _, id := range all.PartitionIDs {
				p := must[azeventhubs.PartitionProperties](t)(c.GetPartitionProperties(within(t), id, nil))
				if p.PartitionID != id || p.EventHubName != hub.EventHub {
					t.Errorf("%+v", p)
				}
			}
		})
		t.Run("events from the beginning, a number, an offset and a time over "+name, func(t *testing.T) {
			t.Parallel()
			d, s := online(t, amqp.ConnOptions{})
			l := sender(t, s, d.address("messages/events"), nil)
			for n := range 3 {
				m := amqp.NewMessage(fmt.Appendf(nil, "%d", n))
				m.ApplicationProperties = map[string]any{"n": fmt.Sprint(n)}
				send(t, l, m)
				time.Sleep(2 * time.Millisecond) // enqueued times have milliseconds
			}
			c := open(t, socket, "service", hub.Policies["service"], hub.EventHub)
			read := func(id string, start azeventhubs.StartPosition, want int) []*azeventhubs.ReceivedEventData {
				p := partition(t, c, id, azeventhubs.PartitionClientOptions{StartPosition: start})
				defer func() { _ = p.Close(context.Background()) }()
				var got []*azeventhubs.ReceivedEventData
				for end := time.Now().Add(10 * time.Second); len(got) < want && time.Now().Before(end); {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					list, err := p.ReceiveEvents(ctx, 10, nil)
					cancel()
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Fatal(err)
					}
					for _, e := range list {
						if e.SystemProperties["iothub-connection-device-id"] == d.id {
							got = append(got, e)
						}
					}
				}
				if len(got) != want {
					t.Fatalf("%d events, not %d, from %+v", len(got), want, start)
				}
				return got
			}
			where := partitionOf(t, d)
			reading.Lock()
			defer reading.Unlock()
			all := read(where, azeventhubs.StartPosition{Earliest: &earliest}, 3)
			for n, e := range all {
				if string(e.Body) != fmt.Sprint(n) || e.Properties["n"] != fmt.Sprint(n) || e.EnqueuedTime == nil || e.PartitionKey == nil || *e.PartitionKey != d.id {
					t.Errorf("%+v", e)
				}
			}
			read(where, azeventhubs.StartPosition{SequenceNumber: &all[1].SequenceNumber, Inclusive: true}, 2)
			read(where, azeventhubs.StartPosition{SequenceNumber: &all[1].SequenceNumber}, 1)
			read(where, azeventhubs.StartPosition{Offset: &all[1].Offset, Inclusive: true}, 2)
			read(where, azeventhubs.StartPosition{Offset: &all[1].Offset}, 1)
			read(where, azeventhubs.StartPosition{EnqueuedTime: all[2].EnqueuedTime, Inclusive: true}, 1)
		})
	}
	t.Run("a higher owner level takes the partition", func(t *testing.T) {
		t.Parallel()
		reading.Lock()
		t.Cleanup(reading.Unlock) // when the readers below are closed
		c := open(t, false, "service", hub.Policies["service"], hub.EventHub)
		low, high := int64(1), int64(2)
		first := partition(t, c, "1", azeventhubs.PartitionClientOptions{OwnerLevel: &low})
		read := func(p *azeventhubs.PartitionClient) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := p.ReceiveEvents(ctx, 1, nil)
			return err
		}
		if err := read(first); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		second := partition(t, open(t, false, "service", hub.Policies["service"], hub.EventHub), "1", azeventhubs.PartitionClientOptions{OwnerLevel: &high})
		if err := read(second); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		var lost *azeventhubs.Error
		eventually(t, "the lower one is told", func() bool {
			err := read(first)
			return errors.As(err, &lost) && lost.Code == azeventhubs.ErrorCodeOwnershipLost
		})
	})
	t.Run("a wrong key, a policy without ServiceConnect and an unknown hub are refused", func(t *testing.T) {
		t.Parallel()
		for _, c := range []*azeventhubs.ConsumerClient{
			open(t, false, "service", "AAAA", hub.EventHub),
			open(t, false, "registryRead", hub.Policies["registryRead"], hub.EventHub),
			open(t, false, "service", hub.Policies["service"], "another"),
		} {
			if _, err := c.GetEventHubProperties(within(t), nil); err == nil {
				t.Error("it is accepted")
			}
		}
	})
}

// partitionOf is the partition that has a device's events.
func partitionOf(t *testing.T, d identity) string {
	t.Helper()
	_, partition := readEvents(t, d, 1)
	return fmt.Sprint(partition)
}
