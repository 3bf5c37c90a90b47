package hub_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// exchange is what a hub has acknowledged over AMQP, of one device and of who sends it messages, which are numbered.
type exchange struct {
	talker

	mu        sync.Mutex   // protects the following fields
	asked     int          // the number of the message that is sent next
	taken     map[int]bool // that the hub has accepted
	completed map[int]bool // of which the hub has said that they are
	held      int          // that the device has in this round and leaves under their locks
	ofOld     int          // messages of earlier rounds that came again
}

// plain is a session of its own, with a hub that may be gone.
func plain(ctx context.Context, addr, user, token string) (*amqp.Session, func(), error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	c, err := amqp.NewConn(ctx, nc, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(user, token)})
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	s, err := c.NewSession(ctx, nil)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return s, func() { c.Close() }, nil
}

// refused is an error by which a hub that lives refuses something; nil for that of a connection that is gone.
func refused(what string, err error) error {
	var e *amqp.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// mostHeld is how many messages a device has under locks before no more are sent to it: fewer than its queue takes.
const mostHeld = 20

// run sends telemetry, and messages of which the device completes two of three, until the hub is killed. An error says what the hub did
// wrong.
func (x *exchange) run(v *victim, id string, enough *atomic.Int64) error {
	key, ok, err := v.keyOf(id, &x.key)
	if !ok {
		return err
	}
	owner, err := sas.ParseKey(v.Key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // a hub that says nothing fails the test
	defer cancel()
	device, end, err := plain(ctx, v.Address, id+"@sas.localhost", deviceToken(id, key, time.Hour))
	if err != nil {
		return refused("the device's connection", err)
	}
	defer end()
	service, end, err := plain(ctx, v.Address, "iothubowner@sas.root.localhost", sas.Sign("localhost", owner, "iothubowner", time.Now().Add(time.Hour)))
	if err != nil {
		return refused("the service's connection", err)
	}
	defer end()
	if id == "dev-0" { // somebody wants to read what devices send, and never does
		reader := "localhost/ConsumerGroups/$Default/Partitions/0"
		if _, err := service.NewReceiver(ctx, reader, &amqp.ReceiverOptions{Credit: -1}); err != nil {
			return refused("the reader's link", err)
		}
	}
	events, err := device.NewSender(ctx, "/devices/"+id+"/messages/events", nil)
	if err != nil {
		return refused("the device's link", err)
	}
	messages, err := service.NewSender(ctx, "/messages/devicebound", nil)
	if err != nil {
		return refused("the service's link", err)
	}
	x.mu.Lock()
	x.held = 0
	old := x.asked
	x.mu.Unlock()
	received := make(chan error, 1)
	go func() { received <- x.receive(ctx, device, id, old, enough) }()
	err = x.send(ctx, events, messages, id, enough)
	return errors.Join(err, <-received)
}

// send sends telemetry to the hub and messages to the device.
func (x *exchange) send(ctx context.Context, events, messages *amqp.Sender, id string, enough *atomic.Int64) error {
	for {
		n := x.next
		x.next++
		if err := events.Send(ctx, amqp.NewMessage([]byte(strconv.Itoa(n))), nil); err != nil {
			return refused("telemetry", err)
		}
		x.acknowledged = append(x.acknowledged, n)
		enough.Add(-1)
		x.mu.Lock()
		n, full := x.asked, x.held >= mostHeld
		if !full {
			x.asked++
		}
		x.mu.Unlock()
		if full {
			continue
		}
		m := amqp.NewMessage([]byte("x"))
		m.Properties = &amqp.MessageProperties{To: ptr("/devices/" + id + "/messages/devicebound"), MessageID: fmt.Sprint(id, " ", n)}
		m.ApplicationProperties = map[string]any{"iothub-ack": "full"}
		if err := messages.Send(ctx, m, nil); err != nil {
			return refused("a message", err)
		}
		x.mu.Lock()
		x.taken[n] = true
		x.mu.Unlock()
		enough.Add(-1)
	}
}

// numberOf is the number of a message that a device got.
func numberOf(m *amqp.Message, id string) (int, error) {
	name, _ := m.Properties.MessageID.(string)
	return strconv.Atoi(strings.TrimPrefix(name, id+" "))
}

// receive takes what is sent to the device. What is from before this round, whose numbers are below old, it completes; of the rest it
// leaves every third under its lock.
func (x *exchange) receive(ctx context.Context, s *amqp.Session, id string, old int, enough *atomic.Int64) error {
	r, err := s.NewReceiver(ctx, "/devices/"+id+"/messages/devicebound", &amqp.ReceiverOptions{
		Credit: 100, SettlementMode: amqp.ReceiverSettleModeSecond.Ptr(),
	})
	if err != nil {
		return refused("the device's link for messages", err)
	}
	last := -1
	for {
		m, err := r.Receive(ctx, nil)
		if err != nil {
			return refused("receiving", err)
		}
		n, err := numberOf(m, id)
		if err != nil {
			return err
		}
		x.mu.Lock()
		completed := x.completed[n]
		hold := n >= old && n%3 == 1
		if hold {
			x.held++
		}
		if n < old {
			x.ofOld++
		}
		x.mu.Unlock()
		switch {
		case n <= last:
			return fmt.Errorf("%s: message %d comes behind %d", id, n, last)
		case completed:
			return fmt.Errorf("%s: message %d was completed and comes again", id, n)
		}
		last = n
		if hold {
			continue
		}
		if err := r.AcceptMessage(ctx, m); err != nil {
			return refused("completing", err)
		}
		x.mu.Lock()
		x.completed[n] = true
		x.mu.Unlock()
		enough.Add(-1)
	}
}

// rest takes, over AMQP, all messages that a device still has, and completes them.
func (x *exchange) rest(t *testing.T, h *hub.Hub, id string) (all []int) {
	t.Helper()
	key, err := sas.ParseKey(x.key)
	if err != nil {
		t.Fatal(err)
	}
	waiting, _ := must(t, h, "GET", "/devices/"+id+apiVersion, "").member("cloudToDeviceMessageCount").(float64)
	r := newAMQPDevice(t, h, id, key).receiver("/messages/devicebound", &amqp.ReceiverOptions{Credit: 100, SettlementMode: amqp.ReceiverSettleModeSecond.Ptr()})
	for range int(waiting) {
		m := receive(t, r)
		n, err := numberOf(m, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.AcceptMessage(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// A hub with --data is killed while devices and services talk to it over AMQP, repeatedly. Telemetry that it accepted is there, in its
// order, though nobody read it meanwhile. A message that it accepted was completed, or comes to its device again, and its sender hears
// once that it was completed; what its device had under a lock when the hub was killed is not lost.
func TestKillAMQP(t *testing.T) {
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Events().Enable(t.Context()); err != nil { // before the first device, which may be faster than the first reader
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	var all [killWriters]exchange
	for i := range all {
		all[i].taken, all[i].completed = make(map[int]bool), make(map[int]bool)
	}
	killRounds(t, dir, func(round int) int { return 40 + round*17%90 }, func(v *victim, i int, enough *atomic.Int64) error {
		return all[i].run(v, fmt.Sprint("dev-", i), enough)
	})
	h, _ = open(t, hub.Options{DataDir: dir, FeedbackEvery: -1})
	heard := make(map[string]int)
	hear := func() {
		for _, r := range records(t, h) {
			heard[r.OriginalMessageID]++
			if r.StatusCode != "Success" {
				t.Errorf("%q: %s", r.OriginalMessageID, r.StatusCode)
			}
		}
	}
	hear()
	completed, again, rest := 0, 0, 0
	for i := range all {
		x, id := &all[i], fmt.Sprint("dev-", i)
		left := x.rest(t, h, id)
		if !slices.IsSorted(left) {
			t.Errorf("%s: messages come out of order: %v", id, left)
		}
		for n := range x.asked {
			name, comes := fmt.Sprint(id, " ", n), 0
			for _, other := range left {
				if other == n {
					comes++
				}
			}
			switch {
			case x.completed[n] && (comes != 0 || heard[name] != 1):
				t.Errorf("%q was completed; it comes %d times, and feedback came %d times", name, comes, heard[name])
			case comes+heard[name] > 1, x.taken[n] && comes+heard[name] != 1: // without an answer it may be there or not, and completed or not
				t.Errorf("%q was accepted: %t; it comes %d times, and feedback came %d times", name, x.taken[n], comes, heard[name])
			}
			heard[name] += comes // what is owed for it
		}
		completed, again, rest = completed+len(x.completed), again+x.ofOld, rest+len(left)
	}
	owed := maps.Clone(heard)
	clear(heard)
	hear()
	if got := len(heard); got != rest {
		t.Errorf("feedback of %d messages that were completed at last; want %d", got, rest)
	}
	for name, n := range heard {
		if n != 1 || owed[name] != 1 {
			t.Errorf("%q: feedback came %d times at last, %d are owed", name, n, owed[name])
		}
	}
	total, _ := checkTalkers(t, h, func(i int) *talker { return &all[i].talker })
	t.Logf("%d kills; %d messages of devices, %d completed, %d came again after a restart, %d at last", *kills+1, total, completed, again, rest)
	if total < 5**kills || completed < 5**kills || again == 0 || rest == 0 {
		t.Errorf("%d messages of devices, %d completed, %d again, %d at last: the load does not bite", total, completed, again, rest)
	}
}
