package bustest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
)

func stores(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	_, err := a.Store(ctx, "run", false)
	is(t, "no store", err, bus.ErrNoStore)
	store, err := a.Store(ctx, "run", true)
	ok(t, err)
	_, err = a.Store(ctx, "run", true)
	ok(t, err)
	other, err := b.Store(ctx, "run", false)
	ok(t, err)

	_, err = other.Get(ctx, "k.one")
	is(t, "get", err, bus.ErrNoKey)
	_, err = store.Update(ctx, "k.one", nil, 0)
	is(t, "update of nothing", err, bus.ErrConflict)
	_, err = store.Update(ctx, "k.one", nil, 7)
	is(t, "update of nothing", err, bus.ErrConflict)
	first, err := store.Create(ctx, "k.one", []byte("1"))
	ok(t, err)
	_, err = other.Create(ctx, "k.one", []byte("2"))
	is(t, "create", err, bus.ErrExists)
	second, err := other.Update(ctx, "k.one", []byte("3"), first)
	ok(t, err)
	_, err = store.Update(ctx, "k.one", []byte("4"), first)
	is(t, "update", err, bus.ErrConflict)
	entry, err := store.Get(ctx, "k.one")
	if err != nil || string(entry.Value) != "3" || entry.Revision != second || entry.Key != "k.one" || entry.Kind != bus.Value || entry.At.IsZero() {
		t.Errorf("%+v, %v", entry, err)
	}
	third, err := store.Put(ctx, "k.one", nil)
	if err != nil || third <= second || second <= first || first == 0 {
		t.Errorf("%d, %d, %d, %v", first, second, third, err)
	}
	if entry, err := other.Get(ctx, "k.one"); err != nil || len(entry.Value) > 0 || entry.Revision != third {
		t.Errorf("%+v, %v", entry, err)
	}

	for _, key := range []string{"k", "k.two.deep", "kk.one", "z/z.-_="} {
		_, err := store.Put(ctx, key, []byte("x"))
		ok(t, err)
	}
	ok(t, other.Delete(ctx, "kk.one"))
	ok(t, other.Delete(ctx, "never"))
	_, err = store.Get(ctx, "kk.one")
	is(t, "deleted", err, bus.ErrNoKey)
	for prefix, want := range map[string][]string{
		"":    {"k", "k.one", "k.two.deep", "z/z.-_="},
		"k":   {"k.one", "k.two.deep"},
		"kk":  nil,
		"z/z": {"z/z.-_="},
	} {
		if keys, err := other.Keys(ctx, prefix); err != nil || !slices.Equal(keys, want) {
			t.Errorf("below %q: %q, %v", prefix, keys, err)
		}
	}
	again, err := store.Create(ctx, "kk.one", []byte("again"))
	ok(t, err)
	_, err = store.Update(ctx, "kk.one", []byte("more"), again)
	ok(t, err)
	_, err = store.Create(ctx, "kk.one", nil)
	is(t, "create", err, bus.ErrExists)

	// Many at once: one wins.
	var wg sync.WaitGroup
	won := make(chan int, 8)
	for i := range 8 {
		wg.Go(func() {
			if _, err := store.Create(ctx, "leader", fmt.Append(nil, i)); err == nil {
				won <- i
			} else if !errors.Is(err, bus.ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	leader := get(t, "leader", won)
	if entry, err := store.Get(ctx, "leader"); err != nil || string(entry.Value) != fmt.Sprint(leader) || len(won) > 0 {
		t.Errorf("%d led, and %d more; %s, %v", leader, len(won), entry.Value, err)
	}
}

// dropped has a store removed while another has it open and watches it.
func dropped(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	ok(t, a.Drop(ctx, "run"))
	is(t, "a bad name", a.Drop(ctx, "a b"), bus.ErrName)
	store, err := a.Store(ctx, "run", true)
	ok(t, err)
	kept, err := a.Store(ctx, "kept", true)
	ok(t, err)
	_, err = kept.Put(ctx, "k", []byte("1"))
	ok(t, err)
	other, err := b.Store(ctx, "run", false)
	ok(t, err)
	_, err = store.Put(ctx, "k", []byte("1"))
	ok(t, err)
	told, ended := make(chan bus.Entry, 10), make(chan error, 1)
	go func() { ended <- other.Watch(ctx, "", func(e bus.Entry) { told <- e }) }()
	get(t, "value", told)
	get(t, "end of what there is", told)

	ok(t, a.Drop(ctx, "run"))
	ok(t, b.Drop(ctx, "run"))
	_, err = b.Store(ctx, "run", false)
	is(t, "opened", err, bus.ErrNoStore)
	for name, do := range map[string]func() error{
		"put":    func() error { _, err := other.Put(ctx, "k", nil); return err },
		"create": func() error { _, err := other.Create(ctx, "new", nil); return err },
		"update": func() error { _, err := other.Update(ctx, "k", nil, 1); return err },
		"delete": func() error { return other.Delete(ctx, "k") },
		"get":    func() error { _, err := other.Get(ctx, "k"); return err },
		"keys":   func() error { _, err := other.Keys(ctx, ""); return err },
	} {
		is(t, name, do(), bus.ErrNoStore)
	}
	is(t, "watch", get(t, "end of the watch", ended), bus.ErrNoStore)
	if _, err := kept.Get(ctx, "k"); err != nil {
		t.Error("the other store:", err)
	}
	again, err := b.Store(ctx, "run", true)
	ok(t, err)
	_, err = again.Get(ctx, "k")
	is(t, "a new one", err, bus.ErrNoKey)
}

func full(t *testing.T, w World) {
	a, ctx := w.Connect(t), soon(t)
	store, err := a.Store(ctx, "run", true)
	ok(t, err)
	value := make([]byte, 500<<10)
	for i := 0; err == nil; i++ {
		if _, err = store.Put(ctx, fmt.Sprint("k", i), value); i > StoreBytes/len(value) {
			t.Fatal("it is never full")
		}
	}
	is(t, "put", err, bus.ErrFull)
	// What is there can be read, and go.
	if _, err := store.Get(ctx, "k0"); err != nil {
		t.Error(err)
	}
	ok(t, store.Delete(ctx, "k0"))
	_, err = store.Put(ctx, "more", value)
	ok(t, err)
}

// watching is a Watch that goes on.
type watching struct {
	entries chan bus.Entry
	ended   chan error
	cancel  context.CancelCauseFunc
}

func watch(t *testing.T, store bus.Store, prefix string) *watching {
	ctx, cancel := context.WithCancelCause(t.Context())
	w := &watching{entries: make(chan bus.Entry, 10000), ended: make(chan error, 1), cancel: cancel}
	go func() { w.ended <- store.Watch(ctx, prefix, func(e bus.Entry) { w.entries <- e }) }()
	t.Cleanup(func() { cancel(nil) })
	return w
}

func (w *watching) want(t *testing.T, kind bus.Kind, key, value string) {
	t.Helper()
	if e := get(t, "entry "+key, w.entries); e.Kind != kind || e.Key != key || string(e.Value) != value {
		t.Fatalf("%v %q %q, not %v %q %q", e.Kind, e.Key, e.Value, kind, key, value)
	}
}

func watched(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	store, err := a.Store(ctx, "run", true)
	ok(t, err)
	other, err := b.Store(ctx, "run", false)
	ok(t, err)
	put := func(key, value string) {
		t.Helper()
		_, err := other.Put(ctx, key, []byte(value))
		ok(t, err)
	}
	empty := watch(t, store, "")
	empty.want(t, bus.Current, "", "")
	put("a.one", "1")
	empty.want(t, bus.Value, "a.one", "1")
	put("a.two", "2")
	put("b.one", "3")
	put("a.one", "4")
	put("a.gone", "5")
	ok(t, store.Delete(ctx, "a.gone"))
	for _, prefix := range []string{"a", ""} {
		later := watch(t, store, prefix)
		later.want(t, bus.Value, "a.two", "2")
		if prefix == "" {
			later.want(t, bus.Value, "b.one", "3")
		}
		later.want(t, bus.Value, "a.one", "4")
		later.want(t, bus.Current, "", "")
		put("b.two", "6")
		if prefix == "" {
			later.want(t, bus.Value, "b.two", "6")
		}
		put("a", "not below")
		if prefix == "" {
			later.want(t, bus.Value, "a", "not below")
		}
		ok(t, other.Delete(ctx, "a.one"))
		later.want(t, bus.Deleted, "a.one", "")
		put("a.one", "4")
		later.want(t, bus.Value, "a.one", "4")
		enough := errors.New("enough")
		later.cancel(enough)
		is(t, "watch", get(t, "end", later.ended), enough)
		ok(t, store.Delete(ctx, "b.two"))
		ok(t, store.Delete(ctx, "a"))
	}
}

// lastValues has two write while another watches and the server goes and comes: what the watcher knows in the end is what is there.
func lastValues(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	stores := make([]bus.Store, 2)
	for i, from := range []bus.Bus{a, b} {
		var err error
		stores[i], err = from.Store(ctx, "run", true)
		ok(t, err)
	}
	// The watcher has its own connection: it comes back when it does.
	eye, err := w.Connect(t).Store(ctx, "run", false)
	ok(t, err)
	seen := watch(t, eye, "k")
	var wg sync.WaitGroup
	half := make(chan struct{}, len(stores))
	for i, store := range stores {
		wg.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range 60 {
				if n == 20 {
					half <- struct{}{}
				}
				key := fmt.Sprint("k.", dice.IntN(7))
				var err error
				if dice.IntN(5) == 0 {
					err = store.Delete(ctx, key)
				} else {
					_, err = store.Put(ctx, key, fmt.Append(nil, i, " ", n))
				}
				if err != nil {
					t.Errorf("write %d of %d: %v", n, i, err)
					return
				}
			}
		})
	}
	get(t, "writes", half)
	w.Stop(t)
	w.Start(t)
	wg.Wait()
	_, err = stores[0].Put(ctx, "k.end", nil)
	ok(t, err)
	known := map[string]string{}
	revision := uint64(0)
	for e := (bus.Entry{}); e.Key != "k.end"; {
		e = get(t, "entry", seen.entries)
		if e.Kind != bus.Current && e.Revision <= revision {
			t.Errorf("revision %d after %d", e.Revision, revision)
		}
		revision = max(revision, e.Revision)
		switch e.Kind {
		case bus.Value:
			known[e.Key] = string(e.Value)
		case bus.Deleted:
			delete(known, e.Key)
		}
	}
	keys, err := stores[1].Keys(ctx, "k")
	ok(t, err)
	if len(keys) != len(known) {
		t.Errorf("%d keys, of which the watcher knows %d", len(keys), len(known))
	}
	for _, key := range keys {
		if entry, err := stores[1].Get(ctx, key); err != nil || string(entry.Value) != known[key] {
			t.Errorf("%s is %q (%v), the watcher says %q", key, entry.Value, err, known[key])
		}
	}
}

// states follows a connection.
func states(b bus.Bus) <-chan bus.State {
	out := make(chan bus.State, 1000)
	b.States(func(s bus.State) { out <- s })
	return out
}

func until(t *testing.T, all <-chan bus.State, connected bool) bus.State {
	t.Helper()
	for {
		if s := get(t, fmt.Sprint("state ", connected), all); s.Connected == connected {
			return s
		}
	}
}

func away(t *testing.T, w World) {
	a, b, ctx := w.Connect(t), w.Connect(t), soon(t)
	stateA, stateB := states(a), states(b)
	until(t, stateA, true)
	until(t, stateB, true)
	heard := make(chan struct{})
	_, err := b.Serve(service("one", map[string]func(context.Context, []byte) ([]byte, error){
		"echo": func(_ context.Context, data []byte) ([]byte, error) { return data, nil },
		"never": func(ctx context.Context, _ []byte) ([]byte, error) {
			close(heard)
			<-ctx.Done()
			return nil, nil
		},
	}))
	ok(t, err)
	heardA, _ := listen(t, a, "word")
	heardB, _ := listen(t, b, "word")
	storeA, err := a.Store(ctx, "run", true)
	ok(t, err)
	storeB, err := b.Store(ctx, "run", true)
	ok(t, err)
	before, err := storeA.Put(ctx, "k", []byte("before"))
	ok(t, err)
	eye := watch(t, storeA, "")
	eye.want(t, bus.Value, "k", "before")
	eye.want(t, bus.Current, "", "")
	asked := make(chan error, 1)
	go func() {
		_, err := a.Ask(ctx, "one", "never", nil)
		asked <- err
	}()
	get(t, "question", heard)

	w.Stop(t)
	if s := until(t, stateA, false); s.Reason == nil {
		t.Error("no reason")
	}
	until(t, stateB, false)
	is(t, "the question that was asked", get(t, "end of ask", asked), bus.ErrLost)
	for i := range 10 {
		ok(t, a.Publish("word", fmt.Append(nil, i)))
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = a.Ask(short, "one", "echo", nil)
	is(t, "ask", err, context.DeadlineExceeded)
	_, err = storeA.Put(short, "k", []byte("never"))
	is(t, "put", err, context.DeadlineExceeded)
	_, err = a.Services(short, "agent")
	is(t, "services", err, context.DeadlineExceeded)
	_, err = a.Store(short, "run", true)
	is(t, "store", err, context.DeadlineExceeded)
	later := make(chan error, 2)
	go func() {
		_, err := storeB.Update(ctx, "k", []byte("meanwhile"), before)
		later <- err
	}()
	go func() {
		_, err := a.Ask(ctx, "one", "echo", nil)
		// The other may come back later.
		if errors.Is(err, bus.ErrNobody) {
			err = nil
		}
		later <- err
	}()

	w.Start(t)
	until(t, stateA, true)
	until(t, stateB, true)
	ok(t, get(t, "write", later))
	ok(t, get(t, "answer", later))
	eye.want(t, bus.Value, "k", "meanwhile")
	// What was said reaches at least who said it, after it listens.
	for i := range 10 {
		if m := get(t, "word", heardA); m != fmt.Sprint("word ", i) {
			t.Error(m)
		}
	}
	ok(t, a.Publish("word", []byte("after")))
	for m := ""; m != "word after"; {
		m = get(t, "word", heardB)
	}
	if _, err := a.Ask(ctx, "one", "echo", nil); err != nil {
		t.Error(err)
	}
	if all, err := a.Services(ctx, "agent"); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	_, err = storeB.Put(ctx, "k", []byte("after"))
	ok(t, err)
	eye.want(t, bus.Value, "k", "after")
	if s := (<-chan bus.State)(states(a)); !(<-s).Connected {
		t.Error("who asks late hears that there is no connection")
	}
}

func backlog(t *testing.T, w World) {
	a := w.Connect(t)
	all := states(a)
	heard, _ := listen(t, a, "word")
	w.Stop(t)
	until(t, all, false)
	value := make([]byte, 1000)
	n := 0
	var err error
	for ; err == nil && n < 2*Backlog/len(value); n++ {
		err = a.Publish("word", value)
	}
	is(t, "publish", err, bus.ErrBacklog)
	w.Start(t)
	for range n - 1 {
		get(t, "word", heard)
	}
	ok(t, a.Publish("word", []byte("after")))
	if m := get(t, "word", heard); m != "word after" {
		t.Errorf("%d bytes", len(m))
	}
}
