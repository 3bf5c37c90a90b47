package amqp

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/amqp"
)

const (
	tokenAddress = "$cbs"
	replyTo      = "cbs" // as the Node SDK has it
	sasToken     = "servicebus.windows.net:sastoken"
	// mostTokens are sent before the first is answered: with more under way the service drops a connection (azure-iot-sdk-java, AmqpsIotHubConnection).
	mostTokens = 30
)

// tokens is the pair of links over which devices show their tokens (AMQP claims-based security).
type tokens struct {
	s       *session
	out, in endpoint
	last    uint32 // id
	puts    []put  // that are not answered, those that were sent first
	sent    int
}

// put is a token on its way.
type put struct {
	id   uint32
	x    *device
	done func(error) // of a renewal; nil of a device that connects
}

// put shows the token of a device.
func (c *conn) put(x *device, done func(error)) bool {
	t := c.tokens
	if t == nil {
		t = &tokens{s: x.s}
		if !t.out.attach(x.s, tokensOut, nil, tokenAddress, nil) {
			return false
		}
		if !t.in.attach(x.s, tokensIn, nil, tokenAddress, nil) {
			t.out.detach() // of which one alone is of no use
			return false
		}
		c.tokens = t
	}
	t.last++
	t.puts = append(t.puts, put{t.last, x, done})
	t.pump()
	return true
}

// pump sends tokens, as many as there is credit for: one that waited might be nobody's any more.
func (t *tokens) pump() {
	if t.out.state != attached || t.in.state != attached {
		return
	}
	for t.sent < len(t.puts) && t.sent < mostTokens && t.out.credit > 0 && t.s.window > 0 && len(t.out.queue) == 0 {
		p := &t.puts[t.sent]
		t.sent++
		c, id := t.s.c, p.id
		token := ""
		if p.x.password != nil {
			token = p.x.password()
		}
		message := appendPut(nil, id, p.x.audience(), token)
		t.out.transmit(message, false, func(err error) {
			if err != nil {
				c.lock()
				defer c.unlock()
				t.end(id, err)
			}
		})
	}
}

// appendPut appends the message that shows a token.
func appendPut(b []byte, id uint32, audience, token string) []byte {
	b = amqp.AppendProperties(b, &amqp.Properties{
		MessageID: amqp.AppendString(nil, strconv.FormatUint(uint64(id), 10)), To: amqp.AppendString(nil, tokenAddress), ReplyTo: replyTo,
	})
	b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
	for _, p := range [][2]string{{"operation", "put-token"}, {"type", sasToken}, {"name", audience}} {
		b = amqp.AppendString(amqp.AppendString(b, p[0]), p[1])
	}
	b = amqp.EndMap(b, start, 3)
	return amqp.AppendString(amqp.AppendBody(b), token)
}

// audience is what the token of a device is for.
func (x *device) audience() string { return x.c.host + "/devices/" + url.PathEscape(x.id) }

// answered takes the answer to a token.
func (t *tokens) answered(message []byte) error {
	m, err := amqp.ParseMessage(message)
	if err != nil {
		return err
	}
	text, _ := m.Properties.CorrelationID.Text()
	id, err := strconv.ParseUint(text, 10, 32)
	status, ok := m.Application.Get("status-code").Int()
	if err != nil || !ok { // an answer to nobody
		return nil
	}
	if status >= 200 && status < 300 {
		t.end(uint32(id), nil)
	} else {
		t.end(uint32(id), refusal(status))
	}
	return nil
}

// refusal is a status, of a token or of a twin, that is none of success.
func refusal(status int64) error { return &link.RefusedError{Status: int(max(1, min(status, 1000)))} }

// end ends the wait for an answer; nothing is known of what is not waited for.
func (t *tokens) end(id uint32, err error) {
	i := slices.IndexFunc(t.puts, func(p put) bool { return p.id == id })
	if i < 0 || i >= t.sent {
		return
	}
	p := t.puts[i]
	t.remove(i)
	switch {
	case p.done != nil:
		t.s.c.tell(p.done, err)
	case err != nil:
		p.x.end(err, false)
	default:
		p.x.authorized()
	}
	t.pump()
}

func (t *tokens) remove(i int) {
	if t.puts = slices.Delete(t.puts, i, i+1); len(t.puts) == 0 {
		t.puts = nil
	}
	if i < t.sent {
		t.sent--
	}
}

// forget takes a device's tokens off, and returns who waits for them.
func (t *tokens) forget(x *device) (waiting []func(error)) {
	for i := len(t.puts) - 1; i >= 0; i-- {
		if p := t.puts[i]; p.x == x {
			if p.done != nil {
				waiting = append(waiting, p.done)
			}
			t.remove(i)
		}
	}
	return waiting
}
