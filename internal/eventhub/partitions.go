package eventhub

import (
	"fmt"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

// Bounds of what a hub says of itself.
const (
	mostPartitions = 1024 // Event Hubs has no more in any tier (event-hubs-quotas)
	longestID      = 64   // bytes of a partition's id, and of an offset
	credit         = 2000 // messages of a partition that may be under way
)

// attachAll reads what partitions there are and begins to read each, behind what was read before.
func (c *conn) attachAll() error {
	e := c.r.endpoint
	if err := c.authorize(e.audience(), c.r.opts.Key.OfText()); err != nil {
		return err
	}
	manager, err := c.open(e.management())
	if err != nil {
		return err
	}
	ids, created, err := c.describe(manager)
	if err != nil {
		return err
	}
	if err := c.settle(manager, ids, created); err != nil {
		return err
	}
	links := make([]*link, len(ids))
	for i, id := range ids {
		links[i] = &link{
			name: "partition-" + id, receives: true, source: e.partition(c.r.opts.Group, id), filter: behind(c.r.places[id].offset),
			grant: credit, take: func(body []byte) error { return c.take(id, body) },
		}
		c.attach(links[i])
	}
	return c.ready("partitions for consumer group "+c.r.opts.Group, links...)
}

// describe asks which partitions there are, and when the hub's log was made.
func (c *conn) describe(manager *node) (ids []string, created time.Time, err error) {
	done := false
	take := func(m *amqp.Message) error {
		done = true
		created, _ = m.Value.Get("created_at").Time()
		seen := make(map[string]bool)
		for v := range m.Value.Get("partition_ids").Multiple() {
			id, ok := v.Text()
			if !ok || !plain(id) || seen[id] || len(ids) == mostPartitions {
				return fmt.Errorf("%w: ids of partitions that are none, or more than %d", ErrProtocol, mostPartitions)
			}
			seen[id] = true
			ids = append(ids, id)
		}
		if len(ids) == 0 {
			return fmt.Errorf("%w: an event hub without partitions", ErrProtocol)
		}
		return nil
	}
	err = c.ask(manager, "the partitions of "+c.r.endpoint.hub, nil, take, c.about("com.microsoft:eventhub")...)
	if err == nil {
		err = c.until("the partitions", func() bool { return done })
	}
	return ids, created, err
}

// about are the properties of a request of what there is.
func (c *conn) about(kind string) []property {
	return []property{{"operation", "READ"}, {"name", c.r.endpoint.hub}, {"type", kind}}
}

// settle settles from where each partition is read: from its end when it is read for the first time. A log that is another than the one
// that was read begins anew.
func (c *conn) settle(manager *node, ids []string, created time.Time) error {
	r := c.r
	first := !r.wasAttached()
	anew := !first && !created.Equal(r.created)
	left := len(ids)
	for _, id := range ids {
		take := func(m *amqp.Message) error {
			left--
			last, ok := m.Value.Get("last_enqueued_sequence_number").Int()
			offset := offsetOf(m.Value.Get("last_enqueued_offset"))
			if !ok || offset == "" {
				return fmt.Errorf("%w: a partition without a last message", ErrProtocol)
			}
			place := r.places[id]
			switch {
			case first && last >= 0:
				r.places[id] = &position{sequence: last, offset: offset}
			case first, place == nil: // it is empty, or came later: all of it is new
				at := start()
				r.places[id] = &at
			case last < place.sequence:
				anew = true
			}
			return nil
		}
		what := "the end of partition " + id
		if err := c.ask(manager, what, nil, take, append(c.about("com.microsoft:partition"), property{"partition", id})...); err != nil {
			return err
		}
	}
	if err := c.until("the ends of partitions", func() bool { return left == 0 }); err != nil {
		return err
	}
	r.created = created
	if anew {
		for _, place := range r.places {
			*place = start()
		}
		r.count(func(s *Stats) { s.Restarts++ })
	}
	return nil
}

// plain reports whether a text of the hub's may be part of an address, or of a filter.
func plain(s string) bool {
	if s == "" || len(s) > longestID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '\'' || c == '/' {
			return false
		}
	}
	return true
}

// offsetOf is an offset, which is a text; older services had a number. It is empty for what is none.
func offsetOf(v amqp.Value) string {
	if n, ok := v.Int(); ok {
		return strconv.FormatInt(n, 10)
	}
	if s, ok := v.Text(); ok && plain(s) {
		return s
	}
	return ""
}

// selector is the filter with which a reader says where it begins, and its code (AMQP filters of Apache, as Event Hubs has them).
const (
	selector     = "apache.org:selector-filter:string"
	selectorCode = 0x0000468C00000004
)

// behind is the filter of what comes behind an offset.
func behind(offset string) amqp.Value {
	b, start := amqp.BeginMap(nil)
	b = amqp.AppendSymbol(b, selector)
	b = amqp.AppendUlong(append(b, 0), selectorCode) // a described value
	b = amqp.AppendString(b, "amqp.annotation.x-opt-offset > '"+offset+"'")
	return amqp.EndMap(b, start, 1)
}

// take takes a message of a partition.
func (c *conn) take(id string, body []byte) error {
	r := c.r
	m, err := amqp.ParseMessage(body)
	out := Message{Partition: id, Sequence: -1, At: c.at}
	offset := ""
	if err == nil {
		for key, value := range m.Annotations.Pairs() {
			switch {
			case key.Is("x-opt-sequence-number"):
				if n, ok := value.Int(); ok {
					out.Sequence = n
				}
			case key.Is("x-opt-offset"):
				offset = offsetOf(value)
			case key.Is("x-opt-enqueued-time"):
				out.Enqueued, _ = value.Time()
			case key.Is("iothub-connection-device-id"):
				out.Device, _ = value.Text()
			}
		}
	}
	if err != nil || out.Sequence < 0 || offset == "" {
		r.count(func(s *Stats) { s.Unreadable++ })
		return nil
	}
	place := r.places[id]
	if out.Sequence <= place.sequence {
		r.count(func(s *Stats) { s.Repeated++ })
		return nil
	}
	missing := uint64(out.Sequence - place.sequence - 1)
	if *place == start() { // from wherever the log begins
		missing = 0
	}
	place.sequence, place.offset = out.Sequence, offset
	r.count(func(s *Stats) {
		s.Messages++
		s.Missing += missing
	})
	var ok bool
	if out.Body, ok = m.Payload(); ok {
		r.opts.Deliver(out)
	}
	return nil
}
