package devices_test

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

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/calls"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a hub of one device, d, and one module, d/m.
type backend struct {
	devices.Backend // answers nothing else
	keys            map[string]sas.Key
	kept            error // of telemetry

	mu       sync.Mutex // protects the following fields
	gone     bool
	disabled bool
	queue    int
	told     []string
}

func (b *backend) Credentials(client string) (registry.Credentials, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key, ok := b.keys[client]
	if !ok || b.gone {
		return registry.Credentials{}, iothub.ErrDeviceNotFound
	}
	return registry.Credentials{Enabled: !b.disabled, AuthType: registry.AuthSAS, Primary: key, Generation: 7}, nil
}

func (b *backend) Connected(client string, connected bool) {
	b.note("%s connected %v", client, connected)
}

func (b *backend) QueueLength(_ string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = n
}

func (b *backend) Telemetry(_ context.Context, client string, batch devices.Batch) error {
	for _, m := range batch.Messages() {
		b.note("%s said %s, auth %d, will %v", client, m.Payload, batch.Auth, batch.Will)
	}
	return b.kept
}

func (b *backend) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, fmt.Sprintf(format, args...))
}

// heard is what the hub was told since it was asked last.
func (b *backend) heard() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	told := strings.Join(b.told, "; ")
	b.told = nil
	return told
}

// outlet takes messages as soon as it hears of them.
type outlet struct {
	table  *devices.Table
	client string
	credit int
	deaf   bool

	mu     sync.Mutex // protects the following fields
	closed error
	calls  []uint64
	got    []devices.Delivery
}

func (o *outlet) Close(reason error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed == nil {
		o.closed = reason
	}
}

func (o *outlet) why() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

func (o *outlet) Listens(kind devices.Kind) bool { return !o.deaf && kind != devices.Inputs }
func (o *outlet) Desired([]byte, int64) bool     { return true }

func (o *outlet) Call(id uint64, _ string, _ []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, id)
	return nil
}

func (o *outlet) Deliver() {
	got := o.table.Receive(o.client, o, o.credit, 0)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, got...)
}

// taken is what was delivered since it was asked last: each with how often it was before.
func (o *outlet) taken() (text string, tokens []lockqueue.Token) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []string
	for _, d := range o.got {
		all = append(all, fmt.Sprint(string(d.Message.Payload), d.Deliveries))
		tokens = append(tokens, d.Token)
	}
	o.got = nil
	return strings.Join(all, " "), tokens
}

// bed is a table in the bubble of a test, and the feedback that it gave.
type bed struct {
	*testing.T
	*devices.Table
	backend *backend

	mu       sync.Mutex // protects the following field
	feedback []string
}

func in(t *testing.T, o devices.Options, test func(*bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{T: t, backend: &backend{keys: map[string]sas.Key{"d": sas.NewKey(), "d/m": sas.NewKey()}}}
		o.Backend = b.backend
		began := time.Now()
		o.Feedback = func(f devices.Feedback) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.feedback = append(b.feedback, fmt.Sprintf("%s %s %s@%v/%d", f.Client, f.MessageID, f.Status, f.At.Sub(began), f.Generation))
		}
		b.Table = devices.New(o)
		defer b.Table.Close()
		test(b)
	})
}

func (b *bed) reported() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := strings.Join(b.feedback, ", ")
	b.feedback = nil
	return all
}

func (b *bed) send(payloads ...string) {
	b.Helper()
	for _, p := range payloads {
		if err := b.Send("d", c2d.Message{Payload: []byte(p), MessageID: p, Ack: "full"}); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bed) attach(credit int) *outlet {
	b.Helper()
	o := &outlet{table: b.Table, client: "d", credit: credit}
	if err := b.Attach("d", o, func() error { return nil }); err != nil {
		b.Fatal(err)
	}
	return o
}

func (b *bed) settle(token lockqueue.Token, o lockqueue.Outcome) {
	b.Helper()
	if _, err := b.Settle("d", token, o); err != nil {
		b.Error(err)
	}
}

func (b *bed) expect(o *outlet, want string) []lockqueue.Token {
	b.Helper()
	got, tokens := o.taken()
	if got != want {
		b.Errorf("delivered: %q; want %q", got, want)
	}
	return tokens
}

// Messages under a lock: what becomes of them, in which order they come back, and what their senders hear.
func TestLocks(t *testing.T) {
	in(t, devices.Options{}, func(b *bed) {
		o := b.attach(2)
		b.send("a", "b", "c")
		tokens := b.expect(o, "a0 b0 c0") // each time with credit
		b.settle(tokens[1], lockqueue.Complete)
		b.settle(tokens[2], lockqueue.Reject)
		b.settle(tokens[0], lockqueue.Abandon)
		if got := b.reported(); got != "d b Success@0s/7, d c Rejected@0s/7" {
			b.Errorf("feedback %s", got)
		}
		tokens = append(b.expect(o, "a1"), tokens...) // once more, at once
		for _, lost := range append(tokens[1:], lockqueue.Token{}) {
			if _, err := b.Settle("d", lost, lockqueue.Complete); !errors.Is(err, iothub.ErrMessageLockLost) {
				b.Errorf("settling what is lost: %v", err)
			}
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		b.expect(o, "")
		time.Sleep(time.Second)
		synctest.Wait()
		b.expect(o, "a2") // its lock has timed out
		time.Sleep(8 * time.Minute)
		synctest.Wait()
		if got := b.reported(); got != "d a DeliveryCountExceeded@9m0s/7" || b.backend.queue != 0 || b.Sessions().Waiting != 0 {
			b.Errorf("feedback %q, %d wait", got, b.backend.queue)
		}
	})
}

// A connection that goes leaves what it held, in its place, to the next; who takes over gets it too.
func TestWhatIsHeldComesBack(t *testing.T) {
	in(t, devices.Options{}, func(b *bed) {
		first := b.attach(10)
		b.send("a", "b")
		tokens := b.expect(first, "a0 b0")
		b.settle(tokens[0], lockqueue.Complete)
		b.Detach("d", first)
		b.send("c")
		second := b.attach(10)
		second.Deliver()
		b.expect(second, "b1 c0")
		b.Release("d", second) // its link is gone, the connection stays
		second.Deliver()
		b.expect(second, "b2 c1")
		third := b.attach(1)
		if !errors.Is(second.why(), iothub.ErrConnectionForceClosed) {
			b.Errorf("the older one: %v", second.why())
		}
		b.Detach("d", second) // at its end; it is no longer the device's
		second.Deliver()
		b.expect(second, "")
		third.Deliver()
		b.expect(third, "b3")
		if got := b.backend.heard(); got != "d connected true; d connected false; d connected true; d connected true; d connected true" {
			b.Errorf("the hub heard %s", got)
		}
	})
}

// Who comes without a connection, over HTTPS, takes under a lock of its own time, which no connection ends.
func TestWithoutAnOutlet(t *testing.T) {
	in(t, devices.Options{}, func(b *bed) {
		if got := b.Receive("d", nil, 1, 0); got != nil {
			b.Errorf("of nothing: %v", got)
		}
		b.send("a")
		got := b.Receive("d", nil, 1, 5*time.Second)
		if len(got) != 1 || got[0].Sequence != 1 || !got[0].Enqueued.Equal(time.Now()) || !got[0].LockedUntil.Equal(time.Now().Add(5*time.Second)) {
			b.Fatalf("%+v", got)
		}
		o := b.attach(1)
		b.Detach("d", o)
		o = b.attach(1)
		o.Deliver()
		b.expect(o, "")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		b.settle(b.expect(o, "a1")[0], lockqueue.Complete)
		if err := b.Send("d/m", c2d.Message{Input: "in"}); err != nil {
			b.Fatal(err)
		}
		if got := b.Receive("d/m", nil, 1, 0); got != nil {
			b.Errorf("to an input: %v", got)
		}
	})
}

// A message that nobody takes ends in its time, and a purge ends all: their senders hear of it without asking.
func TestMessagesEndByThemselves(t *testing.T) {
	in(t, devices.Options{MessageTTL: time.Minute}, func(b *bed) {
		b.send("a")
		time.Sleep(time.Second)
		b.send("b")
		held := b.Receive("d", nil, 1, 2*time.Minute)[0] // also one that is held
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := b.reported(); got != "d a Expired@1m0s/7, d b Expired@1m1s/7" || b.backend.queue != 0 || b.Remembered() != 0 {
			b.Errorf("feedback %q, %d wait, %d remembered", got, b.backend.queue, b.Remembered())
		}
		if _, err := b.Settle("d", held.Token, lockqueue.Complete); !errors.Is(err, iothub.ErrMessageLockLost) {
			b.Errorf("settling what has expired: %v", err)
		}
		b.send("c", "d")
		if n := b.Purge("d"); n != 2 || b.reported() != "d c Purged@1m1s/7, d d Purged@1m1s/7" {
			b.Errorf("%d purged", n)
		}
		b.send("e")
		b.Forget("d")
		if got := b.reported(); got != "" || b.Remembered() != 0 {
			b.Errorf("a device that was deleted: feedback %q", got)
		}
	})
}

// An identity that ends just when it attaches is told so, and nothing of it is left.
func TestAttachingTooLate(t *testing.T) {
	in(t, devices.Options{}, func(b *bed) {
		o := &outlet{table: b.Table, client: "d"}
		if err := b.Attach("d", o, func() error { return iothub.ErrDeviceNotFound }); !errors.Is(err, iothub.ErrDeviceNotFound) {
			b.Error(err)
		}
		b.Detach("d", o)
		if b.Remembered() != 0 || b.backend.heard() != "d connected false" {
			b.Error("it was connected")
		}
	})
}

// An answer counts by the outlet that the call went to; what ends the outlet ends the call.
func TestCalls(t *testing.T) {
	in(t, devices.Options{}, func(b *bed) {
		type answer struct {
			status int
			err    error
		}
		call := func() chan answer {
			c := make(chan answer, 1)
			go func() {
				status, _, err := b.InvokeMethod(b.Context(), "d", "m", nil)
				c <- answer{status, err}
			}()
			synctest.Wait()
			return c
		}
		if a := <-call(); !errors.Is(a.err, iothub.ErrDeviceNotOnline) {
			t.Errorf("nobody is there: %v", a.err)
		}
		first := b.attach(0)
		one, two := call(), call()
		stranger := &outlet{}
		b.Answer("d", stranger, first.calls[0], calls.Answer{Status: 1})
		b.Answer("d", first, first.calls[1], calls.Answer{Status: 2})
		if a := <-two; a.status != 2 || a.err != nil {
			t.Errorf("%+v", a)
		}
		b.attach(0)
		if a := <-one; !errors.Is(a.err, iothub.ErrDeviceNotOnline) {
			t.Errorf("the outlet is gone: %v", a.err)
		}
		deaf := b.attach(0)
		deaf.deaf = true
		if a := <-call(); !errors.Is(a.err, iothub.ErrDeviceNotOnline) || b.NotifyDesired("d", nil, 1) {
			t.Errorf("it does not listen: %v", a.err)
		}
	})
}

// A batch is one operation of its size; what cannot be kept is not acknowledged.
func TestTelemetry(t *testing.T) {
	var admitted []int
	admit := func(_ context.Context, class tier.Class, bytes int) error {
		if class == tier.ClassTelemetry {
			admitted = append(admitted, bytes)
		}
		return nil
	}
	in(t, devices.Options{Admit: admit}, func(b *bed) {
		batch := func(auth events.Auth, payloads ...string) devices.Batch {
			var all []events.Message
			for _, payload := range payloads {
				all = append(all, events.Message{Payload: []byte(payload), Properties: topics.Bag{{Name: "n", Value: "v", HasValue: true}}})
			}
			return devices.BatchOf(auth, all)
		}
		if err := b.Telemetry(b.Context(), "d", batch(events.HubSAS, "x", "y")); err != nil {
			t.Error(err)
		}
		b.Will("d", batch(events.DeviceX509, "z"))
		if got, want := b.backend.heard(), "d said x, auth 4, will false; d said y, auth 4, will false; d said z, auth 1, will true"; got != want {
			t.Errorf("the hub heard %s; want %s", got, want)
		}
		half := strings.Repeat("x", 128<<10-2)
		if err := b.Telemetry(b.Context(), "d", batch(0, half, half+"x")); !errors.Is(err, iothub.ErrMessageTooLarge) {
			t.Errorf("a byte too much: %v", err)
		}
		b.backend.kept = iothub.ErrServer
		if err := b.Telemetry(b.Context(), "d", batch(0, half, half)); !errors.Is(err, iothub.ErrServer) {
			t.Errorf("what is not kept: %v", err)
		}
		if !slices.Equal(admitted, []int{6, 256 << 10}) {
			t.Errorf("admitted %v", admitted)
		}
	})
}

// quiet is a backend that counts messages and never looks at them.
type quiet struct {
	devices.Backend
	n int
}

func (q *quiet) Telemetry(_ context.Context, _ string, b devices.Batch) error {
	q.n += b.Count
	return nil
}

// What nobody reads is not made, and costs nothing here.
func TestTelemetryThatNobodyReads(t *testing.T) {
	q := new(quiet)
	table := devices.New(devices.Options{Backend: q})
	defer table.Close()
	batch := devices.Batch{Count: 1, Size: 1, Messages: func() []events.Message { t.Error("it is made"); return nil }}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = table.Telemetry(ctx, "d", batch) }); n != 0 || q.n != 101 {
		t.Errorf("%v allocations; %d messages came", n, q.n)
	}
}

// Who somebody is, by a token for whatever name of the hub.
func TestAuthenticate(t *testing.T) {
	policies := map[string]sas.Key{"device": sas.NewKey()}
	find := func(name string) (sas.Key, sas.Key, bool) { k, ok := policies[name]; return k, sas.Key{}, ok }
	in(t, devices.Options{Policy: find}, func(b *bed) {
		soon := time.Now().Add(time.Minute).Truncate(time.Second)
		own, module, policy := b.backend.keys["d"], b.backend.keys["d/m"], policies["device"]
		for _, tt := range []struct {
			name, client, host string
			token              string
			ok                 bool
		}{
			{"its own", "d", "", sas.Sign("any.name:8883/devices/d", own, "", soon), true},
			{"encoded twice", "d", "", sas.Sign("hub%2Fdevices%2Fd", own, "", soon), true},
			{"with a scheme", "d", "", sas.Sign("amqps://hub:5671/devices/d", own, "", soon), true},
			{"of a host that must be named", "d", "hub", sas.Sign("other/devices/d", own, "", soon), false},
			{"of another device", "d", "", sas.Sign("hub/devices/e", own, "", soon), false},
			{"a module's", "d/m", "", sas.Sign("hub/devices/d/modules/m", module, "", soon), true},
			{"its device's for a module", "d/m", "", sas.Sign("hub/devices/d", own, "", soon), false},
			{"a policy's for any device", "d/m", "", sas.Sign("hub", policy, "device", soon), true},
			{"of an unknown policy", "d", "", sas.Sign("hub", policy, "other", soon), false},
			{"of nobody", "x", "", sas.Sign("hub/devices/x", own, "", soon), false},
			{"none", "d", "", "", false},
		} {
			p, err := b.Authenticate(devices.Claim{Client: tt.client, Host: tt.host, Token: tt.token})
			if (err == nil) != tt.ok || tt.ok && !p.Expiry.Equal(soon) {
				t.Errorf("%s: until %v, %v", tt.name, p.Expiry, err)
			}
			if err != nil && tt.token != "" && strings.Contains(err.Error(), "sig") && strings.Contains(err.Error(), "&se") {
				t.Errorf("%s: the error shows the token: %v", tt.name, err)
			}
		}
		claim := devices.Claim{Client: "d", Token: sas.Sign("hub/devices/d", own, "", soon)}
		p, err := b.Authenticate(claim)
		if _, still := b.Still(claim, p); err != nil || still != nil {
			t.Errorf("%v, then %v", err, still)
		}
		b.backend.mu.Lock()
		b.backend.disabled = true
		b.backend.mu.Unlock()
		if _, err := b.Still(claim, p); !errors.Is(err, iothub.ErrDeviceDisabled) {
			t.Errorf("disabled: %v", err)
		}
		b.backend.mu.Lock()
		b.backend.disabled = false
		b.backend.mu.Unlock()
		time.Sleep(time.Minute)
		if _, err := b.Still(claim, p); !errors.Is(err, sas.ErrExpired) {
			t.Errorf("expired: %v", err)
		}
	})
}
