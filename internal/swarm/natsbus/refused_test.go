package natsbus_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/bustest"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
)

// one fails a test for an error that is not one line with all of these texts, or tells a secret.
func one(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Error("it is not refused")
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("it says %q, and nothing of %q", err, text)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hush") {
		t.Errorf("it says %q", err)
	}
}

// TestRefusedConnections are mistakes after which there is no connection: a line says what, where, and what to do, at once where trying helps nothing.
func TestRefusedConnections(t *testing.T) {
	leakless(t)
	good, authority := certificate(t)
	old, oldAuthority := certificateUntil(t, time.Now().Add(-time.Hour))
	both := good.Clone()
	both.ClientAuth = tls.RequireAnyClientCert
	secure := func(config *tls.Config) string {
		return raw(t, &server.Options{TLS: true, TLSConfig: config, TLSTimeout: 2, Authorization: "hush-hush"})
	}
	silence, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and is no NATS server
	if err != nil {
		t.Fatal(err)
	}
	defer silence.Close()
	plain := raw(t, &server.Options{Users: []*server.User{{Username: "me", Password: "hush-hush"}}})
	trusted, expired, clients := secure(good), secure(old), secure(both)
	for _, c := range []struct {
		name    string
		options natsbus.Options
		waits   bool // it may pass
		what    string
		todo    string
	}{
		{"no credentials", natsbus.Options{URLs: []string{plain}}, false, "refuses the credentials", "they are none; give those of a user that it has"},
		{"a wrong password", natsbus.Options{URLs: []string{plain}, User: "me", Password: "hush"}, false, "refuses the credentials", "they are a user and a password; give"},
		{"a token where there are users", natsbus.Options{URLs: []string{plain}, Token: "hush"}, false, "refuses the credentials", "they are a token; give"},
		{"an unknown authority", natsbus.Options{URLs: []string{trusted}, Token: "hush-hush"}, false, "unknown authority", "name a file with the certificate of the authority"},
		{"an expired certificate", natsbus.Options{URLs: []string{expired}, Token: "hush-hush", CAFile: oldAuthority}, false, "has expired", "the server needs a new certificate"},
		{
			"another name",
			natsbus.Options{URLs: []string{strings.Replace(trusted, "127.0.0.1", "localhost", 1)}, Token: "hush-hush", CAFile: authority},
			false,
			"localhost", "name the server as its certificate does",
		},
		{"certificates of clients", natsbus.Options{URLs: []string{clients}, Token: "hush-hush", CAFile: authority}, false, "tls", "certificates of clients"},
		{"TLS to a server without", natsbus.Options{URLs: []string{plain}, User: "me", Password: "hush-hush", CAFile: authority}, false, "secure", "write nats://"},
		{"nobody", natsbus.Options{URLs: []string{closedPort(t)}}, true, "refused", ""},
		{"not NATS", natsbus.Options{URLs: []string{silence.Addr().String()}}, true, "timeout", "something else's port"},
		{"no such name", natsbus.Options{URLs: []string{"nats://nowhere.invalid"}}, true, "nowhere.invalid", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			patience := 20 * time.Second
			if c.waits {
				patience = 2500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var log bytes.Buffer
			c.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
			b, err := natsbus.Connect(ctx, c.options)
			if err == nil {
				_ = b.Close()
			}
			where := strings.TrimPrefix(c.options.URLs[0], "nats://")
			one(t, err, where, c.what, c.todo)
			if errors.Is(err, context.DeadlineExceeded) != c.waits {
				t.Errorf("did it wait? %v", err)
			}
			// Who waits says for what while it does.
			if told := log.String(); c.waits && !strings.Contains(told, where) || strings.Contains(told, "hush") {
				t.Errorf("meanwhile it says %q", told)
			}
		})
	}
	for _, url := range []string{"nats://me:4222/hush-hush@127.0.0.1:4222", "nats://me:12?hush@127.0.0.1", "nats://me:12#hush@127.0.0.1", "nats://hush/hush@127.0.0.1"} {
		_, err := natsbus.Connect(t.Context(), natsbus.Options{URLs: []string{url}})
		one(t, err, "cannot be read", "nats://host:4222")
	}
}

// TestRefusedStores are servers on which there is no store.
func TestRefusedStores(t *testing.T) {
	leakless(t)
	user := func(p *server.Permissions) []*server.User {
		return []*server.User{{Username: "me", Password: "hush-hush", Permissions: p}}
	}
	allow := func(publish, subscribe []string) *server.Permissions {
		return &server.Permissions{Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe}}
	}
	for _, c := range []struct {
		name    string
		options server.Options
		is      error
		what    string
		todo    string
	}{
		{"no JetStream", server.Options{Users: user(nil)}, bus.ErrNoStore, "has no JetStream", "start it with --jetstream"},
		{"no room", server.Options{Users: user(nil), JetStream: true, JetStreamMaxStore: 100 << 20}, bus.ErrFull, "no room for one more of 256 MiB", "remove those of runs that are over"},
		{
			"JetStream is not allowed",
			server.Options{Users: user(allow([]string{"twinfleet.>"}, []string{"_INBOX.>"})), JetStream: true},
			bus.ErrForbidden,
			"must be allowed to publish to", "$JS.API.STREAM.INFO.KV_twinfleet_run",
		},
		{
			"making a store is not allowed",
			server.Options{Users: user(allow([]string{"$JS.API.STREAM.INFO.>"}, []string{"_INBOX.>"})), JetStream: true},
			bus.ErrForbidden,
			"must be allowed to publish to", "$JS.API",
		},
		{
			"answers are not allowed",
			server.Options{Users: user(allow([]string{">"}, []string{"twinfleet.>"})), JetStream: true},
			bus.ErrForbidden,
			"must be allowed to subscribe to", "_INBOX.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := raw(t, &c.options)
			b, err := natsbus.Connect(patient(t), natsbus.Options{URLs: []string{url}, User: "me", Password: "hush-hush"})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			for range 2 { // it stays so
				_, err = b.Store(patient(t), "run", true)
				one(t, err, url, c.what, c.todo)
				if !errors.Is(err, c.is) {
					t.Error(err)
				}
			}
		})
	}
}

// TestMadeLater is a server that can't make a store once, as it can be after the last of its stores went.
func TestMadeLater(t *testing.T) {
	leakless(t)
	o := &server.Options{JetStream: true}
	url := raw(t, o)
	account := filepath.Join(o.StoreDir, "jetstream", "$G")
	if err := os.MkdirAll(account, 0o700); err != nil {
		t.Fatal(err)
	}
	// A file where there has to be a folder; the server itself removes it after it failed.
	if err := os.WriteFile(filepath.Join(account, "streams"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	watcher := client(t, url)
	refused, err := watcher.SubscribeSync("$JS.EVENT.ADVISORY.API")
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.Flush(); err != nil {
		t.Fatal(err)
	}
	b, err := natsbus.Connect(patient(t), natsbus.Options{URLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Store(patient(t), "run", true); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := refused.NextMsgWithContext(patient(t))
		if err != nil {
			t.Fatal("it was made at once: ", err)
		}
		if bytes.Contains(m.Data, []byte("error creating store for stream")) {
			return
		}
	}
}

// TestNeverMade is a server that can't make a store: it is asked a few times, and believed.
func TestNeverMade(t *testing.T) {
	leakless(t)
	url := raw(t, &server.Options{})
	jetStream := client(t, url)
	asked := new(atomic.Int32)
	if _, err := jetStream.Subscribe("$JS.API.>", func(m *nats.Msg) {
		if m.Subject == "$JS.API.INFO" {
			_ = m.Respond([]byte("{}"))
			return
		}
		code, text := 10059, "stream not found"
		if strings.Contains(m.Subject, ".CREATE.") {
			asked.Add(1)
			code, text = 10049, "error creating store for stream"
		}
		_ = m.Respond(fmt.Appendf(nil, `{"error": {"code": 500, "err_code": %d, "description": %q}}`, code, text))
	}); err != nil {
		t.Fatal(err)
	}
	if err := jetStream.Flush(); err != nil {
		t.Fatal(err)
	}
	b, err := natsbus.Connect(patient(t), natsbus.Options{URLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, err = b.Store(patient(t), "run", true)
	one(t, err, url, "can't make a store", "its disk has room")
	if n := asked.Load(); n != 4 {
		t.Errorf("it was asked %d times", n)
	}
}

// TestPassingAbsence is a server that does not know a stream at first, as one of a cluster that has just come back may not: a watch goes on. When it
// is unknown for long it is lost.
func TestPassingAbsence(t *testing.T) {
	leakless(t)
	for _, c := range []struct {
		name    string
		unknown int32 // times
		want    error
	}{{"for a while", 2, nil}, {"for good", 1000, bus.ErrNoStore}} {
		t.Run(c.name, func(t *testing.T) {
			url := raw(t, &server.Options{})
			jetStream := client(t, url)
			asked := new(atomic.Int32)
			if _, err := jetStream.Subscribe("$JS.API.>", func(m *nats.Msg) {
				answer := `{"config": {"name": "KV_twinfleet_run"}, "state": {}}`
				if strings.Contains(m.Subject, ".CONSUMER.CREATE.") {
					if answer = `{"stream_name": "KV_twinfleet_run", "name": "c", "config": {"name": "c"}, "num_pending": 0}`; asked.Add(1) <= c.unknown {
						answer = `{"error": {"code": 404, "err_code": 10059, "description": "stream not found"}}`
					}
				}
				_ = m.Respond([]byte(answer))
			}); err != nil {
				t.Fatal(err)
			}
			if err := jetStream.Flush(); err != nil {
				t.Fatal(err)
			}
			b, err := natsbus.Connect(patient(t), natsbus.Options{URLs: []string{url}})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			s, err := b.Store(patient(t), "run", false)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(patient(t))
			found := errors.New("found")
			err = s.Watch(ctx, "", func(bus.Entry) { cancel(found) })
			if c.want == nil {
				c.want = found
			}
			if !errors.Is(err, c.want) {
				t.Error(err)
			}
			if n := asked.Load(); n != 3 {
				t.Errorf("it was asked %d times", n)
			}
		})
	}
}

// client is a connection of somebody else's.
func client(t *testing.T, url string) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestForbidden is a user who may do one thing and not the other: what it may goes on while the other ends at once.
func TestForbidden(t *testing.T) {
	leakless(t)
	url := raw(t, &server.Options{JetStream: true, Users: []*server.User{
		{Username: "all", Password: "hush-hush"},
		{Username: "some", Password: "hush-hush", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{
				Allow: []string{"twinfleet.>", "$JS.API.>", "$SRV.>", "$KV.twinfleet_run.mine.>"},
				Deny:  []string{"$JS.API.CONSUMER.>", "twinfleet.ask.*.secret", "$SRV.INFO.hidden"},
			},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", "twinfleet.pub.>", "twinfleet.ask.>"}},
		}},
	}})
	connect := func(user string) bus.Bus {
		b, err := natsbus.Connect(patient(t), natsbus.Options{URLs: []string{url}, User: user, Password: "hush-hush"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	all, b, ctx := connect("all"), connect("some"), patient(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	service := bus.Service{Name: "agent", Instance: "one", Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
		"slow": func(context.Context, []byte) ([]byte, error) {
			close(asked)
			<-answer
			return []byte("yes"), nil
		},
		"secret": func(context.Context, []byte) ([]byte, error) { return nil, nil },
	}}
	if _, err := all.Serve(service); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Store(ctx, "run", true); err != nil {
		t.Fatal(err)
	}
	store, err := b.Store(ctx, "run", false)
	if err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() {
		_, err := b.Ask(ctx, "one", "slow", nil)
		slow <- err
	}()
	<-asked
	for name, c := range map[string]struct {
		do  func() error
		why string
	}{
		"put":       {func() error { _, err := store.Put(ctx, "theirs.k", nil); return err }, "publish to $KV.twinfleet_run.theirs.k"},
		"watch":     {func() error { return store.Watch(ctx, "", func(bus.Entry) {}) }, "publish to $JS.API.CONSUMER.CREATE."},
		"keys":      {func() error { _, err := store.Keys(ctx, ""); return err }, "publish to $JS.API.CONSUMER.CREATE."},
		"ask":       {func() error { _, err := b.Ask(ctx, "one", "secret", nil); return err }, "publish to twinfleet.ask.one.secret"},
		"services":  {func() error { _, err := b.Services(ctx, "hidden"); return err }, "publish to $SRV.INFO.hidden"},
		"serve":     {func() error { _, err := b.Serve(bus.Service{Name: "a", Instance: "b", Version: "1.0.0"}); return err }, "subscribe to $SRV."},
		"subscribe": {func() error { _, err := limited(t, url).Subscribe("word", func(string, []byte) {}); return err }, "subscribe to other.pub.word"},
	} {
		err := c.do()
		if !errors.Is(err, bus.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
		one(t, err, url, c.why)
	}
	if _, err := store.Put(ctx, "mine.k", []byte("1")); err != nil {
		t.Error(err)
	}
	if _, err := b.Subscribe("word", func(string, []byte) {}); err != nil {
		t.Error(err)
	}
	close(answer)
	if err := <-slow; err != nil {
		t.Error("a question that was under way:", err)
	}
}

// limited is a connection with subjects that its user may not use.
func limited(t *testing.T, url string) bus.Bus {
	t.Helper()
	b, err := natsbus.Connect(patient(t), natsbus.Options{URLs: []string{url}, User: "some", Password: "hush-hush", Prefix: "other"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// permitted is a server whose user may do what docs/agents.md asks for, and no more.
type permitted struct{ url string }

func (p permitted) Stop(t *testing.T)  { t.Fatal("this one stays") }
func (p permitted) Start(t *testing.T) { t.Fatal("this one stays") }

func (p permitted) Connect(t *testing.T) bus.Bus {
	t.Helper()
	b, err := natsbus.Connect(t.Context(), natsbus.Options{
		URLs: []string{p.url}, User: "me", Password: "hush-hush", Backlog: bustest.Backlog, StoreBytes: bustest.StoreBytes,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// TestPermissionsSuffice does all that a bus does as a user who has the permissions that the documentation names.
func TestPermissionsSuffice(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "agents.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)publish and subscribe to (.*?), and to publish to (.*?):").FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/agents.md does not say which")
	}
	subjects := func(from []byte) (all []string) {
		for _, x := range regexp.MustCompile("`([^`]+)`").FindAllSubmatch(from, -1) {
			all = append(all, string(x[1]))
		}
		return all
	}
	both := subjects(found[1])
	ran := 0
	for _, c := range bustest.Cases() {
		if !slices.Contains([]string{
			"messages reach who listens, in order", "questions and answers", "services are found", "a store", "a store is watched", "a store that is dropped",
		}, c.Name) {
			continue
		}
		ran++
		t.Run(c.Name, func(t *testing.T) {
			leakless(t)
			may := &server.Permissions{
				Publish: &server.SubjectPermission{Allow: append(subjects(found[2]), both...)}, Subscribe: &server.SubjectPermission{Allow: both},
			}
			c.Run(t, permitted{raw(t, &server.Options{JetStream: true, Users: []*server.User{{Username: "me", Password: "hush-hush", Permissions: may}}})})
		})
	}
	if ran != 6 {
		t.Errorf("%d cases ran", ran)
	}
}
