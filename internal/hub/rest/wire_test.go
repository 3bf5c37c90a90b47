package rest_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// A path may be encoded as a whole, as Azure IoT Explorer does it; ids keep their percent signs.
func TestEncodedPaths(t *testing.T) {
	b := newBench(t)
	for _, id := range []string{"a#b", "50%", "x%41y", "a+b"} {
		if _, err := b.store.CreateDevice(t.Context(), registry.Identity{DeviceID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		method, path, body string
		want               string // in the answer
	}{
		{"GET", "/twins%2Fdev-1", "", `"deviceId":"dev-1"`},
		{"GET", "/twins%2fdev-1", "", `"deviceId":"dev-1"`},
		{"GET", "/%2Ftwins%2Fdev-1", "", `"deviceId":"dev-1"`},
		{"POST", "/devices%2Fquery", `{"query":"SELECT deviceId FROM devices WHERE deviceId = 'dev-1'"}`, `[{"deviceId":"dev-1"}]`},
		{"GET", "/devices%2Fdev-1%2Fmodules", "", `[]`},
		{"GET", "/devices%2Fdev-1%2Fmodules%2Fm", "", "ModuleNotFound"},
		{"POST", "/twins%2Fdev-1%2Fmethods", `{"methodName":"m","payload":1}`, `{"status":200,"payload":1}`},
		{"GET", "/devices%2Fa%23b", "", `"deviceId":"a#b"`},
		{"GET", "/devices%2F50%25", "", `"deviceId":"50%"`},
		{"GET", "/devices%2Fx%2541y", "", `"deviceId":"x%41y"`},
		{"GET", "/devices/x%2541y", "", `"deviceId":"x%41y"`},
		{"GET", "/devices/a%23b", "", `"deviceId":"a#b"`},
		{"GET", "/devices/a+b", "", `"deviceId":"a+b"`},
		{"GET", "/devices/a%2Bb", "", `"deviceId":"a+b"`},
	} {
		if w := b.do("owner", tt.method, tt.path, tt.body); !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s: %d %s; want %s", tt.method, tt.path, w.Code, w.Body, tt.want)
		}
	}
	// A token for one device does not reach another by the way its path is written.
	token := sas.Sign("localhost/twins/dev-1", b.policies["owner"].Primary, "owner", time.Now().Add(time.Hour))
	for path, want := range map[string]int{"/twins%2Fdev-1": 200, "/twins%2Fdev-2": 401, "/twins/dev-1": 200, "/twins%2Fdev-1%2F..%2Fdev-2": 404} {
		if w := b.do("", "GET", path, "", "Authorization", token); w.Code != want {
			t.Errorf("%s with a token for dev-1: %d; want %d", path, w.Code, want)
		}
	}
}

// The headers that the service was recorded with.
func TestHeaders(t *testing.T) {
	b := newBench(t)
	guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	seen := make(map[string]bool)
	for _, path := range []string{"/twins/dev-1", "/twins/nobody", "/nowhere", "/devices//x", "/devices"} {
		w := b.do("owner", "GET", path, "", "x-ms-client-request-id", "abc", "x-ms-return-client-request-id", "true")
		h := w.Header()
		for name, want := range map[string]string{
			"Server": "Microsoft-HTTPAPI/2.0", "Vary": "Origin", "Content-Type": "application/json; charset=utf-8", "x-ms-client-request-id": "",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("GET %s: %s is %q; want %q", path, name, got, want)
			}
		}
		id := h.Get("x-ms-request-id")
		if !guid.MatchString(id) || seen[id] || h.Get("Content-Length") == "" {
			t.Errorf("GET %s: request id %q, length %q", path, id, h.Get("Content-Length"))
		}
		seen[id] = true
		if w.Code >= 400 && !strings.Contains(w.Body.String(), "Tracking ID:"+strings.ReplaceAll(id, "-", "")) {
			t.Errorf("GET %s: %s does not name request %s", path, w.Body, id)
		}
	}
	if w := b.do("owner", "DELETE", "/devices/dev-2", "", "If-Match", "*"); w.Code != 204 || w.Header().Get("Vary") != "Origin" || w.Header().Get("Content-Type") != "" {
		t.Errorf("DELETE: %d %v", w.Code, w.Header())
	}
}

// An empty etag creates an identity, and matches no twin.
func TestEmptyEtag(t *testing.T) {
	b := newBench(t)
	b.expect(b.do("owner", "PUT", "/devices/new", `{"deviceId":"new"}`, "If-Match", `""`), 200, "")
	b.expect(b.do("owner", "PUT", "/devices/new", `{"deviceId":"new"}`, "If-Match", `""`), 409, "DeviceAlreadyExists")
	b.expect(b.do("owner", "PATCH", "/twins/dev-1", `{"tags":{"a":1}}`, "If-Match", `""`), 412, "PreconditionFailed")
	b.expect(b.do("owner", "PUT", "/twins/dev-1", `{"tags":{"a":1}}`, "If-Match", `W/""`), 412, "PreconditionFailed")
	b.expect(b.do("owner", "PATCH", "/twins/dev-1", `{"tags":{"a":1}}`, "If-Match", `*`), 200, "")
}

// Bearer tokens are let in when the hub was told so; without that, the answer names the switch. A device's own
// token is told what it is.
func TestOtherTokens(t *testing.T) {
	b := newBench(t)
	device := sas.Sign("localhost/devices/dev-1", sas.NewKey(), "", time.Now().Add(time.Hour))
	for token, want := range map[string]string{"Bearer top-secret": bearer.Switch, device: "device's own token"} {
		w := b.do("", "GET", "/twins/dev-1", "", "Authorization", token)
		if w.Code != 401 || !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "top-secret") {
			t.Errorf("%.20s: %d %s; want a word of %q", token, w.Code, w.Body, want)
		}
	}
	var err error
	if b.options.Bearer, err = bearer.Parse(bearer.Any); err != nil {
		t.Fatal(err)
	}
	b.restart()
	b.expect(b.do("", "GET", "/twins/dev-1", "", "Authorization", "Bearer abc"), 200, "")
	b.expect(b.do("", "GET", "/twins/dev-1", "", "Authorization", "Bearer "), 401, "IotHubUnauthorizedAccess")
}

// Twins without arrays are written in every version of the protocol.
func TestOldVersions(t *testing.T) {
	b := newBench(t)
	for version, want := range map[string]int{
		"2016-02-03": 400, "2018-06-30": 400, "2019-10-01": 200, "2020-05-31-preview": 200, "2020-09-30": 200, "2021-04-12": 200, "2024-03-31": 200,
	} {
		b.expect(b.do("owner", "PATCH", "/twins/dev-1?api-version="+version, `{"tags":{"a":{"b":1}}}`), 200, "")
		if w := b.do("owner", "PATCH", "/twins/dev-1?api-version="+version, `{"tags":{"a":{"b":[1]}}}`); w.Code != want {
			t.Errorf("an array in %s: %d %s; want %d", version, w.Code, w.Body, want)
		}
	}
}
