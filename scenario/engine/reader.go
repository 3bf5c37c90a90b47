package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/eventhub"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/human"
)

// attaching is how long a run waits at most until its reader of messages reads: devices begin after that, for what they send before
// nobody would see arrive.
const attaching = time.Minute

// lingering is how long a run waits at its end for messages that are missing: their time is up, but one that is late was not lost.
const lingering = 10 * time.Second

// errReader is the class of errors of a reader that could not begin.
var errReader = errors.New("deliveries cannot be measured, since nobody can read the hub's messages")

// reading is the run's reader of the messages that devices send to a hub.
type reading struct {
	reader *eventhub.Reader // nil when there is none
	stop   func()           // ends it, and waits for it
}

// read begins to read what devices send to a hub, when deliveries are measured there, and returns when whatever they send from now on is
// read. ctx ends the wait for that alone.
func (c *conductor) read(ctx context.Context) (x reading, err error) {
	x.stop = func() {}
	if len(c.crowd.Deliveries()) == 0 || c.target.Can.Topics { // a broker's subscribers are devices
		return x, nil
	}
	open := c.opts.reader
	if open == nil {
		open = c.target.Reader
	}
	x.reader, err = open(eventhub.Options{
		Deliver: func(m eventhub.Message) { c.crowd.Delivered(m.Body, m.At) },
		Tell:    c.tellOfReader(),
	})
	if err != nil {
		return reading{}, fmt.Errorf("%w: %w", errReader, err)
	}
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.reader.Run(running) }()
	stop := func() {
		cancel()
		<-ended // it was told to: its error says nothing
	}
	timer := time.NewTimer(attaching)
	defer timer.Stop()
	select {
	case <-x.reader.Attached():
	case err := <-ended:
		cancel()
		return reading{}, fmt.Errorf("%w: %w; the policy of target.hub must have ServiceConnect", errReader, err)
	case <-timer.C:
		last := x.reader.Stats().Err
		stop()
		return reading{}, fmt.Errorf("%w within %s: %w", errReader, attaching, last)
	case <-ctx.Done():
		stop()
		return reading{}, context.Cause(ctx)
	}
	c.generator.Reads(x.reader.Behind)
	c.crowd.Listening(true)
	x.stop = stop
	return x, nil
}

// tellOfReader tells of a reader that lost its connection, and that is back: once each, however often it tries.
func (c *conductor) tellOfReader() func(error) {
	away := false
	return func(err error) {
		if (err != nil) == away {
			return
		}
		away = err != nil
		e := report.Event{Kind: report.KindWarning, OK: !away, Text: "the reader of messages is back"}
		if away {
			e.Text, e.Detail = "the reader of messages lost its connection", clean.Redact(err.Error())
		}
		c.ledger.Tell(e)
	}
}

// judgeDeliveries fails a run whose hub has acknowledged messages that nobody could read, when all else of it is over. ctx ends the wait
// for the last of them.
func (c *conductor) judgeDeliveries(ctx context.Context) {
	if c.reading.reader == nil {
		return
	}
	for end := time.Now().Add(lingering); len(c.neverRead()) > 0 && time.Now().Before(end); {
		if wait.For(ctx, lingering/100) != nil {
			break
		}
	}
	for _, x := range c.neverRead() {
		c.contradicted("messages were acknowledged that never arrived where the hub's messages are read", fmt.Sprintf("%s of %s", human.Number(int(x.Missing), "message"), x.Group))
	}
}

// neverRead are the groups of which messages are missing; none when the reader cannot tell.
func (c *conductor) neverRead() []fleet.Deliveries {
	if s := c.reading.reader.Stats(); !s.Connected || s.Restarts > 0 || s.Missing > 0 || s.Unreadable > 0 {
		return nil
	}
	return slices.DeleteFunc(c.crowd.Deliveries(), func(x fleet.Deliveries) bool { return x.Missing == 0 })
}

// noteDeliveries writes down what is to be known of deliveries beside their figures.
func (c *conductor) noteDeliveries() {
	all := c.crowd.Deliveries()
	if len(all) == 0 {
		return
	}
	d := &report.Deliveries{}
	for _, x := range all {
		d.Groups = append(d.Groups, report.Copies(x))
	}
	if c.reading.reader != nil {
		s := c.reading.reader.Stats()
		d.Reader = &report.Reading{
			Messages: s.Messages, Losses: s.Losses, Away: s.Away, Repeated: s.Repeated, Missing: s.Missing, Unreadable: s.Unreadable, Restarts: s.Restarts,
		}
		if s.Losses > 0 {
			d.Reader.Error = clean.Redact(s.Lost.Error())
		}
	}
	c.ledger.Write(func(r *report.Run) { r.Deliveries = d })
}
