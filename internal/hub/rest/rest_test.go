package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/jobs"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest"
	"github.com/twinfleet/twinfleet/internal/hub/store"
	"github.com/twinfleet/twinfleet/internal/hub/transfer"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// devices are those that are connected: dev-1 answers methods, and keeps what it is sent.
type devices struct{ sent []c2d.Message }

func (d *devices) InvokeMethod(_ context.Context, id, name string, payload []byte) (int, []byte, error) {
	switch {
	case id != "dev-1":
		return 0, nil, iothub.ErrDeviceNotOnline
	case name == "silent":
		return 0, nil, iothub.ErrMethodTimeout
	case name == "garbage":
		return 200, []byte("no JSON"), nil
	}
	return 200, payload, nil
}

func (d *devices) Send(_ context.Context, _ string, m c2d.Message) error {
	if len(d.sent) == 2 {
		return iothub.ErrMaximumQueueDepth
	}
	d.sent = append(d.sent, m)
	return nil
}

func (d *devices) Purge(string) int {
	n := len(d.sent)
	d.sent = nil
	return n
}

// bench is a service side over a store with dev-1 and dev-2.
type bench struct {
	*testing.T
	server   *rest.Server
	options  rest.Options
	store    *store.Store
	devices  *devices
	policies policy.Set
	admitted []string // class and number of each request
	metered  []int
	shed     error // what Admit answers
}

type patcher struct {
	*store.Store
	*devices
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"dev-1", "dev-2"} {
		if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: id}); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{T: t, store: s, devices: &devices{}, policies: policy.Set{
		"owner": {
			Primary: sas.NewKey(), Secondary: sas.NewKey(),
			Rights: policy.RegistryRead | policy.RegistryWrite | policy.ServiceConnect | policy.DeviceConnect,
		},
		"service":  {Primary: sas.NewKey(), Rights: policy.ServiceConnect},
		"reader":   {Primary: sas.NewKey(), Rights: policy.RegistryRead},
		"registry": {Primary: sas.NewKey(), Rights: policy.RegistryRead | policy.RegistryWrite},
		"device":   {Primary: sas.NewKey(), Rights: policy.DeviceConnect},
	}}
	runner := jobs.New(jobs.Options{Hub: patcher{s, b.devices}, Source: s})
	t.Cleanup(func() {
		runner.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	storage := blobs.New(blobs.Options{})
	moves, err := transfer.New(t.Context(), transfer.Options{Registry: s, Storage: storage})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(moves.Close)
	b.options = rest.Options{
		Transfers: moves, Storage: storage,
		Registry: s, Twins: s, Source: s, Modules: s.Modules(), Devices: b.devices, Jobs: runner, Policies: b.policies,
		Admit: func(_ context.Context, class tier.Class, n int) error {
			b.admitted = append(b.admitted, fmt.Sprint(class, " ", n))
			return b.shed
		},
		Meter: func(n int) { b.metered = append(b.metered, n) },
	}
	b.restart()
	return b
}

// restart makes the service side anew, with the options as they are now.
func (b *bench) restart() { b.server = rest.New(b.options) }

// do speaks as a policy does; headers are pairs of name and value. A path that names no version gets one.
func (b *bench) do(policy, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	b.Helper()
	if !strings.Contains(path, "api-version") {
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		path += separator + "api-version=2021-04-12"
	}
	r := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
	if policy != "" {
		r.Header.Set("Authorization", sas.Sign("localhost", b.policies[policy].Primary, policy, time.Now().Add(time.Hour)))
	}
	if method == "DELETE" {
		r.Header.Set("If-Match", "*")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.server.ServeHTTP(w, r)
	return w
}

// expect checks the status and, for an error, its name in the header.
func (b *bench) expect(w *httptest.ResponseRecorder, status int, name string) {
	b.Helper()
	if w.Code != status || w.Header().Get("iothub-errorcode") != name {
		b.Errorf("%d %s: %s; want %d %s", w.Code, w.Header().Get("iothub-errorcode"), w.Body, status, name)
	}
}

// Each endpoint wants its right (iot-hub-dev-guide-sas).
func TestRights(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		may          string // policies
	}{
		{"PUT", "/devices/dev-1", "owner registry"},
		{"DELETE", "/devices/nobody", "owner registry"},
		{"POST", "/devices", "owner registry"},
		{"GET", "/devices/dev-1", "owner registry reader"},
		{"GET", "/devices", "owner registry reader"},
		{"GET", "/statistics/devices", "owner registry reader"},
		{"GET", "/devices/dev-1/modules", "owner registry reader"},
		{"GET", "/statistics/service", "owner service"},
		{"GET", "/twins/dev-1", "owner service"},
		{"PATCH", "/twins/dev-1", "owner service"},
		{"PUT", "/twins/dev-1", "owner service"},
		{"POST", "/twins/dev-1/methods", "owner service"},
		{"POST", "/devices/query", "owner service"},
		{"POST", "/devices/dev-1/messages/deviceBound", "owner service"},
		{"DELETE", "/devices/dev-1/commands", "owner service"},
		{"PUT", "/jobs/v2/j", "owner service"},
		{"GET", "/jobs/v2/j", "owner service"},
		{"POST", "/jobs/v2/j/cancel", "owner service"},
		{"GET", "/jobs/v2/query", "owner service"},
		{"POST", "/jobs/create", "owner registry"},
		{"GET", "/jobs", "owner registry reader"},
		{"GET", "/jobs/x", "owner registry reader"},
		{"DELETE", "/jobs/x", "owner registry"},
		{"POST", "/devices/keys/regenerate", "owner registry"},
	} {
		b := newBench(t)
		for policy := range b.policies {
			w := b.do(policy, tt.method, tt.path, "{}")
			if may := strings.Contains(" "+tt.may+" ", " "+policy+" "); (w.Code != http.StatusUnauthorized) != may {
				t.Errorf("%s %s as %s: %d; it may: %t", tt.method, tt.path, policy, w.Code, may)
			}
		}
	}
}

// A hub that somebody may arm is armed by its owner alone; no other hub has the endpoint, not even for its owner.
func TestArm(t *testing.T) {
	b, armed := newBench(t), 0
	b.expect(b.do("owner", "POST", iothub.ArmPath, ""), http.StatusNotFound, "GenericNotFound")
	b.options.Arm = func() { armed++ }
	b.restart()
	b.expect(b.do("owner", "GET", iothub.ArmPath, ""), http.StatusNotFound, "GenericNotFound")
	for _, policy := range []string{"", "service", "reader", "registry", "device"} {
		if w := b.do(policy, "POST", iothub.ArmPath, ""); w.Code != http.StatusUnauthorized || armed > 0 {
			t.Errorf("policy %q: %d; armed %d times", policy, w.Code, armed)
		}
	}
	b.expect(b.do("owner", "POST", iothub.ArmPath, ""), http.StatusNoContent, "")
	if armed != 1 {
		t.Errorf("armed %d times by the owner; want once", armed)
	}
}

func TestTokens(t *testing.T) {
	b := newBench(t)
	key := b.policies["owner"]
	hour := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct {
		token string
		want  int
	}{
		"secondary key":     {sas.Sign("localhost", key.Secondary, "owner", hour), 200},
		"for the path":      {sas.Sign("localhost/twins/dev-1", key.Primary, "owner", hour), 200},
		"for another path":  {sas.Sign("localhost/twins/dev-10", key.Primary, "owner", hour), 401},
		"expired":           {sas.Sign("localhost", key.Primary, "owner", time.Now().Add(-time.Minute)), 401},
		"wrong key":         {sas.Sign("localhost", sas.NewKey(), "owner", hour), 401},
		"unknown policy":    {sas.Sign("localhost", key.Primary, "nobody", hour), 401},
		"a device's":        {sas.Sign("localhost/devices/dev-1", key.Primary, "", hour), 401},
		"encoded once more": {sas.Sign("localhost%2ftwins%2fdev-1", key.Primary, "owner", hour), 200},
		"so, another path":  {sas.Sign("localhost%2ftwins%2fdev-10", key.Primary, "owner", hour), 401},
		"none":              {"", 401},
		"a bearer token":    {"Bearer abc", 401},
		"not what it seems": {"SharedAccessSignature sr=&sig=&se=", 401},
	} {
		w := b.do("", "GET", "/twins/dev-1", "", "Authorization", tt.token)
		if w.Code != tt.want {
			t.Errorf("%s: %d %s; want %d", name, w.Code, w.Body, tt.want)
		}
		if strings.Contains(w.Body.String(), "sig=") || strings.Contains(w.Body.String(), key.Primary.Base64()) {
			t.Errorf("%s: the answer gives secrets away: %s", name, w.Body)
		}
	}
}

func TestErrors(t *testing.T) {
	b := newBench(t)
	many, err := json.Marshal(make([]registry.BulkEntry, 101))
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat(`{"a":`, 12) + "1" + strings.Repeat("}", 12)
	for _, tt := range []struct {
		method, path, body string
		status             int
		name               string
	}{
		{"GET", "/devices/nobody", "", 404, "DeviceNotFound"},
		{"GET", "/twins/nobody", "", 404, "DeviceNotFound"},
		{"PUT", "/devices/dev-1", `{"deviceId":"dev-1"}`, 409, "DeviceAlreadyExists"},
		{"PUT", "/devices/dev-9", `{"deviceId":"dev-1"}`, 400, "ArgumentInvalid"},
		{"PUT", "/devices/a%2Fb", `{"deviceId":"a/b"}`, 400, "ArgumentInvalid"},
		{"DELETE", "/devices/dev-1%2Fm", "", 400, "ArgumentInvalid"},
		{"GET", "/devices/dev-1/modules/m%2Fm", "", 400, "ArgumentInvalid"},
		{"PUT", "/devices/dev-9", `{`, 400, "DeserializationError"},
		{"POST", "/devices", string(many), 413, "TooManyDevices"},
		{"POST", "/devices", `[{"id":"x","importMode":"create"},{"id":"x","importMode":"create"}]`, 400, "DeviceDefinedMultipleTimes"},
		{"POST", "/devices", `[{"id":"dev-1","importMode":"create"}]`, 400, "BulkRegistryOperationFailure"},
		{"PATCH", "/twins/dev-1", `[]`, 400, "ArgumentInvalid"},
		{"PATCH", "/twins/dev-1", `{"tags":{"a b":1}}`, 400, "ArgumentInvalid"},
		{"PATCH", "/twins/dev-1", `{"tags":` + deep + `}`, 400, "ArgumentInvalid"},
		{"PATCH", "/twins/dev-1", `{"tags":{"a":"` + strings.Repeat("x", 4097) + `"}}`, 400, "ArgumentInvalid"},
		{"PATCH", "/twins/dev-1", `{"tags":{"a":4503599627370496}}`, 400, "ArgumentInvalid"},
		{"PATCH", "/twins/dev-1", `{"x":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "MessageTooLarge"},
		{"POST", "/devices/query", `{"query":"SELECT * FROM devices ORDER BY deviceId"}`, 400, "ArgumentInvalid"},
		{"POST", "/twins/nobody/methods", `{"methodName":"m"}`, 404, "DeviceNotFound"},
		{"POST", "/twins/dev-2/methods", `{"methodName":"m"}`, 404, "DeviceNotOnline"},
		{"POST", "/twins/dev-1/methods", `{"methodName":"silent"}`, 504, "GatewayTimeout"},
		{"POST", "/twins/dev-1/methods", `{"methodName":"a/b"}`, 400, "ArgumentInvalid"},
		{"POST", "/twins/dev-1/methods", `{"methodName":"m","responseTimeoutInSeconds":0}`, 400, "ArgumentInvalid"},
		{"POST", "/twins/dev-2/methods", `{"methodName":"m","responseTimeoutInSeconds":4}`, 400, "ArgumentInvalid"},
		{"POST", "/twins/dev-2/methods", `{"methodName":"m","responseTimeoutInSeconds":301}`, 400, "ArgumentInvalid"},
		{"POST", "/twins/dev-2/methods", `{"methodName":"m","responseTimeoutInSeconds":300,"connectTimeoutInSeconds":301}`, 400, "ArgumentInvalid"},
		{"POST", "/twins/dev-2/methods", `{"methodName":"m","responseTimeoutInSeconds":5,"connectTimeoutInSeconds":6}`, 400, "ArgumentInvalid"},
		{"POST", "/twins/dev-1/methods", `{"methodName":"m","responseTimeoutInSeconds":"5"}`, 400, "DeserializationError"},
		{"POST", "/twins/dev-1/methods", `{"methodName":"m","payload":"` + strings.Repeat("x", 128<<10) + `"}`, 413, "MessageTooLarge"},
		{"POST", "/devices/dev-1/messages/deviceBound", strings.Repeat("x", 64<<10+1), 413, "MessageTooLarge"},
		{"POST", "/devices/nobody/messages/deviceBound", "x", 404, "DeviceNotFound"},
		{"GET", "/jobs/none", "", 404, "JobNotFound"},
		{"POST", "/jobs/v2/none/cancel", "", 404, "JobNotFound"},
		{"PUT", "/jobs/v2/j", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{"a":1}}}`, 412, "PreconditionFailed"},
		{"PUT", "/jobs/v2/j", `{"type":"scheduleUpdateTwin","updateTwin":{"etag":"*","desired":{"a":1}}}`, 400, "ArgumentInvalid"},
		{"PUT", "/jobs/v2/j", `{"type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{"a":1}},"startTime":"9999-01-01T00:00:00Z"}`, 400, "ArgumentInvalid"},
		{"PUT", "/jobs/v2/j", `{"type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{"a":1}},"startTime":"soon"}`, 400, "DeserializationError"},
		{"PUT", "/jobs/v2/j_2", `{"type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{"a":1}}}`, 400, "ArgumentInvalid"},
		{"PUT", "/jobs/v2/j", `{"type":"scheduleDeviceMethod","cloudToDeviceMethod":{"methodName":"m","responseTimeoutInSeconds":4}}`, 400, "ArgumentInvalid"},
		{"PUT", "/jobs/v2/j", `{"type":"scheduleDeviceMethod"}`, 400, "ArgumentInvalid"},
		{"PUT", "/jobs/v2/j", `{"type":"export"}`, 400, "ArgumentInvalid"},
		{"POST", "/devices/keys/regenerate", `{"policyKey":"tertiary","devices":[{"id":"dev-1"}]}`, 400, "ArgumentInvalid"},
		{"POST", "/devices/keys/regenerate", `{"policyKey":"both"}`, 400, "ArgumentInvalid"},
		{"GET", "/twins/dev-1/modules/m", "", 404, "DeviceNotFound"},
		{"GET", "/devices/dev-1/modules/m", "", 404, "ModuleNotFound"},
		{"GET", "/devices/nobody/modules/m", "", 401, "IotHubUnauthorizedAccess"},
		{"GET", "/nowhere", "", 404, "GenericNotFound"},
		{"PATCH", "/devices/dev-1", "{}", 404, "GenericNotFound"},
		{"PUT", "/devices/.", "{}", 404, "GenericNotFound"},
		{"PUT", "/devices/..", "{}", 404, "GenericNotFound"},
		{"PUT", "/devices/%2e", "{}", 404, "GenericNotFound"},
		{"GET", "/devices//dev-1", "", 404, "GenericNotFound"},
		{"GET", "/twins/dev-1?api-version=", "", 400, "InvalidProtocolVersion"},
		{"GET", "/twins/dev-1?api-version=1.0", "", 400, "InvalidProtocolVersion"},
		{"GET", "/nowhere?api-version=", "", 400, "InvalidProtocolVersion"},
		{"PATCH", "/twins/dev-1?api-version=2018-06-30", `{"tags":{"a":[1]}}`, 400, "ArgumentInvalid"},
		{"PUT", "/twins/dev-1?api-version=2018-06-30", `{"properties":{"desired":{"a":{"b":[1]}}}}`, 400, "ArgumentInvalid"},
		{"PATCH", "/twins/dev-1?api-version=2018-06-30", `[1]`, 400, "ArgumentInvalid"},
	} {
		w := b.do("owner", tt.method, tt.path, tt.body)
		if w.Code != tt.status || w.Header().Get("iothub-errorcode") != tt.name {
			t.Errorf("%s %s %.60s: %d %s %.200s; want %d %s", tt.method, tt.path, tt.body, w.Code, w.Header().Get("iothub-errorcode"), w.Body, tt.status, tt.name)
		}
		if w.Header().Get("Content-Type") != "application/json; charset=utf-8" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: %s %.200s", tt.method, tt.path, w.Header().Get("Content-Type"), w.Body)
		}
	}
}

// A deletion needs a condition; the empty tag in quotes is none.
func TestDeletionNeedsACondition(t *testing.T) {
	b := newBench(t)
	b.expect(b.do("owner", "DELETE", "/devices/dev-1", "", "If-Match", ""), 412, "PreconditionFailed")
	b.expect(b.do("owner", "DELETE", "/devices/dev-1", "", "If-Match", `""`), 412, "PreconditionFailed")
	b.expect(b.do("owner", "DELETE", "/devices/nobody", "", "If-Match", "*"), 404, "DeviceNotFound")
	if w := b.do("owner", "DELETE", "/devices/dev-1", "", "If-Match", "*"); w.Code != 204 {
		t.Errorf("with a condition: %d %s", w.Code, w.Body)
	}
}

// What each request counts for: against its throttle, and against the day. Messages to devices are counted by who queues them.
func TestAdmission(t *testing.T) {
	for _, tt := range []struct {
		method, path, body string
		class              tier.Class
		n                  int
		metered            int // operations
	}{
		{"GET", "/devices/dev-1", "", tier.ClassRegistry, 1, 0},
		{"GET", "/devices", "", tier.ClassRegistry, 1, 0},
		{"PUT", "/devices/dev-9", `{"deviceId":"dev-9"}`, tier.ClassRegistry, 1, 0},
		{"POST", "/devices", `[{"id":"a","importMode":"create"},{"id":"b","importMode":"create"}]`, tier.ClassRegistry, 2, 0},
		{"DELETE", "/devices/dev-2", "", tier.ClassRegistry, 1, 0},
		{"GET", "/twins/dev-1", "", tier.ClassTwinRead, 1, 1},
		{"PATCH", "/twins/dev-1", `{"tags":{"a":1}}`, tier.ClassTwinUpdate, 1, 1},
		{"PUT", "/twins/dev-1", `{"tags":{"a":1}}`, tier.ClassTwinUpdate, 1, 1},
		{"POST", "/devices/query", `{"query":"SELECT * FROM devices"}`, tier.ClassQuery, 1, 1},
		{"POST", "/twins/dev-1/methods", `{"methodName":"m","payload":"1234"}`, tier.ClassMethod, 6, 2},
		{"PUT", "/jobs/v2/j", `{"jobId":"j","type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{}}}`, tier.ClassJob, 1, 0},
	} {
		b := newBench(t)
		b.shed = iothub.ErrThrottled
		b.expect(b.do("owner", tt.method, tt.path, tt.body), 429, "ThrottlingException")
		if want := fmt.Sprint(tt.class, " ", tt.n); len(b.admitted) != 1 || b.admitted[0] != want || len(b.metered) != 0 {
			t.Errorf("%s %s: admitted %q, metered %v; want %q and nothing for what is shed", tt.method, tt.path, b.admitted, b.metered, want)
		}
		b.shed = nil
		if w := b.do("owner", tt.method, tt.path, tt.body); w.Code >= 300 {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
		if len(b.metered) != tt.metered {
			t.Errorf("%s %s: metered %v; want %d operations", tt.method, tt.path, b.metered, tt.metered)
		}
	}
}

func TestMethod(t *testing.T) {
	b := newBench(t)
	w := b.do("service", "POST", "/twins/dev-1/methods", `{"methodName":"echo","payload":{"a":[1,2]}}`)
	if want := `{"status":200,"payload":{"a":[1,2]}}`; w.Body.String() != want {
		t.Errorf("%s; want %s", w.Body, want)
	}
	w = b.do("service", "POST", "/twins/dev-1/methods", `{"methodName":"garbage"}`)
	if want := `{"status":200,"payload":no JSON}`; w.Body.String() != want {
		t.Errorf("an answer that is no JSON: %s; want %s", w.Body, want)
	}
	w = b.do("service", "POST", "/twins/dev-1/methods", `{"methodName":"echo"}`)
	if want := `{"status":200,"payload":null}`; w.Body.String() != want {
		t.Errorf("an answer without payload: %s; want %s", w.Body, want)
	}
	w = b.do("service", "POST", "/twins/dev-1/methods", `{"methodName":"silent","responseTimeoutInSeconds":7}`)
	var outer struct{ Message, ExceptionMessage string }
	var inner struct {
		ErrorCode int
		Message   string
		Info      map[string]string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &outer); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(outer.Message), &inner); err != nil || inner.ErrorCode != 504101 || inner.Info["timeout"] != "00:00:07" {
		t.Errorf("%s: %+v, %v", w.Body, inner, err)
	}
}

func TestMessagesToDevices(t *testing.T) {
	b := newBench(t)
	w := b.do("service", "POST", "/devices/dev-1/messages/deviceBound", "hello",
		"IotHub-MessageId", "m", "IotHub-CorrelationId", "c", "IotHub-App-Color", "red", "IotHub-App-Shape", "a b", "iothub-ack", "full", "iothub-userid", "u",
		"ContentType", "application/json", "ContentEncoding", "utf-8", "IotHub-Expiry", "2030-01-02T03:04:05Z")
	b.expect(w, 204, "")
	want := c2d.Message{
		MessageID: "m", CorrelationID: "c", UserID: "u", Ack: "full", ContentType: "application/json", ContentEncoding: "utf-8",
		Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Payload: []byte("hello"),
		Properties: topics.Bag{{Name: "color", Value: "red", HasValue: true}, {Name: "shape", Value: "a b", HasValue: true}},
	}
	if m := b.devices.sent[0]; !reflect.DeepEqual(m, want) {
		t.Errorf("%+v; want %+v", m, want)
	}
	b.expect(b.do("service", "POST", "/devices/dev-1/messages/deviceBound", "x", "IotHub-Ack", "maybe"), 400, "ArgumentInvalid")
	// Properties count, and so does the topic that they make.
	b.expect(b.do("service", "POST", "/devices/dev-1/messages/deviceBound", "x", "IotHub-App-A", strings.Repeat("x", 64<<10)), 413, "MessageTooLarge")
	b.expect(b.do("service", "POST", "/devices/dev-1/messages/deviceBound", "x", "IotHub-App-A", strings.Repeat("%", 30<<10)), 413, "MessageTooLarge")
	b.expect(b.do("service", "POST", "/devices/dev-1/messages/deviceBound", "x", "IotHub-MessageId", strings.Repeat("x", 64<<10)), 413, "MessageTooLarge")
	b.expect(b.do("service", "POST", "/devices/dev-1/messages/deviceBound", "x", "IotHub-Expiry", "tomorrow"), 400, "ArgumentInvalid")
	b.do("service", "POST", "/devices/dev-1/messages/deviceBound", "x")
	b.expect(b.do("service", "POST", "/devices/dev-1/messages/deviceBound", "x"), 403, "DeviceMaximumQueueDepthExceeded")
	w = b.do("service", "DELETE", "/devices/dev-1/commands", "")
	if want := `{"deviceId":"dev-1","moduleId":null,"totalMessagesPurged":2}`; w.Body.String() != want {
		t.Errorf("purge: %s; want %s", w.Body, want)
	}
}

// Pages: a size out of range counts as the nearest that is in it, no size as the usual.
func TestPages(t *testing.T) {
	b := newBench(t)
	for i := range 1100 {
		if _, err := b.store.CreateDevice(t.Context(), registry.Identity{DeviceID: fmt.Sprint("more-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for size, want := range map[string]int{"": 100, "10": 10, "0": 100, "-1": 100, "x": 100, "5000": 1000} {
		w := b.do("service", "POST", "/devices/query", `{"query":"SELECT deviceId FROM devices"}`, "x-ms-max-item-count", size)
		var rows []json.RawMessage
		if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil || len(rows) != want {
			t.Errorf("size %q: %d rows, %v; want %d", size, len(rows), err, want)
		}
	}
	for top, want := range map[string]int{"": 1000, "3": 3, "0": 1000, "1001": 1000} {
		w := b.do("reader", "GET", "/devices?top="+top, "")
		var all []json.RawMessage
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all) != want {
			t.Errorf("top=%s: %d devices, %v; want %d", top, len(all), err, want)
		}
	}
	w := b.do("service", "POST", "/devices/query", `{"query":"SELECT * FROM devices.jobs"}`)
	if got := w.Header().Get("x-ms-item-type"); got != paging.ItemJob {
		t.Errorf("item type %q; want %q", got, paging.ItemJob)
	}
}

// Lists are arrays, also empty ones.
func TestEmptyLists(t *testing.T) {
	b := newBench(t)
	for path, policy := range map[string]string{"/devices/dev-1/modules": "reader", "/jobs/v2/query": "service", "/jobs": "reader"} {
		if w := b.do(policy, "GET", path, ""); strings.TrimSpace(w.Body.String()) != "[]" {
			t.Errorf("%s: %s; want []", path, w.Body)
		}
	}
}
