package eventhub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

// Log is what the endpoint tells of.
type Log interface {
	Created() time.Time
	Partitions() int
	Status(ctx context.Context, number int) (eventlog.Status, error)
	Enable(ctx context.Context) error
}

// Describer answers the requests of $management.
type Describer struct {
	Name string // of the event hub
	Log  Log
}

// Types of what is described.
const (
	typeHub       = "com.microsoft:eventhub"
	typePartition = "com.microsoft:partition"
)

// fault is why a request is not answered as it was meant.
type fault struct {
	status int // as of HTTP
	text   string
}

func (f fault) Error() string { return f.text }

// Answer answers a request with an encoded message. It fails for nothing: what is wrong with a request is in its answer.
func (d Describer) Answer(ctx context.Context, m *amqp.Message) []byte {
	body, err := d.describe(ctx, m)
	status, text := http.StatusOK, "OK"
	if err != nil {
		status, text = http.StatusInternalServerError, err.Error()
		var f fault
		if errors.As(err, &f) {
			status = f.status
		}
		body = nil
	}
	b := amqp.AppendProperties(nil, &amqp.Properties{CorrelationID: m.Properties.MessageID})
	b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
	b = amqp.AppendInt(amqp.AppendString(b, "status-code"), int32(status))
	b = amqp.AppendString(amqp.AppendString(b, "status-description"), text)
	b = amqp.EndMap(b, start, 2)
	b = amqp.AppendBody(b)
	return amqp.AppendValue(b, body)
}

// describe is what a request asks for.
func (d Describer) describe(ctx context.Context, m *amqp.Message) (amqp.Value, error) {
	operation, _ := m.Application.Get("operation").Text()
	kind, _ := m.Application.Get("type").Text()
	name, named := m.Application.Get("name").Text()
	switch {
	case operation != "READ":
		return nil, fault{http.StatusBadRequest, fmt.Sprintf("the operation %.60q is not supported: READ is", operation)}
	case named && !fold(name, d.Name):
		return nil, fault{http.StatusNotFound, fmt.Sprintf("The messaging entity %.100q could not be found: the event hub is %q", name, d.Name)}
	case kind == typeHub:
		if err := d.Log.Enable(ctx); err != nil {
			return nil, err
		}
		return d.hub(), nil
	case kind == typePartition:
		text := partitionText(m.Application.Get("partition"))
		number, err := strconv.Atoi(text)
		if err != nil {
			number = -1
		}
		s, err := d.Log.Status(ctx, number)
		switch {
		case errors.Is(err, eventlog.ErrNoPartition):
			return nil, fault{http.StatusNotFound, fmt.Sprintf("there is no partition %.20q: there are %d", text, d.Log.Partitions())}
		case err != nil:
			return nil, err
		}
		return d.partition(text, s), nil
	}
	return nil, fault{http.StatusBadRequest, fmt.Sprintf("the type %.60q is not supported: %s and %s are", kind, typeHub, typePartition)}
}

// partitionText is a partition as a client names it: by a string, or by a number.
func partitionText(v amqp.Value) string {
	if n, ok := v.Int(); ok {
		return strconv.FormatInt(n, 10)
	}
	text, _ := v.Text()
	return text
}

func (d Describer) hub() amqp.Value {
	ids := make([]string, d.Log.Partitions())
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	b, start := amqp.BeginMap(nil)
	b = amqp.AppendString(amqp.AppendString(b, "name"), d.Name)
	b = amqp.AppendString(amqp.AppendString(b, "type"), typeHub)
	b = amqp.AppendTime(amqp.AppendString(b, "created_at"), d.Log.Created())
	b = amqp.AppendInt(amqp.AppendString(b, "partition_count"), int32(len(ids)))
	b = amqp.AppendStrings(amqp.AppendString(b, "partition_ids"), ids...)
	b = amqp.AppendInt(amqp.AppendString(b, "georeplication_factor"), 1) // Microsoft's client for Go wants it
	return amqp.EndMap(b, start, 6)
}

func (d Describer) partition(number string, s eventlog.Status) amqp.Value {
	at := s.Last.Enqueued
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	b, start := amqp.BeginMap(nil)
	b = amqp.AppendString(amqp.AppendString(b, "name"), d.Name)
	b = amqp.AppendString(amqp.AppendString(b, "type"), typePartition)
	b = amqp.AppendString(amqp.AppendString(b, "partition"), number)
	b = amqp.AppendLong(amqp.AppendString(b, "begin_sequence_number"), s.Begin)
	b = amqp.AppendLong(amqp.AppendString(b, "last_enqueued_sequence_number"), s.Last.Sequence)
	b = amqp.AppendString(amqp.AppendString(b, "last_enqueued_offset"), strconv.FormatInt(s.Last.Offset, 10))
	b = amqp.AppendTime(amqp.AppendString(b, "last_enqueued_time_utc"), at)
	b = amqp.AppendBool(amqp.AppendString(b, "is_partition_empty"), s.Empty)
	return amqp.EndMap(b, start, 8)
}

// RedirectTo is the error with which a client is sent to the endpoint: at a host and a port, to what it asked for.
func RedirectTo(host string, port int, name string, a Address) *amqp.Error {
	to := "amqps://" + host + ":" + strconv.Itoa(port) + "/" + a.Path(name)
	b, start := amqp.BeginMap(nil)
	b = amqp.AppendString(amqp.AppendSymbol(b, "hostname"), host)
	b = amqp.AppendString(amqp.AppendSymbol(b, "network-host"), host)
	b = amqp.AppendInt(amqp.AppendSymbol(b, "port"), int32(port))
	b = amqp.AppendString(amqp.AppendSymbol(b, "address"), to)
	b = amqp.AppendString(amqp.AppendSymbol(b, "com.microsoft:tracking-id"), condition.TrackingID())
	return &amqp.Error{Condition: amqp.Redirect, Description: "Moved to the Event-Hubs-compatible endpoint: " + to, Info: amqp.EndMap(b, start, 5)}
}
