package front_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/keeptest"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// keeper is a disk that takes a second for all that it is given.
type keeper struct {
	keeptest.Shelf // what is on it

	mu     sync.Mutex // protects the following fields
	failed error
	last   chan struct{} // closed when the last is done
}

func (k *keeper) Put(bucket, key string, value []byte) func(context.Context) error {
	k.mu.Lock()
	err := k.failed
	before, done := k.last, make(chan struct{})
	k.last = done
	k.mu.Unlock()
	go func() {
		defer close(done)
		<-time.After(time.Second)
		if before != nil {
			<-before
		}
		if err == nil {
			k.Shelf.Put(bucket, key, value)
		}
	}()
	return func(context.Context) error {
		<-done
		return err
	}
}

// held is what a disk holds, without the numbers of messages.
func (k *keeper) held() string {
	var all []string
	for row := range k.All() {
		client, _, _ := strings.Cut(row.Key, "\x00")
		all = append(all, row.Bucket+" "+client)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// kept runs a test with a device side that keeps its sessions. killed is one that goes on from what was kept of another.
func kept(t *testing.T, test func(s side, k *keeper, killed func() side)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{}
		b := &backend{key: sas.NewKey(), modules: map[string]sas.Key{}}
		begin := func() side {
			s := open(t, b, options{front.Options{Waits: true}, devices.Options{Keeper: k}}, memnet.Pipe)
			if err := s.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			return s
		}
		test(begin(), k, func() side { // what is under way is lost
			after := &keeper{}
			for row, value := range k.All() {
				after.Shelf.Put(row.Bucket, row.Key, value)
			}
			k = after
			return begin()
		})
	})
}

// connect connects dev-1 and tells whether there was a session.
func (s side) connect(clean bool) (w *wiretest.Wire, present bool) {
	s.Helper()
	w = s.dial()
	c := wiretest.Login("dev-1", s.backend.key)
	c.CleanSession = clean
	present, code := w.Connect(c)
	if code != mqtt.Accepted {
		s.Fatalf("CONNACK %d", code)
	}
	return w, present
}

// A session that was acknowledged is there when the hub begins again, whenever it ended.
func TestSessionsAreKept(t *testing.T) {
	kept(t, func(s side, k *keeper, killed func() side) {
		w, _ := s.connect(false)
		began := time.Now()
		w.Subscribe(1, topics.FilterTwinResponses, topics.FilterDesired, topics.FilterC2D("dev-1"))
		if took := time.Since(began); took != time.Second {
			t.Errorf("SUBACK after %v; want a second, when it is on disk", took)
		}
		if got := k.held(); got != "sessions.1 dev-1" {
			t.Errorf("%q is kept", got)
		}
		if err := s.Send("dev-1", c2d.Message{MessageID: "7", Payload: []byte("a")}); err != nil {
			t.Fatal(err)
		}
		if got := k.held(); got != "messages.1 dev-1, sessions.1 dev-1" {
			t.Errorf("%q is kept", got)
		}
		w.Expect(mqtt.PUBLISH)

		s = killed()
		if s.backend.queue != 1 {
			t.Errorf("%d messages wait", s.backend.queue)
		}
		w, present := s.connect(false)
		f := w.Expect(mqtt.PUBLISH)
		if !present || f.Payload != "a" || !strings.Contains(f.Topic, "%24.mid=7&") {
			t.Errorf("session present %t; %s %q", present, f.Topic, f.Payload)
		}
		w.Send(mqtt.AppendAck(nil, mqtt.PUBACK, f.ID))
		w.Publish(0, topics.TwinGet("1"), "")
		w.Expect(mqtt.PUBLISH)
		if !s.NotifyDesired("dev-1", []byte("{}"), 2) {
			t.Error("the filter of desired properties is lost")
		}
		w.Expect(mqtt.PUBLISH)
		time.Sleep(2 * time.Second)

		s = killed()
		w, present = s.connect(false)
		w.Silent()
		if !present {
			t.Error("the session is lost")
		}
		w.Send(mqtt.AppendUnsubscribe(nil, 9, topics.FilterDesired))
		w.Expect(mqtt.UNSUBACK)
		s = killed()
		w, _ = s.connect(false)
		if s.NotifyDesired("dev-1", []byte("{}"), 2) {
			t.Error("a filter that was taken back is there again")
		}
		began = time.Now()
		if _, present = s.connect(true); present || time.Since(began) != time.Second {
			t.Errorf("a clean session: present %t, after %v", present, time.Since(began))
		}
		w.Closed("a newer connection")
		s = killed()
		if _, present = s.connect(false); present || s.Remembered() != 1 {
			t.Errorf("what a clean session ended: present %t", present)
		}
	})
}

// What was sent comes in its order, and what was sent afterwards behind it; what is over is not kept.
func TestMessagesAreKept(t *testing.T) {
	kept(t, func(s side, k *keeper, killed func() side) {
		var sending sync.WaitGroup
		for n := range 20 {
			sending.Go(func() {
				if err := s.Send("dev-1", c2d.Message{Payload: fmt.Append(nil, n), Expires: time.Now().Add(time.Duration(2+n%2) * time.Hour)}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		began := time.Now()
		sending.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("twenty messages took %v; want one second for all", took)
		}
		s = killed()
		if err := s.Send("dev-1", c2d.Message{Payload: []byte("20"), Expires: time.Now().Add(24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		s = killed()
		time.Sleep(2*time.Hour + time.Minute) // those with even numbers expire
		w, _ := s.connect(false)
		w.Subscribe(1, topics.FilterC2D("dev-1"))
		var acks []byte
		for n := range 11 {
			f := w.Expect(mqtt.PUBLISH)
			want := fmt.Sprint(min(20, 2*n+1))
			if f.Payload != want {
				t.Errorf("%q came; want %q", f.Payload, want)
			}
			if acks = mqtt.AppendAck(acks, mqtt.PUBACK, f.ID); n == 4 {
				w.Send(acks)
				acks = nil
			}
		}
		w.Silent()
		time.Sleep(2 * time.Second)
		s = killed()
		if s.backend.queue != 6 {
			t.Errorf("%d messages wait; want 6", s.backend.queue)
		}
		if n := s.Purge("dev-1"); n != 6 {
			t.Errorf("%d were purged", n)
		}
		s = killed()
		if n := s.Purge("dev-1"); n != 0 {
			t.Errorf("%d came back", n)
		}
	})
}

// Of a device that is deleted nothing is kept, also when the hub ended before it could see to that.
func TestNothingIsKeptOfTheDeleted(t *testing.T) {
	kept(t, func(s side, k *keeper, killed func() side) {
		w, _ := s.connect(false)
		w.Subscribe(1, topics.FilterDesired)
		if err := s.Send("dev-1", c2d.Message{}); err != nil {
			t.Fatal(err)
		}
		s.Forget("dev-1")
		w.Closed("a device that was deleted")
		time.Sleep(2 * time.Second)
		if got := k.held(); got != "" {
			t.Errorf("%q is kept", got)
		}
		w, _ = s.connect(false)
		w.Subscribe(1, topics.FilterDesired)
		if err := s.Send("dev-1", c2d.Message{}); err != nil {
			t.Fatal(err)
		}
		s.backend.mu.Lock()
		s.backend.deleted = true
		s.backend.mu.Unlock()
		s = killed()
		time.Sleep(2 * time.Second)
		if n := s.Remembered(); n != 0 {
			t.Errorf("%d are remembered", n)
		}
		s.backend.mu.Lock()
		s.backend.deleted = false
		s.backend.mu.Unlock()
		s = killed()
		if _, present := s.connect(false); present {
			t.Error("a device made anew has the session of the old one")
		}
	})
}

// What cannot be kept is not acknowledged.
func TestWhatCannotBeKept(t *testing.T) {
	kept(t, func(s side, k *keeper, _ func() side) {
		k.mu.Lock()
		k.failed = iothub.ErrServer
		k.mu.Unlock()
		if err := s.Send("dev-1", c2d.Message{}); !errors.Is(err, iothub.ErrServer) {
			t.Errorf("a message: %v", err)
		}
		w, _ := s.connect(false)
		w.SendSubscribe(1, topics.FilterC2D("dev-1"))
		if f, ok := <-w.Frames; ok {
			t.Errorf("packet type %d came; want the connection closed", f.Kind)
		}
	})
}

// Messages for a module, and for its inputs.
func TestModuleMessages(t *testing.T) {
	kept(t, func(s side, _ *keeper, killed func() side) {
		own := sas.NewKey()
		s.backend.modules["dev-1/m"] = own
		if err := errors.Join(
			s.Send("dev-1/m", c2d.Message{Payload: []byte("to it")}),
			s.Send("dev-1/m", c2d.Message{Payload: []byte("to its input"), Input: "in"}),
		); err != nil {
			t.Fatal(err)
		}
		s = killed()
		w := s.dial()
		w.Connect(moduleLogin("dev-1/m", own, "devices/dev-1/modules/m", ""))
		w.Subscribe(1, "devices/dev-1/modules/m/inputs/#")
		f := w.Expect(mqtt.PUBLISH)
		if f.Payload != "to its input" || f.Topic != "devices/dev-1/modules/m/inputs/in/%24.to=%2Fdevices%2Fdev-1%2Fmodules%2Fm%2Fmessages%2FdeviceBound" {
			t.Errorf("%s %q", f.Topic, f.Payload)
		}
		w.Send(mqtt.AppendAck(nil, mqtt.PUBACK, f.ID))
		w.Silent()
		w.Subscribe(1, "devices/dev-1/modules/m/#")
		f = w.Expect(mqtt.PUBLISH)
		if f.Payload != "to it" || !strings.HasPrefix(f.Topic, "devices/dev-1/modules/m/messages/devicebound/%24.to=") {
			t.Errorf("%s %q", f.Topic, f.Payload)
		}
		w.SendSubscribe(1, topics.FilterC2D("dev-1"))
		w.Closed("a filter of its device")
	})
}

// What a device names as its model reaches the hub before it is let in; one too long does not.
func TestModelID(t *testing.T) {
	inBubble(t, options{}, func(s side) {
		for model, code := range map[string]byte{"dtmi%3Aa%3Bb%3B1": mqtt.Accepted, strings.Repeat("x", 2049): mqtt.NotAuthorized} {
			c := wiretest.Login("dev-1", s.backend.key)
			c.Username = []byte("localhost/dev-1/?api-version=2021-04-12&model-id=" + model)
			w := s.dial()
			if _, got := w.Connect(c); got != code {
				s.Errorf("CONNACK %d; want %d", got, code)
			}
		}
		s.backend.mu.Lock()
		defer s.backend.mu.Unlock()
		if !slices.Contains(s.backend.told, "model dtmi:a;b;1 dev-1") {
			s.Errorf("the hub is told %q", s.backend.told)
		}
	})
}

// Nothing reaches a device before it is let in.
func TestNothingBeforeTheAnswer(t *testing.T) {
	kept(t, func(s side, _ *keeper, _ func() side) {
		w, _ := s.connect(false)
		w.Subscribe(1, topics.FilterDesired, topics.FilterC2D("dev-1"), topics.FilterMethods)
		w.Send(mqtt.AppendUnsubscribe(nil, 9, topics.FilterMethods)) // what the next connection waits for
		synctest.Wait()
		c := wiretest.Login("dev-1", s.backend.key)
		c.HasUsername, c.HasPassword = true, true
		second := s.dial()
		second.Send(mqtt.AppendConnect(nil, &c))
		time.Sleep(time.Second / 2)
		s.NotifyDesired("dev-1", []byte("{}"), 2)
		if err := s.Send("dev-1", c2d.Message{}); err != nil {
			t.Fatal(err)
		}
		second.Expect(mqtt.CONNACK)
		second.Expect(mqtt.PUBLISH)
	})
}
