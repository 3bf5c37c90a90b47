package eventhub

import (
	"fmt"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// node is a node of the hub that answers requests: two links.
type node struct {
	address       string
	replyTo       string
	out, answered *link
}

// atOnce is how many answers a node may send.
const atOnce = 100

// open attaches the links to a node that answers requests.
func (c *conn) open(address string) (*node, error) {
	n := &node{address: address, replyTo: address + "-answers"}
	n.out = &link{name: address + "-requests", target: address}
	n.answered = &link{name: n.replyTo, receives: true, source: address, target: n.replyTo, grant: atOnce, take: c.answered}
	c.attach(n.out)
	c.attach(n.answered)
	return n, c.ready("the node "+address, n.out, n.answered)
}

// answered takes an answer to a request. One that nobody waits for is none.
func (c *conn) answered(body []byte) error {
	m, err := amqp.ParseMessage(body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	id, _ := m.Properties.CorrelationID.Text()
	take := c.answers[id]
	if take == nil {
		return nil
	}
	delete(c.answers, id)
	return take(&m)
}

// property is a property of a request, which is text.
type property struct{ name, value string }

// ask sends a request to a node; take is given the answer when its status is that of success.
func (c *conn) ask(n *node, what string, body amqp.Value, take func(*amqp.Message) error, properties ...property) error {
	if err := c.until("leave to ask for "+what, func() bool { return n.out.credit > 0 && c.window > 0 || n.out.ended != nil }); err != nil {
		return err
	}
	c.asked++
	id := "r" + strconv.Itoa(c.asked)
	c.answers[id] = func(m *amqp.Message) error {
		if err := status(what, m); err != nil {
			return err
		}
		return take(m)
	}
	b := amqp.AppendProperties(nil, &amqp.Properties{
		MessageID: amqp.AppendString(nil, id), To: amqp.AppendString(nil, n.address), ReplyTo: n.replyTo,
	})
	b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
	for _, p := range properties {
		b = amqp.AppendString(amqp.AppendString(b, p.name), p.value)
	}
	b = amqp.EndMap(b, start, len(properties))
	c.transfer(n.out, amqp.AppendValue(amqp.AppendBody(b), body))
	return nil
}

// status is an error unless an answer says that the request has succeeded. Names of its properties differ between nodes.
func status(what string, m *amqp.Message) error {
	code, text := int64(0), ""
	for key, value := range m.Application.Pairs() {
		switch {
		case key.Is("status-code"), key.Is("statusCode"):
			code, _ = value.Int()
		case key.Is("status-description"), key.Is("statusDescription"):
			text, _ = value.Text()
		}
	}
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 400 && code < 500 && code != 408 && code != 429:
		return fmt.Errorf("%s: %w with status %d: %s", what, ErrRefused, code, line(text))
	}
	return fmt.Errorf("%s: the hub answers with status %d: %s", what, code, line(text))
}

// authorize shows a token for a resource, of which there will be others when it gets old.
func (c *conn) authorize(audience string, key sas.Key) error {
	c.audience, c.key = audience, key
	var err error
	if c.cbs, err = c.open("$cbs"); err != nil {
		return err
	}
	return c.putToken()
}

// putToken shows a new token and waits until it is accepted.
func (c *conn) putToken() error {
	now := time.Now()
	token := sas.Sign(c.audience, c.key, c.r.opts.Policy, now.Add(c.r.opts.Life))
	accepted := false
	err := c.ask(c.cbs, "the token of policy "+c.r.opts.Policy, amqp.AppendString(nil, token),
		func(*amqp.Message) error { accepted = true; return nil },
		property{"operation", "put-token"}, property{"type", "servicebus.windows.net:sastoken"}, property{"name", c.audience})
	if err != nil {
		return err
	}
	c.renew = time.Time{}
	if err := c.until("the answer to a token", func() bool { return accepted }); err != nil {
		return err
	}
	c.renew = now.Add(c.r.opts.Life * 4 / 5)
	return nil
}
