// Package https drives devices that only send: each message is a request of HTTP/1.1 with the device's token, on a connection that
// the device keeps, one request after the other (azure-docs iot-hub-devguide-protocols). There are no twins, no methods and no
// subscriptions over it.
//
// Connecting opens the connection, TLS included, and says nothing on it: that latency is the network's and TLS's, and whether the hub takes
// the device's credentials shows with its first message. A hub may close a connection on which nothing is under way: then the device is
// connected as much as it was, and opens another for its next message, whose latency has that in it. A connection that is lost under
// a request, or that cannot be opened once more, is lost for the device too.
package https

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

const (
	apiVersion   = "2021-04-12"
	usualTimeout = 30 * time.Second // of an answer, and of opening a connection once more
	// patience comes on top of an answer's time: who waits for it learns first that it is over.
	patience  = 100 * time.Millisecond
	maxAnswer = 64 << 10 // bytes of one
	readSize  = 512      // of the buffer of what is read: answers are short
)

// What drivers find at targets that are none.
const (
	errAnswerSize link.ProtocolError = "the target answered with more than 64 KiB"
	errAnswer     link.ProtocolError = "the target did not answer as HTTP does"
)

// errNoMessage is of what is no telemetry.
var errNoMessage = errors.New("over HTTPS devices only send telemetry")

// errProperty is of a message with a property that HTTP cannot carry.
var errProperty = errors.New("the name of a property cannot be part of a header's")

// errOver is the end of a connection by this side.
var errOver = errors.New("the connection was closed")

// errQuiet is the end of a connection on which nothing was under way, by the other side.
var errQuiet = errors.New("the target closed the connection, on which nothing was under way")

// Driver makes connections. The zero value works.
type Driver struct{}

var _ link.Driver = Driver{}

// New is a Driver.
func New() Driver { return Driver{} }

// post is a request.
type post struct {
	raw  []byte // head and body
	done func(error)
}

// stream is a connection to the target.
type stream struct {
	nc      net.Conn
	limited *io.LimitedReader // of nc: what may still be read of an answer
	in      *bufio.Reader     // of limited
}

// conn is one device's.
type conn struct {
	o       link.Options
	timeout time.Duration
	ctx     context.Context // ends with the connection
	cancel  context.CancelFunc
	parts   sync.WaitGroup // goroutines

	mu     sync.Mutex
	s      *stream // nil while there is none
	served bool
	over   func(error)
	told   bool // over is told, or about to be
	ended  bool
	why    error  // of the end; nil when this side wanted it
	queue  []post // the first is under way while busy
	busy   bool
	sent   bool // the first has been given to the connection
}

// Connect opens a connection.
func (Driver) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	nc, err := o.Dial(ctx)
	if err != nil {
		return nil, link.ConnectError(ctx, err)
	}
	c := &conn{o: o, timeout: o.Timeout, s: newStream(nc)}
	if c.timeout == 0 {
		c.timeout = usualTimeout
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

func newStream(nc net.Conn) *stream {
	limited := &io.LimitedReader{R: nc}
	return &stream{nc, limited, bufio.NewReaderSize(limited, readSize)}
}

// Serve implements link.Conn.
func (c *conn) Serve(over func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served, c.over = true, over
	switch {
	case c.ended:
		go c.finish()
	case c.s != nil:
		c.watch(c.s)
	}
}

// Subscribe implements link.Conn: there is nothing to hear.
func (c *conn) Subscribe(done func(error), filters ...link.Filter) {
	if len(filters) > 0 {
		done(link.ErrSubscription)
		return
	}
	done(nil)
}

// Publish implements link.Conn.
func (c *conn) Publish(m link.Message, done func(error)) {
	raw, err := c.request(m)
	if err != nil {
		done(err)
		return
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		done(link.ErrLost)
		return
	}
	defer c.mu.Unlock()
	c.queue = append(c.queue, post{raw, done})
	c.next()
}

// next sends the first request of the queue, unless one is under way. The caller holds the lock.
func (c *conn) next() {
	if c.busy || c.ended || len(c.queue) == 0 {
		return
	}
	c.busy, c.sent = true, false
	raw := c.queue[0].raw
	c.parts.Go(func() { c.send(raw) })
}

// send gives a request to the connection, which it opens where there is none any more.
func (c *conn) send(raw []byte) {
	c.mu.Lock()
	s := c.s
	c.sent = s != nil // from now on the end of the connection is the request's too
	c.mu.Unlock()
	if s == nil {
		var err error
		if s, err = c.reopen(); err != nil {
			c.end(err, false)
			return
		}
	}
	_ = s.nc.SetDeadline(time.Now().Add(c.timeout + patience)) // a connection that is over has no use for it
	if _, err := s.nc.Write(raw); err != nil {
		c.end(err, false)
	}
}

// reopen opens a connection after the target closed the one before.
func (c *conn) reopen() (*stream, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	nc, err := c.o.Dial(ctx)
	if err != nil {
		return nil, link.ConnectError(ctx, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		link.Bottom(nc).Close()
		return nil, errOver
	}
	c.s, c.sent = newStream(nc), true
	if c.served {
		c.watch(c.s)
	}
	return c.s, nil
}

// watch reads a connection until its end. The caller holds the lock.
func (c *conn) watch(s *stream) {
	c.parts.Go(func() {
		err := c.answer(s)
		for err == nil {
			err = c.answer(s)
		}
		s.nc.Close() // says goodbye in TLS's words, where that is spoken
		if !errors.Is(err, errQuiet) {
			c.end(err, false)
		}
	})
}

// answer waits for an answer, and tells who waits for it. errQuiet is the end of the connection without one being lost.
func (c *conn) answer(s *stream) error {
	s.limited.N = maxAnswer
	_, err := s.in.Peek(1)
	c.mu.Lock()
	if !c.busy || !c.sent {
		// An answer to nothing is a farewell too: some servers say that their patience is over.
		c.s = nil
		ended := c.ended
		c.mu.Unlock()
		if ended {
			return errOver
		}
		return errQuiet
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	status, last, err := read(s)
	if err != nil {
		return err
	}
	if status >= 300 {
		err = &link.RefusedError{Status: status}
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return errOver
	}
	done := c.queue[0].done
	c.queue = c.queue[1:]
	c.busy = false
	_ = s.nc.SetDeadline(time.Time{})
	if last {
		c.s = nil
	}
	c.next()
	c.mu.Unlock()
	done(err)
	if last {
		return errQuiet
	}
	return nil
}

// read reads an answer to its end; last says that it is the connection's last.
func read(s *stream) (status int, last bool, err error) {
	for {
		resp, err := http.ReadResponse(s.in, &http.Request{Method: http.MethodPost})
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		var network net.Error
		switch {
		case s.limited.N <= 0 && err != nil:
			return 0, false, errAnswerSize
		case errors.As(err, &network), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
			return 0, false, err
		case err != nil:
			return 0, false, fmt.Errorf("%w: %w", errAnswer, err)
		case resp.StatusCode >= 200:
			return resp.StatusCode, resp.Close, nil
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return 0, false, errAnswer // nobody asked for it
		}
	}
}

// Close implements link.Conn. Requests without an answer are lost.
func (c *conn) Close() { c.end(nil, true) }

// Abort implements link.Conn.
func (c *conn) Abort() { c.end(nil, false) }

// end ends the connection, with why it is lost, or with nil when this side wants it: politely, or without a word.
func (c *conn) end(why error, politely bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.why = true, cause(why)
	c.cancel()
	switch {
	case c.s == nil:
	case politely && c.served:
		_ = c.s.nc.SetDeadline(time.Unix(1, 0)) // who reads it closes it
	default:
		link.Bottom(c.s.nc).Close()
	}
	go c.finish() // whoever is told may hold locks
}

// cause is why a connection ended, in other words than the transport's of deadlines and ends.
func cause(why error) error {
	switch {
	case errors.Is(why, os.ErrDeadlineExceeded):
		return fmt.Errorf("waiting for an answer: %w", context.DeadlineExceeded)
	case errors.Is(why, io.EOF):
		return fmt.Errorf("waiting for an answer: %w", io.ErrUnexpectedEOF)
	}
	return why
}

// finish tells of the end when nothing is left of the connection.
func (c *conn) finish() {
	c.parts.Wait()
	c.mu.Lock()
	left, why := c.queue, c.why
	c.queue = nil
	tell := c.served && !c.told
	c.told = c.told || tell
	c.mu.Unlock()
	for i, p := range left {
		if i == 0 && errors.Is(why, context.DeadlineExceeded) {
			p.done(why)
			continue
		}
		p.done(link.ErrLost)
	}
	if tell {
		c.over(why)
	}
}

// request writes the request that sends a message.
func (c *conn) request(m link.Message) ([]byte, error) {
	topic, err := topics.Parse(m.Topic)
	if err != nil || topic.Kind != topics.KindTelemetry {
		return nil, errNoMessage
	}
	bag, err := topics.ParseBag(topic.Properties)
	if err != nil {
		return nil, fmt.Errorf("the properties of a message: %w", err)
	}
	if slices.ContainsFunc(bag, func(p topics.Property) bool { return !isToken(header(p.Name)) }) {
		return nil, errProperty
	}
	path := "/devices/" + url.PathEscape(topic.DeviceID)
	if topic.ModuleID != "" {
		path += "/modules/" + url.PathEscape(topic.ModuleID)
	}
	r, err := http.NewRequest(http.MethodPost, "http://target"+path+"/messages/events?api-version="+apiVersion, bytes.NewReader(m.Payload))
	if err != nil {
		return nil, fmt.Errorf("the request of a message: %w", err)
	}
	r.Host = c.o.Host
	r.Header.Set("User-Agent", "twinfleet")
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Iothub-To", path+"/messages/events")
	if c.o.Password != nil {
		r.Header.Set("Authorization", c.o.Password())
	}
	for _, p := range bag {
		r.Header.Set(header(p.Name), p.Value) // a second one of a name would be an argument over which of them counts
	}
	var b bytes.Buffer
	b.Grow(512 + len(m.Payload))
	if err := r.Write(&b); err != nil {
		return nil, fmt.Errorf("the request of a message: %w", err)
	}
	return b.Bytes(), nil
}

// header is the header of a property: those of the system have names of their own (iot-hub-devguide-messages-construct).
func header(property string) string {
	switch property {
	case "$.mid":
		return "Iothub-Messageid"
	case "$.cid":
		return "Iothub-Correlationid"
	case "$.uid":
		return "Iothub-Userid"
	case "$.ct":
		return "Iothub-Contenttype"
	case "$.ce":
		return "Iothub-Contentencoding"
	case "$.exp":
		return "Iothub-Expiry"
	case "$.ctime":
		return "Iothub-Creationtimeutc"
	case "$.sub":
		return "Dt-Subject"
	case "$.ifid":
		return "Iothub-Interface-Id"
	case "$.schema":
		return "Iothub-Messageschema"
	case "$.to":
		return "Iothub-To"
	}
	return "Iothub-App-" + strings.TrimPrefix(property, "$.")
}

// isToken reports whether a text can be the name of a header (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		alphanumeric := r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
