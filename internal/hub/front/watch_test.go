package front_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/nowait"
)

// punctual is a connection on which something comes at the worst moment: when all was read, and before who read it is done.
type punctual struct {
	nowait.Conn
	watched *nowait.Watched

	mu     sync.Mutex // protects the following field
	arrive func()     // at the next such moment
}

func (p *punctual) Watch(ps *nowait.Poller, w *nowait.Watched) (func(), error) {
	p.watched = w
	return p.Conn.Watch(ps, w)
}

func (p *punctual) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	p.mu.Lock()
	arrive := p.arrive
	if err != nil {
		p.arrive = nil
	}
	p.mu.Unlock()
	if err != nil && arrive != nil {
		arrive()
		p.watched.Now(nil) // is told while the connection is being read
	}
	return n, err
}

// What comes while a connection is read is read too.
func TestWhatComesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{key: sas.NewKey()}
		f := open(t, b, options{Options: front.Options{Waits: true}}, nil)
		t.Cleanup(f.Close)
		client, server := memnet.Pipe()
		p := &punctual{Conn: server.(nowait.Conn)}
		f.Take(p)
		w := wiretest.New(t, client)
		synctest.Wait()
		p.mu.Lock()
		p.arrive = func() { // of which nobody else tells
			if _, err := p.Conn.Watch(nil, nil); err != nil {
				t.Error(err)
			}
			w.Send(mqtt.AppendEmpty(nil, mqtt.PINGREQ))
		}
		p.mu.Unlock()
		if _, code := w.Connect(wiretest.Login("dev-1", b.key)); code != mqtt.Accepted {
			t.Fatalf("CONNACK %d", code)
		}
		w.Expect(mqtt.PINGRESP)
	})
}
