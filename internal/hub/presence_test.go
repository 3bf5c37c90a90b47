package hub_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// presence is what the hub says of a device's connection.
func presence(t *testing.T, h *hub.Hub, id string) any {
	t.Helper()
	return must(t, h, "GET", "/twins/"+id+"?api-version=2021-04-12", "").member("connectionState")
}

// A device whose newest connection was accepted is connected, also when the older one ends meanwhile, or afterwards, by whichever side.
func TestPresenceOverTakeovers(t *testing.T) {
	h, service := open(t, hub.Options{DataDir: t.TempDir()})
	key := newDevice(t, service, "dev-1").Authentication.SymmetricKey.Primary
	old := online(t, h, "dev-1", key)
	for n := range 100 {
		var ends sync.WaitGroup
		if n%2 == 0 { // else the hub ends it alone
			ends.Go(func() { old.Conn.Close() })
		}
		fresh := online(t, h, "dev-1", key)
		if got := presence(t, h, "dev-1"); got != "Connected" {
			t.Fatalf("takeover %d: %v when the new connection was accepted", n, got)
		}
		ends.Wait()
		eventually(t, "the old connection is gone", func() bool { return h.Stats().Front.Connections == 1 })
		if got := presence(t, h, "dev-1"); got != "Connected" {
			t.Fatalf("takeover %d: %v when the old connection was gone", n, got)
		}
		old = fresh
	}
	old.Conn.Close()
	eventually(t, "the device is gone", func() bool { return presence(t, h, "dev-1") == "Disconnected" })
}

// revenant is a device that comes back whenever its connection ends, as fast as it can.
type revenant struct {
	login mqtt.Connect
	short bool // it ends each connection as soon as it was accepted

	accepted atomic.Bool // it has a connection that was
}

func (r *revenant) run(ctx context.Context, addr string) error {
	for ctx.Err() == nil {
		if err := r.come(ctx, addr); err != nil {
			return err
		}
	}
	return nil
}

// come is one connection; an error says what the hub did wrong.
func (r *revenant) come(ctx context.Context, addr string) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil //nolint:nilerr // the hub is away
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if _, err := nc.Write(mqtt.AppendConnect(nil, &r.login)); err != nil {
		return nil //nolint:nilerr // it has just gone
	}
	reader := framing.NewReader(nc)
	p, err := reader.Next()
	if err != nil {
		return nil //nolint:nilerr // likewise
	}
	if _, code, err := mqtt.DecodeConnack(p.Body); err != nil || code != mqtt.Accepted {
		return fmt.Errorf("%s: CONNACK %d, %w", r.login.ClientID, code, err)
	}
	if r.short {
		return nil
	}
	r.accepted.Store(true)
	defer r.accepted.Store(false)
	_, _ = reader.Next() // until it ends
	return nil
}

// Devices come back while a hub with --data stops and is started anew, be it before it serves or while it closes: who was accepted is
// connected, and after the last start, to which nobody comes, nobody is.
func TestPresenceOverRestarts(t *testing.T) {
	o := hub.Options{DataDir: t.TempDir()}
	all := make([]*revenant, 8)
	ctx, gone := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer gone()
	amiss := make(chan error, len(all))
	for round := range 12 {
		t.Run(fmt.Sprint("start ", round), func(t *testing.T) {
			for _, r := range all {
				eventually(t, "the device sees that the last hub is gone", func() bool { return r == nil || !r.accepted.Load() })
			}
			h, service := open(t, o)
			if round == 0 {
				o.Listen = h.Addr()
				for i := range all {
					id := fmt.Sprint("dev-", i)
					r := &revenant{login: wiretest.Login(id, newDevice(t, service, id).Authentication.SymmetricKey.Primary), short: i%2 == 1}
					r.login.HasUsername, r.login.HasPassword = true, true
					all[i] = r
					work.Go(func() { amiss <- r.run(ctx, o.Listen) })
				}
			}
			for i, r := range all {
				if r.short {
					continue
				}
				eventually(t, "the device comes back", r.accepted.Load)
				if got := presence(t, h, fmt.Sprint("dev-", i)); got != "Connected" {
					t.Errorf("dev-%d: %v when its connection was accepted", i, got)
				}
			}
		})
	}
	gone()
	for range all {
		if err := <-amiss; err != nil {
			t.Error(err)
		}
	}
	h, _ := open(t, o)
	for i := range all {
		if got := presence(t, h, fmt.Sprint("dev-", i)); got != "Disconnected" {
			t.Errorf("dev-%d: %v, and never came", i, got)
		}
	}
}
