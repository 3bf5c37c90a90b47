package eventhub

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

func parsed(text string) Address {
	parts, _ := address.Parse(text)
	return ParseAddress(parts, "hub")
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]Address{
		"$management":                            {Kind: Management},
		"/$management":                           {Kind: Management},
		"Hub/$management":                        {Kind: Management, Hub: "Hub"},
		"amqps://localhost:5671/hub/$management": {Kind: Management, Hub: "hub"},
		"hub":                                    {Kind: Hub, Hub: "hub"},
		"hub/ConsumerGroups/$Default/Partitions/3":             {Kind: Partition, Hub: "hub", Group: "$Default", Partition: 3},
		"sb://h/hub/consumergroups/%24default/partitions/0/":   {Kind: Partition, Hub: "hub", Group: "$default"},
		"hub/ConsumerGroups/g/Partitions/x":                    {Kind: Partition, Hub: "hub", Group: "g", Partition: -1},
		"hub/ConsumerGroups/g/Partitions/-3":                   {Kind: Partition, Hub: "hub", Group: "g", Partition: -1},
		"messages/events":                                      {Kind: Hub, Device: true},
		"/messages/events/":                                    {Kind: Hub, Device: true},
		"messages/Events/$management":                          {Kind: Management, Device: true},
		"messages/events/ConsumerGroups/$Default/Partitions/1": {Kind: Partition, Group: "$Default", Partition: 1, Device: true},
		"other/$management":                                    {},
		"other/ConsumerGroups/$Default/Partitions/0":           {Kind: Elsewhere, Hub: "other"},
		"":                                {},
		"hub/ConsumerGroups/g/Partitions": {Hub: "hub"},
		"hub/Publishers/x":                {Hub: "hub"},
		"/devices/d/messages/events":      {},
		"%zz":                             {},
	} {
		if got := parsed(text); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

// filter is a source's filter as a client writes it.
func filter(describe func([]byte) []byte, key, text string) amqp.Value {
	b, start := amqp.BeginMap(nil)
	b = amqp.AppendSymbol(b, key)
	return amqp.EndMap(amqp.AppendString(describe(b), text), start, 1)
}

func byCode(code uint64) func([]byte) []byte {
	return func(b []byte) []byte { return amqp.AppendUlong(append(b, 0), code) }
}

func TestFrom(t *testing.T) {
	bySymbol := func(b []byte) []byte { return amqp.AppendSymbol(append(b, 0), Selector) }
	bare := func(b []byte) []byte { return b }
	for text, want := range map[string]eventlog.From{
		"amqp.annotation.x-opt-offset > '-1'":                  eventlog.Start(),
		"amqp.annotation.x-opt-offset > '@latest'":             eventlog.End(),
		"amqp.annotation.x-opt-offset > 42":                    eventlog.AfterOffset(42, false),
		"amqp.annotation.x-opt-offset>='42'":                   eventlog.AfterOffset(42, true),
		"amqp.annotation.x-opt-sequence-number > '7'":          eventlog.AfterSequence(7, false),
		"amqp.annotation.x-opt-sequence-number > '-1'":         eventlog.Start(),
		"amqp.annotation.x-opt-enqueued-time >= 1764300000000": eventlog.AfterEnqueued(time.UnixMilli(1764300000000), true),
	} {
		for name, describe := range map[string]func([]byte) []byte{"code": byCode(selectorCode), "symbol": bySymbol, "bare": bare} {
			got, err := From(filter(describe, Selector, text))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s: %+v, %v", text, name, got, err)
			}
		}
	}
	if got, err := From(nil); err != nil || !reflect.DeepEqual(got, eventlog.Start()) {
		t.Errorf("no filter: %+v, %v", got, err)
	}
	for name, bad := range map[string]amqp.Value{
		"another filter":      filter(bare, "apache.org:no-local-filter:list", "x"),
		"described elsewise":  filter(byCode(1), Selector, "amqp.annotation.x-opt-offset > '1'"),
		"no comparison":       filter(bare, Selector, "amqp.annotation.x-opt-offset = '1'"),
		"a property":          filter(bare, Selector, "properties.x > '1'"),
		"another annotation":  filter(bare, Selector, "amqp.annotation.x-opt-partition-key > '1'"),
		"no number":           filter(bare, Selector, "amqp.annotation.x-opt-sequence-number > '@latest'"),
		"a quote that is one": filter(bare, Selector, "amqp.annotation.x-opt-offset > '"),
		"of 60 KB":            filter(bare, Selector, strings.Repeat("x", 60<<10)),
	} {
		if _, err := From(bad); !errors.Is(err, ErrFilter) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// fixed is a log of two partitions.
type fixed struct{ enabled bool }

func (f *fixed) Created() time.Time           { return time.UnixMilli(1764000000000) }
func (f *fixed) Partitions() int              { return 2 }
func (f *fixed) Enable(context.Context) error { f.enabled = true; return nil }
func (f *fixed) Status(_ context.Context, n int) (eventlog.Status, error) {
	if n < 0 || n > 1 {
		return eventlog.Status{}, fmt.Errorf("%w: %d", eventlog.ErrNoPartition, n)
	}
	if n == 1 {
		return eventlog.Status{Last: eventlog.Position{Sequence: -1, Offset: -1}, Empty: true}, nil
	}
	return eventlog.Status{Begin: 3, Last: eventlog.Position{Sequence: 9, Offset: 4096, Enqueued: time.UnixMilli(1764300000123)}}, nil
}

// ask has the request written, and the answer read, by Microsoft's library.
func ask(t *testing.T, d Describer, id any, properties map[string]any) (*goamqp.Message, map[string]any) {
	t.Helper()
	b, err := (&goamqp.Message{Properties: &goamqp.MessageProperties{MessageID: id}, ApplicationProperties: properties}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	m, err := amqp.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	var answer goamqp.Message
	if err := answer.UnmarshalBinary(d.Answer(t.Context(), &m)); err != nil {
		t.Fatal(err)
	}
	if answer.Properties.CorrelationID != id {
		t.Errorf("correlation id %T %v, want %T %v", answer.Properties.CorrelationID, answer.Properties.CorrelationID, id, id)
	}
	body, _ := answer.Value.(map[string]any)
	for k, v := range body {
		if at, ok := v.(time.Time); ok {
			body[k] = at.UTC()
		}
	}
	return &answer, body
}

func TestManagement(t *testing.T) {
	created := time.UnixMilli(1764000000000).UTC()
	log := &fixed{}
	d := Describer{Name: "hub", Log: log}
	answer, body := ask(t, d, uint64(7), map[string]any{"operation": "READ", "name": "HUB", "type": "com.microsoft:eventhub", "security_token": "secret"})
	want := map[string]any{
		"name": "hub", "type": "com.microsoft:eventhub", "created_at": created, "partition_count": int32(2), "partition_ids": []string{"0", "1"},
		"georeplication_factor": int32(1),
	}
	if answer.ApplicationProperties["status-code"] != int32(200) || !reflect.DeepEqual(body, want) || !log.enabled {
		t.Errorf("%v %#v", answer.ApplicationProperties, body)
	}
	_, body = ask(t, d, "x", map[string]any{"operation": "READ", "name": "hub", "type": "com.microsoft:partition", "partition": "0"})
	want = map[string]any{
		"name": "hub", "type": "com.microsoft:partition", "partition": "0", "begin_sequence_number": int64(3), "last_enqueued_sequence_number": int64(9),
		"last_enqueued_offset": "4096", "last_enqueued_time_utc": time.UnixMilli(1764300000123).UTC(), "is_partition_empty": false,
	}
	if !reflect.DeepEqual(body, want) {
		t.Errorf("%#v", body)
	}
	_, body = ask(t, d, goamqp.UUID{1}, map[string]any{"operation": "READ", "type": "com.microsoft:partition", "partition": int32(1)})
	if body["is_partition_empty"] != true || body["last_enqueued_offset"] != "-1" || body["last_enqueued_sequence_number"] != int64(-1) {
		t.Errorf("%#v", body)
	}
	for name, c := range map[string]struct {
		status     int32
		properties map[string]any
	}{
		"another hub":       {404, map[string]any{"operation": "READ", "name": "other", "type": "com.microsoft:eventhub"}},
		"no such partition": {404, map[string]any{"operation": "READ", "name": "hub", "type": "com.microsoft:partition", "partition": "2"}},
		"no number":         {404, map[string]any{"operation": "READ", "name": "hub", "type": "com.microsoft:partition", "partition": "x"}},
		"another operation": {400, map[string]any{"operation": "DELETE", "name": "hub", "type": "com.microsoft:eventhub"}},
		"another type":      {400, map[string]any{"operation": "READ", "name": "hub", "type": "com.microsoft:queue"}},
		"nothing":           {400, nil},
	} {
		answer, body := ask(t, d, "x", c.properties)
		if answer.ApplicationProperties["status-code"] != c.status || body != nil || answer.ApplicationProperties["status-description"] == "" {
			t.Errorf("%s: %v %v", name, answer.ApplicationProperties, body)
		}
	}
}

// Clients take the path out of the address of a redirect.
func TestRedirect(t *testing.T) {
	a := parsed("messages/events/ConsumerGroups/g/Partitions/1")
	e := RedirectTo("localhost", 5671, "hub", a)
	to, _ := e.Info.Get("address").Text()
	port := e.Info.Get("port")
	if to != "amqps://localhost:5671/hub/ConsumerGroups/g/Partitions/1" || port.Kind() != amqp.Int || e.Condition != "amqp:link:redirect" {
		t.Errorf("%q %v %v", to, port.Kind(), e)
	}
	if got := parsed(to); got.Kind != Partition || got.Group != "g" || got.Partition != 1 || got.Device {
		t.Errorf("%+v", got)
	}
	for text, want := range map[string]string{"messages/events": "/hub/", "messages/events/$management": "/hub/$management"} {
		e := RedirectTo("localhost", 5671, "hub", parsed(text))
		if got, _ := e.Info.Get("address").Text(); !strings.HasSuffix(got, ":5671"+want) {
			t.Errorf("%s: %s", text, got)
		}
	}
}
