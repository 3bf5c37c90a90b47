package device

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/hub/uploads"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// hub is the devices and uploads of a hub that does as it is told, and writes down what it was asked.
type hub struct {
	did   []string
	batch []events.Message
	next  *devices.Delivery
	err   error // of what is asked for after authentication
}

func (h *hub) note(format string, a ...any) error {
	h.did = append(h.did, fmt.Sprintf(format, a...))
	return h.err
}

func (h *hub) Authenticate(client, token string, _ []*x509.Certificate) (events.Auth, error) {
	switch {
	case client == "unknown":
		return 0, iothub.ErrDeviceNotFound
	case client == "disabled":
		return 0, iothub.ErrDeviceDisabled
	case token != "token of "+client:
		return 0, errors.New("the token is for another resource")
	}
	return events.HubSAS, nil
}

func (h *hub) Active(client string) { _ = h.note("active %s", client) }

func (h *hub) Telemetry(_ context.Context, client string, b devices.Batch) error {
	if b.Size > devices.MaxMessage { // as devices.Table has it
		return devices.TooLarge(int64(b.Size))
	}
	h.batch = b.Messages()
	return h.note("telemetry %s %d %d", client, b.Auth, b.Count)
}

func (h *hub) Receive(client string, lock time.Duration) (devices.Delivery, bool) {
	_ = h.note("receive %s %v", client, lock)
	if h.next == nil {
		return devices.Delivery{}, false
	}
	return *h.next, true
}

func (h *hub) Settle(_ context.Context, client string, token lockqueue.Token, o lockqueue.Outcome) error {
	return h.note("settle %s %s %d", client, token, o)
}

func (h *hub) Begin(_ context.Context, device, name, host string) (uploads.Upload, error) {
	return uploads.Upload{ID: "cid", Host: host, Container: "uploads", Blob: device + "/" + name, Access: "?sv=1"}, h.note("begin %s %s %s", device, name, host)
}

func (h *hub) End(_ context.Context, device, id string, success bool) error {
	return h.note("end %s %s %t", device, id, success)
}

// call asks a Server before a service side that answers 418. Headers are name, value, …; the device's token is there unless they say another.
func call(t *testing.T, h *hub, o Options, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	o.Devices, o.Uploads, o.Queue, o.HostName = h, h, h, "hub.test"
	r := httptest.NewRequestWithContext(t.Context(), method, "https://hub.test"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "token of d")
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	New(o).Before(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })).ServeHTTP(w, r)
	return w.Result()
}

const version = "?api-version=2021-04-12"

func TestRoutes(t *testing.T) {
	const file, lock = `{"blobName":"f.txt"}`, "01234567-89ab-4def-8123-456789abcdef"
	const held = "/devices/d/messages/devicebound/" + lock
	const done = `{"isSuccess":true,"statusCode":200,"statusDescription":"ok"}`
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		code, did          string
	}{
		"send":                       {"POST", "/devices/d/messages/events" + version, "x", nil, 204, "", "telemetry d 4 1"},
		"any case":                   {"POST", "/Devices/d/Messages/Events" + version, "x", nil, 204, "", "telemetry d 4 1"},
		"encoded as a whole":         {"POST", "/devices%2Fd%2Fmessages%2Fevents" + version, "x", nil, 204, "", "telemetry d 4 1"},
		"an empty message":           {"POST", "/devices/d/messages/events" + version, "", nil, 204, "", "telemetry d 4 1"},
		"a module's path":            {"POST", "/devices/d/modules/m/messages/events" + version, "x", []string{"Authorization", "token of d/m"}, 204, "", "telemetry d/m 4 1"},
		"a module's header":          {"POST", "/devices/d/messages/events" + version, "x", []string{"Authorization", "token of d/m", headerModule, "m"}, 204, "", "telemetry d/m 4 1"},
		"a module's long header":     {"POST", "/devices/d/messages/events" + version, "x", []string{"Authorization", "token of d/m", headerModule, "d/m"}, 204, "", "telemetry d/m 4 1"},
		"a module of another":        {"POST", "/devices/d/messages/events" + version, "x", []string{headerModule, "e/m"}, 400, "ArgumentInvalid", ""},
		"two modules":                {"POST", "/devices/d/modules/m/messages/events" + version, "x", []string{headerModule, "n"}, 400, "ArgumentInvalid", ""},
		"a module by its device":     {"POST", "/devices/d/modules/m/messages/events" + version, "x", nil, 401, "IotHubUnauthorizedAccess", ""},
		"a slash in an id":           {"POST", "/devices/d%2Fm/messages/events" + version, "x", nil, 404, "DeviceNotFound", ""},
		"a slash in a module's":      {"POST", "/devices/d/modules/m%2Fn/messages/events" + version, "x", nil, 404, "DeviceNotFound", ""},
		"no token":                   {"POST", "/devices/d/messages/events" + version, "x", []string{"Authorization", ""}, 401, "IotHubUnauthorized", ""},
		"another's token":            {"POST", "/devices/e/messages/events" + version, "x", nil, 401, "IotHubUnauthorizedAccess", ""},
		"unknown":                    {"POST", "/devices/unknown/messages/events" + version, "x", nil, 404, "DeviceNotFound", ""},
		"disabled":                   {"POST", "/devices/disabled/messages/events" + version, "x", nil, 401, "IotHubUnauthorized", ""},
		"no version":                 {"POST", "/devices/d/messages/events", "x", nil, 400, "InvalidProtocolVersion", ""},
		"a bad version":              {"POST", "/devices/d/messages/events?api-version=x", "x", nil, 400, "InvalidProtocolVersion", ""},
		"no token and no version":    {"POST", "/devices/d/messages/events", "x", []string{"Authorization", ""}, 401, "IotHubUnauthorized", ""},
		"receive":                    {"GET", "/devices/d/messages/deviceBound" + version, "", nil, 204, "", "receive d 1m0s"},
		"receive for a time":         {"GET", "/devices/d/messages/devicebound" + version, "", []string{headerLock, "300"}, 204, "", "receive d 5m0s"},
		"receive for too long":       {"GET", "/devices/d/messages/devicebound" + version, "", []string{headerLock, "301"}, 400, "ArgumentInvalid", ""},
		"receive for no time":        {"GET", "/devices/d/messages/devicebound" + version, "", []string{headerLock, "0"}, 400, "ArgumentInvalid", ""},
		"receive for what":           {"GET", "/devices/d/messages/devicebound" + version, "", []string{headerLock, "a"}, 400, "ArgumentInvalid", ""},
		"complete":                   {"DELETE", held + version, "", []string{"If-Match", lock}, 204, "", "settle d " + lock + " 0"},
		"complete with quotes":       {"DELETE", strings.Replace(held, lock, "%22"+lock+"%22", 1) + version, "", nil, 204, "", "settle d " + lock + " 0"},
		"reject":                     {"DELETE", held + version + "&reject", "", nil, 204, "", "settle d " + lock + " 1"},
		"reject with a value":        {"DELETE", held + version + "&reject=true", "", nil, 204, "", "settle d " + lock + " 1"},
		"abandon":                    {"POST", strings.Replace(held, "b", "B", 1) + "/abandon" + version, "", nil, 204, "", "settle d " + lock + " 2"},
		"what is no token":           {"DELETE", "/devices/d/messages/devicebound/t-1" + version, "", nil, 412, "DeviceMessageLockLost", ""},
		"begin an upload":            {"POST", "/devices/d/files" + version, file, nil, 200, "", "begin d f.txt hub.test"},
		"an upload without a name":   {"POST", "/devices/d/files" + version, `{}`, nil, 400, "ArgumentNull", ""},
		"an upload of what":          {"POST", "/devices/d/files" + version, `x`, nil, 400, "DeserializationError", ""},
		"an upload of a module":      {"POST", "/devices/d/files" + version, file, []string{headerModule, "m", "Authorization", "token of d/m"}, 400, "InvalidOperation", ""},
		"a hub on a port":            {"POST", "/devices/d/files" + version, file, []string{"Host", "localhost:8443"}, 200, "", "begin d f.txt localhost:8443"},
		"a hub on the port of HTTPS": {"POST", "/devices/d/files" + version, file, []string{"Host", "hub.test:443"}, 200, "", "begin d f.txt hub.test"},
		"a host name too long":       {"POST", "/devices/d/files" + version, file, []string{"Host", strings.Repeat("x", 300)}, 200, "", "begin d f.txt hub.test"},
		"end it by path":             {"POST", "/devices/d/files/notifications/cid" + version, done, nil, 204, "", "end d cid true"},
		"end it by body":             {"POST", "/devices/d/files/notifications" + version, `{"correlationId":"cid","isSuccess":false,"statusCode":500}`, nil, 204, "", "end d cid false"},
		"end what":                   {"POST", "/devices/d/files/notifications" + version, `{"isSuccess":false}`, nil, 400, "InvalidFileUploadCorrelationId", ""},
		"end how":                    {"POST", "/devices/d/files/notifications/cid" + version, `{}`, nil, 400, "InvalidFileUploadCompletionStatus", ""},
		"the service's send":         {"POST", "/devices/d/messages/deviceBound" + version, "x", nil, 418, "", ""},
		"the service's device":       {"GET", "/devices/d" + version, "", nil, 418, "", ""},
		"the service's modules":      {"GET", "/devices/d/modules" + version, "", nil, 418, "", ""},
		"what is a twin's":           {"GET", "/twins/d/messages/devicebound" + version, "", nil, 418, "", ""},
		"a wrong method":             {"GET", "/devices/d/messages/events" + version, "", nil, 418, "", ""},
		"an empty segment":           {"POST", "/devices//messages/events" + version, "", nil, 418, "", ""},
		"a slash at the end":         {"POST", "/devices/d/messages/events/" + version, "x", nil, 418, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hub{}
			a := call(t, h, Options{}, c.method, c.path, c.body, c.headers...)
			if a.StatusCode != c.status || a.Header.Get("iothub-errorcode") != c.code {
				t.Errorf("%d %s; want %d %s", a.StatusCode, a.Header.Get("iothub-errorcode"), c.status, c.code)
			}
			did := ""
			if len(h.did) > 1 {
				did = h.did[1] // the first is that the device is active
			}
			if did != c.did {
				t.Errorf("%v; want %s", h.did, c.did)
			}
			if c.status != http.StatusTeapot && a.Header.Get("x-ms-request-id") == "" {
				t.Error("the answer has no id")
			}
		})
	}
}

// What the hub refuses reaches the device as its status.
func TestRefusals(t *testing.T) {
	for _, err := range []*iothub.Error{iothub.ErrThrottleBacklogFull, iothub.ErrQuotaExceeded, iothub.ErrMessageLockLost, iothub.ErrTooManyUploads} {
		for _, c := range [][3]string{
			{"POST", "/devices/d/messages/events", "x"},
			{"DELETE", "/devices/d/messages/devicebound/01234567-89ab-4def-8123-456789abcdef", ""},
			{"POST", "/devices/d/files", `{"blobName":"f"}`},
			{"POST", "/devices/d/files/notifications/cid", `{"isSuccess":true}`},
		} {
			a := call(t, &hub{err: err}, Options{}, c[0], c[1]+version, c[2])
			if a.StatusCode != err.Status || a.Header.Get("iothub-errorcode") != err.Name {
				t.Errorf("%s %s: %d %s; want %v", c[0], c[1], a.StatusCode, a.Header.Get("iothub-errorcode"), err)
			}
		}
	}
	// Beginning an upload, and asking for a message, have limits of their own.
	for path, class := range map[string]tier.Class{"POST /devices/d/files": tier.ClassFileUpload, "GET /devices/d/messages/devicebound": tier.ClassC2DReceive} {
		method, path, _ := strings.Cut(path, " ")
		body := ""
		if method == "POST" {
			body = `{"blobName":"f"}`
		}
		h := &hub{}
		a := call(t, h, Options{Admit: func(_ context.Context, asked tier.Class) error {
			if asked != class {
				t.Errorf("%s asks for %s", path, asked)
			}
			return iothub.ErrThrottled
		}}, method, path+version, body)
		if a.StatusCode != 429 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

// A client on this machine that leaves the port away is told it: whoever puts the blob there has the name alone.
func TestHostOfUploads(t *testing.T) {
	for _, c := range []struct{ host, from, local, want string }{
		{"localhost", "127.0.0.1:5", "127.0.0.1:8443", "localhost:8443"},
		{"localhost:9", "127.0.0.1:5", "127.0.0.1:8443", "localhost:9"},
		{"hub.test", "10.1.2.3:5", "10.1.2.4:8443", "hub.test"}, // the port may be mapped
		{"hub.test", "127.0.0.1:5", "127.0.0.1:443", "hub.test"},
		{"hub.test:443", "127.0.0.1:5", "127.0.0.1:443", "hub.test"},
		{"[::1]", "[::1]:5", "[::1]:8443", "[::1]:8443"},
		{"", "127.0.0.1:5", "127.0.0.1:8443", "fallback:8443"},
		{"hub.test", "memory", "memory", "hub.test"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		r.Host, r.RemoteAddr = c.host, c.from
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr(c.local)))
		if got := host(r, "fallback"); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

type addr string

var _ net.Addr = addr("")

func (a addr) Network() string { return "tcp" }
func (a addr) String() string  { return string(a) }

func TestPropertiesOfAMessage(t *testing.T) {
	h := &hub{}
	a := call(t, h, Options{}, "POST", "/devices/d/messages/events"+version, "hello",
		"iothub-to", "/devices/d/messages/events", "IoTHub-MessageId", "m1", "iothub-correlationid", "c1", "iothub-userid", "u1", "iothub-ack", "full",
		"iothub-expiry", "2030-01-02T03:04:05Z", "iothub-contenttype", "application/json", "iothub-contentencoding", "utf-8",
		"iothub-messageschema", "s1", "iothub-creation-time-utc", "2026-01-02T03:04:05Z", "iothub-interface-id", "i1", "dt-subject", "thermostat",
		"iothub-app-Alert", "hot", "iothub-app-b", "\xe4", "iothub-app-$.mid", "no", "iothub-sequencenumber", "7", "x-other", "8")
	if a.StatusCode != 204 {
		t.Fatal(a.Status)
	}
	want := events.Message{
		MessageID: "m1", CorrelationID: "c1", UserID: "u1", To: "/devices/d/messages/events", Ack: "full",
		ContentType: "application/json", ContentEncoding: "utf-8", Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Schema: "s1",
		CreatedText: "2026-01-02T03:04:05Z", InterfaceID: "i1", Component: "thermostat", Payload: []byte("hello"),
		Properties: topics.Bag{{Name: "$.mid", Value: "no", HasValue: true}, {Name: "alert", Value: "hot", HasValue: true}, {Name: "b", Value: "ä", HasValue: true}},
	}
	if !reflect.DeepEqual(h.batch, []events.Message{want}) {
		t.Errorf("%+v\nwant\n%+v", h.batch[0], want)
	}
}

func TestBatches(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	many := func(n int, e string) string { return "[" + strings.TrimSuffix(strings.Repeat(e+",", n), ",") + "]" }
	const half = devices.MaxMessage / 2
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
		want   []string // payload and properties of each
	}{
		"as Node sends it":     {`[{"body": "b25l"},{"body": "AP8=", "properties":{"iothub-app-K":"v","dt-subject":"t"}}]`, 204, "", []string{"one [] ", "\x00\xff [{K v true}] t"}},
		"as Java sends it":     {`[{"body":"b25l","base64Encoded":true,"properties":{"iothub-messageid":"m"}}]`, 204, "", []string{"one [] m"}},
		"as C sends text":      {`[{"body":"one","base64Encoded":false}]`, 204, "", []string{"one [] "}},
		"text of any kind":     {`[{"body":"ü\n\"","base64Encoded":false,"properties":{"n":1.50,"t":true}}]`, 204, "", []string{"ü\n\" [{n 1.50 true} {t true true}] "}},
		"an empty message":     {`[{"body":""}]`, 204, "", []string{" [] "}},
		"the most":             {many(500, `{"body":""}`), 204, "", nil},
		"one more":             {many(501, `{"body":""}`), 400, "ArgumentInvalid", nil},
		"none":                 {`[]`, 400, "ArgumentInvalid", nil},
		"null":                 {`null`, 400, "ArgumentInvalid", nil},
		"nothing":              {``, 400, "DeserializationError", nil},
		"no array":             {`{"body":""}`, 400, "DeserializationError", nil},
		"a broken one":         {`[{"body":""},{"body":]`, 400, "DeserializationError", nil},
		"no base64":            {`[{"body":"one!"}]`, 400, "ArgumentInvalid", nil},
		"no body":              {`[{"body":""},{}]`, 400, "ArgumentInvalid", nil},
		"a body of what":       {`[{"body":{"a":1}}]`, 400, "DeserializationError", nil},
		"a property of what":   {`[{"body":"","properties":{"a":{}}}]`, 400, "ArgumentInvalid", nil},
		"a property of null":   {`[{"body":"","properties":{"a":null}}]`, 400, "ArgumentInvalid", nil},
		"the largest":          {`[{"body":"` + b64(make([]byte, half)) + `"},{"body":"` + b64(make([]byte, half)) + `"}]`, 204, "", nil},
		"a byte more":          {`[{"body":"` + b64(make([]byte, half)) + `"},{"body":"` + b64(make([]byte, half+1)) + `"}]`, 413, "MessageTooLarge", nil},
		"a property too large": {`[{"body":"` + b64(make([]byte, devices.MaxMessage)) + `","properties":{"a":""}}]`, 413, "MessageTooLarge", nil},
		"a body too large":     {`[{"body":"` + strings.Repeat(" ", maxBody) + `"}]`, 413, "MessageTooLarge", nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hub{}
			a := call(t, h, Options{}, "POST", "/devices/d/messages/events"+version, c.body, "Content-Type", batchType+"; charset=utf-8")
			if a.StatusCode != c.status || a.Header.Get("iothub-errorcode") != c.code {
				t.Fatalf("%d %s; want %d %s", a.StatusCode, a.Header.Get("iothub-errorcode"), c.status, c.code)
			}
			if c.status == 204 != (len(h.batch) > 0) {
				t.Errorf("%d messages were taken", len(h.batch))
			}
			for i, want := range c.want {
				m := h.batch[i]
				if got := fmt.Sprintf("%s %v %s", m.Payload, []topics.Property(m.Properties), m.Component+m.MessageID); got != want {
					t.Errorf("message %d is %q; want %q", i+1, got, want)
				}
			}
		})
	}
}

func TestSizesOfMessages(t *testing.T) {
	for _, c := range []struct {
		payload, status int
		headers         []string
	}{
		{devices.MaxMessage, 204, nil},
		{devices.MaxMessage + 1, 413, nil},
		{devices.MaxMessage - 3, 204, []string{"iothub-app-a", "xy"}},
		{devices.MaxMessage - 2, 413, []string{"iothub-app-a", "xy"}},
		{devices.MaxMessage - 1, 413, []string{"iothub-messageid", "xy"}},
		{maxBody, 413, nil},
		{maxBody + 1, 413, nil},
	} {
		a := call(t, &hub{}, Options{}, "POST", "/devices/d/messages/events"+version, strings.Repeat("x", c.payload), c.headers...)
		if a.StatusCode != c.status {
			t.Errorf("%d bytes, %v: %d; want %d", c.payload, c.headers, a.StatusCode, c.status)
		}
	}
}

func TestAMessageForADevice(t *testing.T) {
	h := &hub{next: &devices.Delivery{
		Sequence: 7, Enqueued: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Until: time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC), Deliveries: 2,
		Message: &c2d.Message{
			MessageID: "m1", CorrelationID: "c1", UserID: "u1", Ack: "full", ContentType: "application/json", ContentEncoding: "utf-8",
			Properties: topics.Bag{{Name: "alert", Value: "a\r\nb", HasValue: true}, {Name: "$.x", Value: "1", HasValue: true}}, Payload: []byte("hello"),
		},
	}}
	a := call(t, h, Options{}, "GET", "/devices/d/messages/devicebound"+version, "")
	for name, want := range map[string]string{
		"ETag": `"00000000-0000-0000-0000-000000000000"`, "iothub-sequencenumber": "7", "iothub-enqueuedtime": "2026-01-02T03:04:05Z", "iothub-deliverycount": "2",
		"iothub-to": "/devices/d/messages/deviceBound", "iothub-messageid": "m1", "iothub-correlationid": "c1", "iothub-userid": "u1",
		"iothub-ack": "full", "iothub-contenttype": "application/json", "iothub-contentencoding": "utf-8", "iothub-expiry": "2026-01-02T04:04:05Z",
		"iothub-app-$.x": "", "iothub-app-alert": "a\r\nb", "Content-Length": "5",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q; want %q", name, got, want)
		}
	}
	if a.StatusCode != 200 {
		t.Error(a.Status)
	}
}

func FuzzBatch(f *testing.F) {
	f.Add(`[{"body":"b25l","base64Encoded":true,"properties":{"iothub-app-a":"b"}}]`)
	f.Add(`[{"body":"one","base64Encoded":false,"properties":{"n":1}}]`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, body string) {
		batch, err := readBatch(strings.NewReader(body))
		if err == nil && (len(batch) == 0 || len(batch) > devices.MaxBatch || !json.Valid([]byte(body))) {
			t.Errorf("%d messages of %q", len(batch), body)
		}
		if err != nil && iothub.AsError(err).Status != http.StatusBadRequest {
			t.Errorf("%q: %v", body, err)
		}
	})
}

// A message that names no address is for the module that asks for it, as it is over MQTT and AMQP.
func TestAMessageForAModule(t *testing.T) {
	h := &hub{next: &devices.Delivery{Message: &c2d.Message{Payload: []byte("hello")}}}
	a := call(t, h, Options{}, "GET", "/devices/d/messages/devicebound"+version, "", "Authorization", "token of d/m", headerModule, "m")
	if got, want := a.Header.Get("iothub-to"), "/devices/d/modules/m/messages/deviceBound"; a.StatusCode != 200 || got != want {
		t.Errorf("%d, to %q; want %q", a.StatusCode, got, want)
	}
}
