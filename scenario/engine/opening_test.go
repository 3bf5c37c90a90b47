package engine_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// hubAtAddr is the --set that points a scenario at an address which is meant to be a hub.
func hubAtAddr(addr string) string {
	return "target.hub=HostName=" + addr + ";SharedAccessKeyName=o;SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0"
}

// A mistake that a retry would find, too, is tried once, told once, and told with its remedy.
func TestPermanentMistakesWhenOpening(t *testing.T) {
	var conns atomic.Int64
	serve := func(start func(*httptest.Server)) *httptest.Server {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				conns.Add(1)
			}
		}
		start(server)
		t.Cleanup(server.Close)
		return server
	}
	secure, plain := serve((*httptest.Server).StartTLS), serve((*httptest.Server).Start)
	h, err := hub.Open(t.Context(), hub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for name, tt := range map[string]struct {
		set  []string
		want string
	}{
		"untrusted":   {[]string{hubAtAddr(secure.Listener.Addr().String())}, "name the file with the certificate to trust in target.ca"},
		"no TLS":      {[]string{hubAtAddr(plain.Listener.Addr().String())}, "set target.plain"},
		"no such key": {[]string{hubAtAddr(h.Addr()), "target.plain=true"}, "check the policy and its key in target.hub"},
	} {
		t.Run(name, func(t *testing.T) {
			before := conns.Load()
			run := newEngine(decode(t, small, append(tt.set, "fleet.groups.robots.count=400", "stages.ramp.devices=400", "stages.ramp.duration=2s")...),
				newWatcher()).Run(t.Context())
			if run.Outcome != report.Failed || strings.Count(run.Reason, tt.want) != 1 || strings.Count(run.Reason, "creating identities") != 1 {
				t.Errorf("%s: %s", run.Outcome, run.Reason)
			}
			// 400 identities are four calls, which go out at once.
			if n := conns.Load() - before; n > 4 {
				t.Errorf("%d connections for four calls", n)
			}
		})
	}
}

// A target that takes connections and answers nothing does not keep a run that is asked to stop.
func TestStopOnSilentTarget(t *testing.T) {
	for name, end := range map[string]func(e *engine.Engine, cancel func()){
		"stop":   func(e *engine.Engine, _ func()) { e.Stop() },
		"cancel": func(_ *engine.Engine, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				asked := make(chan struct{}, 100)
				var serving sync.WaitGroup
				defer serving.Wait()
				silent := func(context.Context) (net.Conn, error) {
					client, server := memnet.Pipe()
					serving.Go(func() {
						_, _ = io.Copy(io.Discard, server)
						server.Close()
					})
					asked <- struct{}{}
					return client, nil
				}
				e := atHub(decode(t, small, hubAtAddr("silent"), "target.plain=true"), newWatcher(), silent)
				ended := make(chan *report.Run)
				go func() { ended <- e.Run(ctx) }()
				<-asked
				end(e, cancel)
				select {
				case run := <-ended:
					if run.Outcome != report.Interrupted {
						t.Errorf("%s: %s", run.Outcome, run.Reason)
					}
				case <-time.After(25 * time.Second): // a call alone may take half a minute
					t.Error("the run goes on")
					cancel()
					<-ended
				}
			})
		})
	}
}
