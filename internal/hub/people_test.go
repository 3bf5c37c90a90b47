package hub_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	dpsfaults "github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// reader asks a hub's page as somebody with or without its token.
type reader struct {
	t     *testing.T
	h     *hub.Hub
	token string
}

func pageOf(t *testing.T, h *hub.Hub) (anybody, owner reader) {
	t.Helper()
	_, token, ok := strings.Cut(h.PageURL(), "/#token=")
	if !ok {
		t.Fatalf("the page is at %q", h.PageURL())
	}
	return reader{t, h, ""}, reader{t, h, token}
}

func (r reader) request(method, path, body string, headers ...string) *http.Request {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.h.Addr()+"/page/"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("X-Twinfleet-Page", "1")
	if r.token != "" {
		q.Header.Set("Authorization", "Bearer "+r.token)
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	return q
}

func (r reader) ask(method, path, body string, headers ...string) answer {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r.request(method, path, body, headers...))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (r reader) must(method, path, body string, headers ...string) answer {
	r.t.Helper()
	a := r.ask(method, path, body, headers...)
	if a.status >= 300 {
		r.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// versioned names the version of the service side's API.
func versioned(path string) string { return path + "?api-version=2021-04-12" }

// keyOf is a device's key.
func keyOf(t *testing.T, h *hub.Hub, id string) sas.Key {
	t.Helper()
	var i registry.Identity
	if err := json.Unmarshal([]byte(must(t, h, "GET", versioned("/devices/"+url.PathEscape(id)), "").body), &i); err != nil {
		t.Fatal(err)
	}
	return i.Authentication.SymmetricKey.Primary
}

// Without the token one sees devices, twins, modules, queries and numbers, and no key; nothing can be done.
func TestPageForAnybody(t *testing.T) {
	h, _ := open(t, hub.Options{Page: true})
	anybody, owner := pageOf(t, h)
	must(t, h, "PUT", versioned("/devices/dev-1"), `{"deviceId":"dev-1"}`)
	must(t, h, "PUT", versioned("/devices/dev-1/modules/mod"), `{"deviceId":"dev-1","moduleId":"mod"}`)
	must(t, h, "PATCH", versioned("/twins/dev-1"), `{"tags":{"plant":"Redmond43"}}`)
	must(t, h, "PATCH", versioned("/twins/dev-1/modules/mod"), `{"properties":{"desired":{"x":1}}}`)
	key := keyOf(t, h, "dev-1")

	list := anybody.must("GET", "api/devices?top=10", "")
	if list.member("more") != false || !strings.Contains(list.body, `"id":"dev-1","status":"enabled","connected":false`) || strings.Contains(list.body, "mod") {
		t.Errorf("the list is %s", list.body)
	}
	device := anybody.must("GET", "api/device?modules=1&id=dev-1", "")
	if device.member("twin", "tags", "plant") != "Redmond43" || !strings.Contains(device.body, `"modules":["mod"]`) {
		t.Errorf("the device is %s", device.body)
	}
	module := anybody.must("GET", "api/device?id=dev-1/mod", "")
	if module.member("twin", "properties", "desired", "x") != 1.0 || module.member("twin", "moduleId") != "mod" {
		t.Errorf("the module is %s", module.body)
	}
	if got := anybody.must("POST", "api/query", `{"query":"SELECT * FROM devices WHERE tags.plant = 'Redmond43'"}`); !strings.Contains(got.body, `"deviceId":"dev-1"`) {
		t.Errorf("a query answers %s", got.body)
	}
	bad := anybody.ask("POST", "api/query", `{"query":"SELECT * FROM devices\nWHERE 'ü' = 'ü' LIMIT 3"}`)
	if bad.status != 400 || bad.member("line") != 2.0 || bad.member("column") != 17.0 || bad.member("offset") != 38.0 || !strings.Contains(bad.body, "TOP") {
		t.Errorf("a mistake answers %d %s", bad.status, bad.body)
	}
	if got := anybody.ask("GET", "api/device?id=none", ""); got.status != 404 {
		t.Errorf("a device that is not there: %d %s", got.status, got.body)
	}
	shown := []answer{list, device, module, anybody.must("GET", "api/numbers", ""), anybody.must("GET", "api/connect?id=dev-1", ""), anybody.must("GET", "api/states?id=dev-1", "")}
	owned := h.ConnectionString("iothubowner").Key.Base64()
	for _, a := range shown {
		if strings.Contains(a.body, key.Base64()) || strings.Contains(a.body, owned) || strings.Contains(a.body, "sig=") || strings.Contains(a.body, owner.token) {
			t.Errorf("a secret is in %s", a.body)
		}
	}
	before := must(t, h, "GET", versioned("/twins/dev-1"), "").body
	for _, token := range []string{"", "x", owner.token + "x", owner.token[1:]} {
		r := reader{t, h, token}
		for _, call := range [][2]string{
			{"GET", "api/token"},
			{"GET", "api/connection?id=dev-1"},
			{"POST", "api/fault"},
			{"GET", "do/devices/dev-1"},
			{"DELETE", "do/devices/dev-1"},
			{"PATCH", "do/twins/dev-1"},
			{"POST", "do/twins/dev-1/methods"},
			{"POST", "do/devices/dev-1/messages/deviceBound"},
			{"PUT", "do/devices/dev-2"},
		} {
			if got := r.ask(call[0], call[1], `{"kind":"drop","share":1,"tags":{"plant":null},"deviceId":"dev-2"}`); got.status != 401 {
				t.Errorf("with %.4q, %s %s answers %d", token, call[0], call[1], got.status)
			}
		}
	}
	if after := must(t, h, "GET", versioned("/twins/dev-1"), "").body; after != before {
		t.Errorf("the twin changed to %s", after)
	}
	if s := h.Faults().State(); s.DropAcks != 0 {
		t.Error("a fault is switched on")
	}
}

// With the token one makes, edits, calls, sends, disables and deletes, and the hub's own rules hold for it.
func TestPageForTheOwner(t *testing.T) {
	h, _ := open(t, hub.Options{Page: true})
	_, owner := pageOf(t, h)
	const id = "dev'1=(x)"
	path := url.PathEscape(id)
	if n := owner.must("GET", "api/numbers", "").member("may"); n != true {
		t.Errorf("may is %v", n)
	}
	owner.must("PUT", "do/devices/"+path, `{"deviceId":"dev'1=(x)","status":"enabled"}`)
	if got := owner.ask("PUT", "do/devices/"+path, `{"deviceId":"dev'1=(x)"}`); got.status != 409 {
		t.Errorf("a second creation answers %d %s", got.status, got.body)
	}
	owner.must("PATCH", "do/twins/"+path, `{"tags":{"plant":"Redmond43"},"properties":{"desired":{"interval":5}}}`, "If-Match", "*")
	if got := must(t, h, "GET", versioned("/twins/"+path), ""); got.member("properties", "desired", "interval") != 5.0 {
		t.Errorf("the twin is %s", got.body)
	}
	if got := owner.ask("PATCH", "do/twins/"+path, `{"tags":`); got.status != 400 {
		t.Errorf("half a document answers %d", got.status)
	}
	text, _ := owner.must("GET", "api/connection?id="+url.QueryEscape(id), "").member("connection").(string)
	key := keyOf(t, h, id)
	if !strings.Contains(text, "DeviceId="+id) || !strings.HasSuffix(text, "SharedAccessKey="+key.Base64()) {
		t.Errorf("the connection string is %q", text)
	}
	w := dial(t, h)
	if _, code := w.Connect(wiretest.Login(id, key)); code != mqtt.Accepted {
		t.Fatalf("CONNACK %d", code)
	}
	w.Subscribe(1, "$iothub/methods/POST/#", "devices/"+id+"/messages/devicebound/#")
	owner.must("POST", "do/devices/"+path+"/messages/deviceBound", "hello")
	if f := w.Expect(mqtt.PUBLISH); string(f.Payload) != "hello" {
		t.Errorf("the message is %s", f.Payload)
	}
	called := make(chan answer, 1)
	go func() {
		called <- owner.ask("POST", "do/twins/"+path+"/methods", `{"methodName":"reboot","payload":{"in":3},"responseTimeoutInSeconds":10}`)
	}()
	f := w.Expect(mqtt.PUBLISH)
	_, rid, _ := strings.Cut(f.Topic, "$rid=")
	w.Publish(0, "$iothub/methods/res/207/?$rid="+rid, `{"ok":true}`)
	if got := <-called; got.status != 200 || got.member("status") != 207.0 || got.member("payload", "ok") != true {
		t.Errorf("the method answers %d %s", got.status, got.body)
	}
	session := owner.must("GET", "api/device?id="+url.QueryEscape(id), "")
	if session.member("session", "connected") != true || !strings.Contains(session.body, "direct methods") {
		t.Errorf("the session is %s", session.body)
	}
	doc := owner.must("GET", "do/devices/"+path, "")
	owner.must("PUT", "do/devices/"+path, strings.Replace(doc.body, `"status":"enabled"`, `"status":"disabled"`, 1), "If-Match", "*")
	w.Closed("the device is disabled")
	if got := keyOf(t, h, id); got != key {
		t.Error("disabling changed the key")
	}
	owner.must("DELETE", "do/devices/"+path, "", "If-Match", "*")
	if got := owner.ask("GET", "api/device?id="+url.QueryEscape(id), ""); got.status != 404 {
		t.Errorf("the deleted device answers %d", got.status)
	}
	for _, other := range []string{"do/jobs/v2/j", "do/devices/query", "do/devices", "do/../devices/d", "do/%2e%2e/devices", "do/devices%2Fd"} {
		if got := owner.ask("POST", other, `{}`); got.status < 400 {
			t.Errorf("%s answers %d %s", other, got.status, got.body)
		}
	}
}

func TestPageFaults(t *testing.T) {
	h, _ := open(t, hub.Options{Page: true, DPS: &dps.Options{}})
	_, owner := pageOf(t, h)
	must(t, h, "PUT", versioned("/devices/d"), `{"deviceId":"d"}`)
	w := online(t, h, "d", keyOf(t, h, "d"))
	owner.must("POST", "api/fault", `{"kind":"drop","share":0.25}`)
	owner.must("POST", "api/fault", `{"kind":"refuse","seconds":60}`)
	owner.must("POST", "api/fault", `{"kind":"stall","seconds":60}`)
	owner.must("POST", "api/fault", `{"kind":"slow","servers":2,"time":5}`)
	n := owner.must("GET", "api/numbers", "") // the page answers while the hub stalls
	if n.member("connected") != 1.0 || n.member("sessions", "kept") != 1.0 || n.member("sessions", "away") != 0.0 {
		t.Errorf("the sessions are %s", n.body)
	}
	refuse, _ := n.member("faults", "refuse").(float64)
	stall, _ := n.member("faults", "stall").(float64)
	if refuse <= 50 || stall <= 50 || n.member("faults", "dropAcks") != 0.25 || n.member("faults", "slow") != true {
		t.Errorf("the faults are %s", n.body)
	}
	for _, off := range []string{`{"kind":"drop"}`, `{"kind":"refuse"}`, `{"kind":"stall"}`, `{"kind":"slow"}`} {
		owner.must("POST", "api/fault", off)
	}
	if s := h.Faults().State(); s.Refuse != 0 || s.Stall != 0 || s.DropAcks != 0 || s.Slow {
		t.Errorf("after all are off: %+v", s)
	}
	owner.must("POST", "api/fault", `{"kind":"dps","dps":{"throttle":0.5,"slow":3}}`)
	if n := owner.must("GET", "api/numbers", ""); n.member("dps", "faults", "throttle") != 0.5 || n.member("dps", "faults", "slow") != 3.0 || n.member("dps", "scope") != h.DPS().IDScope() {
		t.Errorf("the provisioning service is %s", n.body)
	}
	owner.must("POST", "api/fault", `{"kind":"dps"}`)
	if f := h.DPS().Faults().Now(); f != (dpsfaults.Faults{}) {
		t.Errorf("after all are off: %+v", f)
	}
	owner.must("POST", "api/fault", `{"kind":"restart","seconds":0}`)
	w.Closed("the hub restarted")
	online(t, h, "d", keyOf(t, h, "d"))
}

// Who looks at the traffic sees what goes on, of one device or of all, with no key in it; when the last has gone it costs nothing.
func TestPageTraffic(t *testing.T) {
	h, _ := open(t, hub.Options{Page: true})
	anybody, _ := pageOf(t, h)
	must(t, h, "PUT", versioned("/devices/d"), `{"deviceId":"d"}`)
	must(t, h, "PUT", versioned("/devices/e"), `{"deviceId":"e"}`)
	key := keyOf(t, h, "d")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	watch := func(path string) (next func() string, end func()) {
		resp, err := client.Do(anybody.request("GET", path, ""))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		if !lines.Scan() || lines.Text() != ": looking" || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("the stream begins with %q", lines.Text())
		}
		return func() string {
			for lines.Scan() {
				if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					return text
				}
			}
			t.Fatal("the stream ended")
			return ""
		}, func() { resp.Body.Close() }
	}
	next, end := watch("api/traffic?id=d")
	w := online(t, h, "d", key)
	w.Subscribe(0, "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#")
	w.Twin()
	w.Publish(0, "$iothub/twin/PATCH/properties/reported/?$rid=1", "{\"a\":\"<b>\u202e\"}")
	w.Expect(mqtt.PUBLISH)
	w.Publish(1, "devices/d/messages/events/", "21 degrees")
	w.Expect(mqtt.PUBACK)
	must(t, h, "PATCH", versioned("/twins/d"), `{"properties":{"desired":{"x":1}}}`)
	must(t, h, "GET", versioned("/twins/e"), "")
	call(t, h, "POST", versioned("/twins/d/methods"), `{"methodName":"reboot","payload":7}`)
	must(t, h, "POST", versioned("/devices/d/messages/deviceBound"), "come home")
	w.Send(mqtt.AppendEmpty(nil, mqtt.DISCONNECT))

	type event struct {
		Kind, ID, Text, Body string
		Status               int
	}
	var seen []event
	want := []string{"connect", "twin-read", "report", "telemetry", "desired", "request", "method", "message", "disconnect"}
	all := func() bool {
		return !slices.ContainsFunc(want, func(kind string) bool {
			return !slices.ContainsFunc(seen, func(e event) bool { return e.Kind == kind })
		})
	}
	for stop := time.Now().Add(wiretest.Patience); !all(); {
		if time.Now().After(stop) {
			t.Fatalf("seen: %+v", seen)
		}
		text := next()
		if strings.Contains(text, key.Base64()) || strings.Contains(text, "sig=") {
			t.Errorf("a secret is in %s", text)
		}
		var batch struct {
			Events []event
			Counts map[string]int
		}
		if err := json.Unmarshal([]byte(text), &batch); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, batch.Events...)
	}
	for _, e := range []event{
		{"report", "d", "", "{\"a\":\"<b>\u202e\"}", 200},
		{"telemetry", "d", "", "21 degrees", 200},
		{"desired", "d", "", `{"x":1,"$version":2}`, 200},
		{"request", "d", "PATCH /twins/d", "", 200},
		{"message", "d", "", "come home", 200},
	} {
		if !slices.Contains(seen, e) {
			t.Errorf("%+v is not among %+v", e, seen)
		}
	}
	for _, e := range seen {
		if e.ID != "d" {
			t.Errorf("an event of another device: %+v", e)
		}
		if e.Kind == "method" && (e.Status != 404 || !strings.HasPrefix(e.Text, "reboot ") || e.Body != "7") {
			t.Errorf("the method is %+v", e)
		}
	}
	end()
	eventually(t, "publishing is free again", func() bool { return !h.Watched() })
}

// Without the page its paths are the service side's, which knows none of them.
func TestNoPage(t *testing.T) {
	h, _ := open(t, hub.Options{})
	if h.PageURL() != "" {
		t.Errorf("a page at %s", h.PageURL())
	}
	for _, path := range []string{"/", "/page/api/numbers", "/page/hub.js"} {
		if got := call(t, h, "GET", versioned(path), ""); got.status < 400 {
			t.Errorf("%s answers %d", path, got.status)
		}
	}
}

// A device finds MQTT over WebSocket at the root, where people find the page: also while somebody looks.
func TestPageAndWebSocketShareTheRoot(t *testing.T) {
	h, _ := open(t, hub.Options{Page: true, DPS: &dps.Options{}})
	anybody, _ := pageOf(t, h)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	looking, err := client.Do(anybody.request("GET", "api/traffic", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer looking.Body.Close()
	eventually(t, "somebody looks", h.Watched)
	for _, headers := range [][]string{nil, {"Upgrade", "websocket"}} {
		r := anybody.request("GET", "", "")
		r.URL.Path = "/"
		want := http.StatusOK
		if headers != nil {
			want = http.StatusSwitchingProtocols
			for name, value := range map[string]string{
				"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt",
			} {
				r.Header.Set(name, value)
			}
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("with %v the root answers %d", headers, resp.StatusCode)
		}
	}
}

// A query of modules answers modules on the page too.
func TestPageQueriesModules(t *testing.T) {
	t.Parallel()
	h, c := open(t, hub.Options{Page: true})
	newDevice(t, c, "dev-1")
	newModule(t, h, "dev-1", "m1")
	anybody, _ := pageOf(t, h)
	a := anybody.must("POST", "api/query", `{"query":"SELECT deviceId, moduleId FROM devices.modules"}`)
	if !strings.Contains(a.body, `"items":[{"deviceId":"dev-1","moduleId":"m1"}]`) {
		t.Error(a.body)
	}
}
