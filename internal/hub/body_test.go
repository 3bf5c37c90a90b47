package hub_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// begin sends the head of a request, whose body never comes whole, and returns the answer and when it came.
func begin(t *testing.T, h *hub.Hub, head string) (resp *http.Response, nc net.Conn, after time.Duration) {
	t.Helper()
	nc, err := h.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := nc.Write([]byte(strings.ReplaceAll(head, "\n", "\r\n"))); err != nil {
		t.Fatal(err)
	}
	resp, err = http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp, nc, time.Since(began)
}

// A body that is broken or does not come is the client's fault, and the end of its connection.
func TestBrokenBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := hub.Open(t.Context(), hub.Options{NoPort: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}()
		cs := h.ConnectionString("iothubowner")
		token := sas.Sign(cs.HostName, cs.Key, cs.Policy, time.Now().Add(time.Hour))
		const head = "POST /devices/query?api-version=2021-04-12 HTTP/1.1\nHost: localhost\n"
		for name, tt := range map[string]struct {
			head   string
			status int
			within time.Duration
		}{
			"without a token":           {head + "Content-Length: 100\n\n", 401, 2 * time.Second},
			"without a token, in parts": {head + "Transfer-Encoding: chunked\n\n5\nab", 401, 2 * time.Second},
			"with a token":              {head + "Authorization: " + token + "\nContent-Length: 100\n\n{", 400, 70 * time.Second},
			"a malformed chunk":         {head + "Authorization: " + token + "\nTransfer-Encoding: chunked\n\nzz\nab\n", 400, 2 * time.Second},
		} {
			resp, nc, after := begin(t, h, tt.head)
			if resp.StatusCode != tt.status || after > tt.within {
				t.Errorf("%s: %d after %v; want %d within %v", name, resp.StatusCode, after, tt.status, tt.within)
			}
			_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := nc.Read(make([]byte, 1<<16)); err == nil && n == 0 {
				t.Errorf("%s: the connection stays open", name)
			}
			if !resp.Close {
				t.Errorf("%s: the answer says that the connection stays open", name)
			}
			nc.Close()
		}
	})
}

// The deadline of a request's body does not end what is answered later than it.
func TestSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := hub.Open(t.Context(), hub.Options{NoPort: true})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		cs := h.ConnectionString("iothubowner")
		token := sas.Sign(cs.HostName, cs.Key, cs.Policy, time.Now().Add(time.Hour))
		ask := func(line, body string) (*http.Response, time.Duration) {
			resp, nc, after := begin(t, h, fmt.Sprintf("%s?api-version=2021-04-12 HTTP/1.1\nHost: localhost\nAuthorization: %s\nContent-Length: %d\n\n%s",
				line, token, len(body), body))
			nc.Close()
			return resp, after
		}
		if resp, _ := ask("PUT /devices/dev-1", `{"deviceId":"dev-1"}`); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
		resp, after := ask("POST /twins/dev-1/methods", `{"methodName":"m","responseTimeoutInSeconds":90,"connectTimeoutInSeconds":90}`)
		if resp.StatusCode != 404 || after < 89*time.Second {
			t.Errorf("%d after %v; want 404 when the device did not connect in 90 s", resp.StatusCode, after)
		}
	})
}
