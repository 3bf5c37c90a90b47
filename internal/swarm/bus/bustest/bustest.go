// Package bustest is what every bus must do, whatever carries it.
package bustest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
)

// The bounds of a World.
const (
	Backlog    = 64 << 10
	StoreBytes = 3 << 20
)

// World is a server and those who connect to it.
type World interface {
	// Connect makes a connection with the bounds above, which the test closes, or the World at its end.
	Connect(t *testing.T) bus.Bus
	// Stop stops the server, which keeps its stores.
	Stop(t *testing.T)
	// Start starts it where and with what it was.
	Start(t *testing.T)
}

// Case is one test.
type Case struct {
	Name string
	Run  func(t *testing.T, w World)
}

// Cases are all of them.
func Cases() []Case {
	return []Case{
		{"messages reach who listens, in order", messages},
		{"names that cannot be", names},
		{"what is too large is refused whole", tooLarge},
		{"questions and answers", questions},
		{"endpoints do not wait for one another", endpoints},
		{"who asks may give up", givingUp},
		{"services are found", services},
		{"a store", stores},
		{"a store that is full", full},
		{"a store is watched", watched},
		{"a store that is dropped", dropped},
		{"an end while others write and the server restarts", lastValues},
		{"the server is away for a while", away},
		{"the server is away: what is kept has a bound", backlog},
		{"close", closing},
	}
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func get[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	return v
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, not %v", what, err, want)
	}
}

// listen subscribes and returns what comes as "subject data".
func listen(t *testing.T, b bus.Bus, pattern string) (<-chan string, bus.Subscription) {
	t.Helper()
	out := make(chan string, 10000)
	sub, err := b.Subscribe(pattern, func(subject string, data []byte) { out <- subject + " " + string(data) })
	ok(t, err)
	return out, sub
}

func messages(t *testing.T, w World) {
	a, b := w.Connect(t), w.Connect(t)
	all, _ := listen(t, b, ">")
	some, _ := listen(t, b, "status.*")
	deep, sub := listen(t, a, "status.one.>")
	for i := range 100 {
		ok(t, a.Publish("status.one", fmt.Append(nil, i)))
		ok(t, a.Publish("status.one.more", nil))
	}
	for i := range 100 {
		if m := get(t, "message", some); m != fmt.Sprint("status.one ", i) {
			t.Fatal(m)
		}
		if m := get(t, "message", deep); m != "status.one.more " {
			t.Fatal(m)
		}
		get(t, "message", all)
		get(t, "message", all)
	}
	sub.Stop()
	sub.Stop()
	ok(t, b.Publish("status.one.more", nil))
	get(t, "message", all)
	if len(deep) > 0 || len(some) > 0 {
		t.Error("a message for nobody came")
	}
	// A handler may change what it got.
	seen := make(chan string, 2)
	for range 2 {
		_, err := b.Subscribe("mine", func(_ string, data []byte) {
			seen <- string(data)
			clear(data)
		})
		ok(t, err)
	}
	ok(t, b.Publish("mine", []byte("x")))
	if one, other := get(t, "message", seen), get(t, "message", seen); one+other != "xx" {
		t.Errorf("%q, %q", one, other)
	}
}

func names(t *testing.T, w World) {
	b, ctx := w.Connect(t), soon(t)
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a b", "a\r\nPUB x", "$SYS", "ä", strings.Repeat("a", 201)} {
		is(t, "publish "+bad, b.Publish(bad, nil), bus.ErrName)
		_, err := b.Subscribe(bad, nil)
		is(t, "subscribe "+bad, err, bus.ErrName)
		_, err = b.Ask(ctx, bad, "status", nil)
		is(t, "ask "+bad, err, bus.ErrName)
		_, err = b.Ask(ctx, "one", bad, nil)
		is(t, "ask for "+bad, err, bus.ErrName)
		_, err = b.Store(ctx, bad, true)
		is(t, "store "+bad, err, bus.ErrName)
		_, err = b.Services(ctx, bad)
		is(t, "services "+bad, err, bus.ErrName)
		_, err = b.Serve(bus.Service{Name: bad, Instance: "one", Version: "1.0.0"})
		is(t, "serve "+bad, err, bus.ErrName)
		_, err = b.Serve(bus.Service{Name: "one", Instance: bad, Version: "1.0.0"})
		is(t, "serve as "+bad, err, bus.ErrName)
	}
	is(t, "publish to a pattern", b.Publish("a.*", nil), bus.ErrName)
	_, err := b.Subscribe("a.>.b", nil)
	is(t, "subscribe to a.>.b", err, bus.ErrName)
	store, err := b.Store(ctx, "run", true)
	ok(t, err)
	for _, bad := range []string{"", "a.", ".a", "a b", "a.*", ">"} {
		_, err := store.Put(ctx, bad, nil)
		is(t, "put "+bad, err, bus.ErrName)
		_, err = store.Get(ctx, bad)
		is(t, "get "+bad, err, bus.ErrName)
		if bad != "" {
			_, err = store.Keys(ctx, bad)
			is(t, "keys "+bad, err, bus.ErrName)
			is(t, "watch "+bad, store.Watch(ctx, bad, nil), bus.ErrName)
		}
	}
}

func tooLarge(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	most := bytes.Repeat([]byte("x"), a.MaxPayload())
	much := append(slices.Clone(most), 'x')
	heard, _ := listen(t, b, "big")
	_, err := b.Serve(bus.Service{Name: "agent", Instance: "one", Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
		"echo": func(_ context.Context, data []byte) ([]byte, error) { return data, nil },
		"more": func(_ context.Context, data []byte) ([]byte, error) { return append(data, 'x'), nil },
	}})
	ok(t, err)
	is(t, "publish", a.Publish("big", much), bus.ErrTooLarge)
	ok(t, a.Publish("big", most))
	if m := get(t, "message", heard); m != "big "+string(most) {
		t.Errorf("%d bytes came", len(m))
	}
	_, err = a.Ask(ctx, "one", "echo", much)
	is(t, "ask", err, bus.ErrTooLarge)
	answer, err := a.Ask(ctx, "one", "echo", most)
	if err != nil || !bytes.Equal(answer, most) {
		t.Errorf("%d bytes, %v", len(answer), err)
	}
	_, err = a.Ask(ctx, "one", "more", most)
	if failure := (*bus.Error)(nil); !errors.As(err, &failure) || !strings.Contains(failure.Text, bus.ErrTooLarge.Error()) {
		t.Errorf("an answer that is too large: %v", err)
	}
	store, err := a.Store(ctx, "run", true)
	ok(t, err)
	_, err = store.Put(ctx, "k", much)
	is(t, "put", err, bus.ErrTooLarge)
	_, err = store.Create(ctx, "k", most)
	ok(t, err)
	entry, err := store.Get(ctx, "k")
	if err != nil || !bytes.Equal(entry.Value, most) {
		t.Errorf("%d bytes, %v", len(entry.Value), err)
	}
}

func service(instance string, endpoints map[string]func(context.Context, []byte) ([]byte, error)) bus.Service {
	return bus.Service{Name: "agent", Instance: instance, Version: "1.2.3", Metadata: map[string]string{"cores": "4"}, Endpoints: endpoints}
}

func questions(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	long := "first line\nsecond ä" + strings.Repeat("x", 500)
	stop, err := b.Serve(service("one", map[string]func(context.Context, []byte) ([]byte, error){
		"echo": func(_ context.Context, data []byte) ([]byte, error) { return append([]byte("one "), data...), nil },
		"none": func(context.Context, []byte) ([]byte, error) { return nil, nil },
		"odd":  func(context.Context, []byte) ([]byte, error) { return nil, &bus.Error{Code: 418, Text: "odd"} },
		"fail": func(context.Context, []byte) ([]byte, error) { return nil, errors.New(long) },
		"deny": func(context.Context, []byte) ([]byte, error) {
			return nil, fmt.Errorf("stage 3: %w", &bus.Error{Code: bus.Refused, Text: "no room"})
		},
		"long": func(context.Context, []byte) ([]byte, error) { return nil, errors.New(strings.Repeat("x", 1<<20)) },
	}))
	ok(t, err)
	_, err = a.Serve(service("two", map[string]func(context.Context, []byte) ([]byte, error){
		"echo": func(_ context.Context, data []byte) ([]byte, error) { return append([]byte("two "), data...), nil },
	}))
	ok(t, err)
	for _, from := range []bus.Bus{a, b} {
		for _, instance := range []string{"one", "two"} {
			if answer, err := from.Ask(ctx, instance, "echo", []byte("x")); err != nil || string(answer) != instance+" x" {
				t.Errorf("%q, %v", answer, err)
			}
		}
	}
	if answer, err := a.Ask(ctx, "one", "none", nil); err != nil || len(answer) != 0 {
		t.Errorf("%q, %v", answer, err)
	}
	for _, c := range []struct {
		endpoint string
		code     bus.Code
		text     string
	}{
		{"odd", bus.Failed, "odd"},
		{"fail", bus.Failed, long},
		{"deny", bus.Refused, "stage 3: no room"},
		{"long", bus.Failed, strings.Repeat("x", bus.MaxErrorText)},
	} {
		_, err := a.Ask(ctx, "one", c.endpoint, nil)
		if failure := (*bus.Error)(nil); !errors.As(err, &failure) || failure.Code != c.code || failure.Text != c.text {
			t.Errorf("%s: %v", c.endpoint, err)
		}
	}
	_, err = a.Ask(ctx, "nobody", "echo", nil)
	is(t, "no such instance", err, bus.ErrNobody)
	_, err = a.Ask(ctx, "one", "nothing", nil)
	is(t, "no such endpoint", err, bus.ErrNobody)
	stop.Stop()
	stop.Stop()
	_, err = a.Ask(ctx, "one", "echo", nil)
	is(t, "stopped", err, bus.ErrNobody)
}

func endpoints(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	began, release := make(chan string, 10), make(chan struct{})
	stop, err := b.Serve(service("one", map[string]func(context.Context, []byte) ([]byte, error){
		"slow": func(ctx context.Context, data []byte) ([]byte, error) {
			began <- string(data)
			select {
			case <-release:
				return data, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
		"quick": func(context.Context, []byte) ([]byte, error) { return []byte("quick"), nil },
	}))
	ok(t, err)
	ended := make(chan error, 2)
	ask := func(text string) {
		go func() {
			answer, err := a.Ask(ctx, "one", "slow", []byte(text))
			if err == nil && string(answer) != text {
				err = fmt.Errorf("%q", answer)
			}
			ended <- err
		}()
	}
	ask("first")
	if first := get(t, "first question", began); first != "first" {
		t.Error(first)
	}
	ask("second")
	if answer, err := a.Ask(ctx, "one", "quick", nil); err != nil || string(answer) != "quick" {
		t.Errorf("%q, %v", answer, err)
	}
	if len(began) > 0 {
		t.Error("two questions to one endpoint at once")
	}
	release <- struct{}{}
	get(t, "second question", began)
	ok(t, get(t, "answer", ended))
	// A service that stops does not leave its handler behind.
	stop.Stop()
	if err := get(t, "answer", ended); err == nil {
		t.Error("an answer of a service that was stopped")
	}
}

func givingUp(t *testing.T, w World) {
	a, b := w.Connect(t), w.Connect(t)
	_, err := b.Serve(service("one", map[string]func(context.Context, []byte) ([]byte, error){
		"never": func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, nil
		},
	}))
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = a.Ask(ctx, "one", "never", nil)
	is(t, "a deadline", err, context.DeadlineExceeded)
	enough := errors.New("enough")
	caused, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { stop(enough) })
	_, err = a.Ask(caused, "one", "never", nil)
	is(t, "a cause", err, enough)
}

func services(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	if all, err := a.Services(ctx, "agent"); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
	_, err := b.Serve(service("two", nil))
	ok(t, err)
	stop, err := a.Serve(service("one", nil))
	ok(t, err)
	_, err = a.Serve(bus.Service{Name: "other", Instance: "three", Version: "1.0.0"})
	ok(t, err)
	_, err = a.Serve(bus.Service{Name: "other", Instance: "three", Version: "1.0.0", Metadata: map[string]string{"instance": "x"}})
	is(t, "metadata that is taken", err, bus.ErrName)
	all, err := a.Services(ctx, "agent")
	ok(t, err)
	if len(all) != 2 || all[0].Instance != "one" || all[1].Instance != "two" {
		t.Fatalf("%+v", all)
	}
	if one := all[0]; one.Name != "agent" || one.Version != "1.2.3" || len(one.Metadata) != 1 || one.Metadata["cores"] != "4" {
		t.Errorf("%+v", one)
	}
	stop.Stop()
	if all, err := b.Services(ctx, "agent"); err != nil || len(all) != 1 || all[0].Instance != "two" {
		t.Errorf("%+v, %v", all, err)
	}
}

func closing(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	heard, _ := listen(t, b, "last")
	store, err := a.Store(ctx, "run", true)
	ok(t, err)
	question := make(chan struct{})
	_, err = b.Serve(service("one", map[string]func(context.Context, []byte) ([]byte, error){
		"never": func(ctx context.Context, _ []byte) ([]byte, error) {
			close(question)
			<-ctx.Done()
			return nil, nil
		},
	}))
	ok(t, err)
	asked, watching := make(chan error, 1), make(chan error, 1)
	current := make(chan struct{})
	go func() {
		_, err := a.Ask(ctx, "one", "never", nil)
		asked <- err
	}()
	go func() { watching <- store.Watch(ctx, "", func(bus.Entry) { close(current) }) }()
	get(t, "watch", current)
	get(t, "question", question)
	ok(t, a.Publish("last", []byte("word")))
	ok(t, a.Close())
	ok(t, a.Close())
	is(t, "asked", get(t, "end of ask", asked), bus.ErrClosed)
	is(t, "watching", get(t, "end of watch", watching), bus.ErrClosed)
	if m := get(t, "last word", heard); m != "last word" {
		t.Error(m)
	}
	is(t, "publish", a.Publish("last", nil), bus.ErrClosed)
	_, err = a.Subscribe("last", nil)
	is(t, "subscribe", err, bus.ErrClosed)
	_, err = a.Ask(ctx, "one", "never", nil)
	is(t, "ask", err, bus.ErrClosed)
	_, err = a.Serve(service("two", nil))
	is(t, "serve", err, bus.ErrClosed)
	_, err = a.Services(ctx, "agent")
	is(t, "services", err, bus.ErrClosed)
	_, err = a.Store(ctx, "run", false)
	is(t, "store", err, bus.ErrClosed)
	_, err = store.Put(ctx, "k", nil)
	is(t, "put", err, bus.ErrClosed)
	_, err = store.Get(ctx, "k")
	is(t, "get", err, bus.ErrClosed)
}
