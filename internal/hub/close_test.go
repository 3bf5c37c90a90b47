package hub_test

import (
	"bytes"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// A hub that stalls lets go of the requests that wait in it when it closes: TestMain finds what is left.
func TestCloseEndsWhatWaits(t *testing.T) {
	h, err := hub.Open(t.Context(), hub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h.Faults().Stall(time.Hour)
	cs := h.ConnectionString("iothubowner")
	ended := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.Addr()+"/devices/query?api-version=2021-04-12",
			strings.NewReader(`{"query":"SELECT * FROM devices"}`))
		if err != nil {
			ended <- err
			return
		}
		r.Header.Set("Authorization", sas.Sign(cs.HostName, cs.Key, cs.Policy, time.Now().Add(time.Hour)))
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	stacks := make([]byte, 1<<20)
	eventually(t, "a request that waits", func() bool { return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("(*Switch).Wait(")) })
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(wiretest.Patience):
		t.Error("the request waits on")
	}
}
