package iothub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI="

func key(t testing.TB) Key {
	t.Helper()
	k, err := ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// However a secret is printed, it does not show.
func TestSecretsDoNotPrint(t *testing.T) {
	k := key(t)
	service := ServiceConnectionString{"hub", "owner", k}
	device := DeviceConnectionString{HostName: "hub", DeviceID: "d", Key: k}
	token := NewSAS("hub/devices/d", k, "", time.Unix(2e9, 0))
	sas, err := ParseSAS(token)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "key", k, "service", service, "device", device, "sas", sas)
	all := logged.String() + fmt.Sprint(k, service, device, sas) + fmt.Sprintf("%v %+v %#v %s %q %x %d", k, k, k, k, k, k, k) + fmt.Sprintf("%s %s %s", service, device, sas)
	signature := token[strings.Index(token, "sig=")+4 : strings.Index(token, "&se=")]
	for _, s := range []string{secret, k.raw, fmt.Sprintf("%x", k.raw), signature} {
		if strings.Contains(all, s) {
			t.Errorf("%q shows in %q", s, all)
		}
	}
	if !strings.Contains(service.Reveal(), secret) || !strings.Contains(device.Reveal(), secret) {
		t.Error("Reveal hides the key")
	}
}

func TestConnectionStrings(t *testing.T) {
	for _, tt := range []struct{ text, problem string }{
		{"HostName=h;SharedAccessKeyName=o;SharedAccessKey=" + secret, ""},
		{"hostname=h:8883 ; sharedaccesskeyname=o;SHAREDACCESSKEY=" + secret + ";", ""},
		{"", "it is empty"},
		{"HostName=h;SharedAccessKey=" + secret, "SharedAccessKeyName=… is missing"},
		{"SharedAccessKeyName=o;SharedAccessKey=" + secret, "HostName=… is missing"},
		{"HostName=h;SharedAccessKeyName=o;SharedAccessKey=!", "not base64"},
		{"HostName=h;SharedAccessKeyName=o;SharedAccessKey=" + secret + ";HostName=g", "repeats"},
		{"HostName=https://h;SharedAccessKeyName=o;SharedAccessKey=" + secret, "without a scheme"},
		{"HostName=h;DeviceId=d;SharedAccessKey=" + secret, "it is a device's"},
		{"nonsense", "no equals sign"},
	} {
		c, err := ParseServiceConnectionString(tt.text)
		if tt.problem == "" {
			if err != nil || c.Policy != "o" || c.Key != key(t) {
				t.Errorf("%q: %v, %v", tt.text, c, err)
			}
			continue
		}
		if !errors.Is(err, ErrConnectionString) || !strings.Contains(err.Error(), tt.problem) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v; want %s", tt.text, err, tt.problem)
		}
	}
	for _, text := range []string{
		"HostName=h:1;DeviceId=d;SharedAccessKey=" + secret, "HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=" + secret,
		"HostName=h;DeviceId=d;GatewayHostName=g;x509=true",
	} {
		c, err := ParseDeviceConnectionString(text)
		if err != nil || c.Reveal() != text {
			t.Errorf("%q reads back as %q, %v", text, c.Reveal(), err)
		}
	}
}

func FuzzConnectionString(f *testing.F) {
	f.Add("HostName=h;SharedAccessKeyName=o;SharedAccessKey=" + secret)
	f.Add("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=" + secret)
	f.Add(";;=;a=b=c;")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ParseServiceConnectionString(s); err == nil {
			again, err := ParseServiceConnectionString(c.Reveal())
			if err != nil || again != c {
				t.Errorf("%q does not read back: %v", s, err)
			}
		} else if strings.Contains(err.Error(), "SharedAccessKey=") && !strings.Contains(err.Error(), "SharedAccessKey=…") {
			t.Errorf("the error holds a key: %v", err)
		}
		if c, err := ParseDeviceConnectionString(s); err == nil {
			again, err := ParseDeviceConnectionString(c.Reveal())
			if err != nil || again != c {
				t.Errorf("%q does not read back: %v", s, err)
			}
		}
	})
}

func TestSAS(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	k, other := key(t), NewKey()
	token := NewSAS("hub/devices/dev-1", k, "policy", now.Add(time.Hour))
	s, err := ParseSAS(token)
	if err != nil || s.Resource != "hub/devices/dev-1" || s.Policy != "policy" || !s.Expiry.Equal(now.Add(time.Hour)) {
		t.Fatalf("%v, %v", s, err)
	}
	for _, tt := range []struct {
		at   time.Time
		keys []Key
		want error
	}{
		{now, []Key{k}, nil},
		{now, []Key{other, k}, nil},
		{now, []Key{other}, ErrSASSignature},
		{now, []Key{{}}, ErrSASSignature},
		{now, nil, ErrSASSignature},
		{now.Add(time.Hour), []Key{k}, ErrSASExpired},
	} {
		if err := s.Verify(tt.at, tt.keys...); !errors.Is(err, tt.want) {
			t.Errorf("Verify at %v with %d keys = %v; want %v", tt.at, len(tt.keys), err, tt.want)
		}
	}
}

// Clients write sr in different ways; the signature is over the text as written.
func TestSASOfOtherClients(t *testing.T) {
	k, now := key(t), time.Unix(1_700_000_000, 0)
	for _, sr := range []string{"localhost", "localhost%3A18883%2Fdevices%2Fdev-1", "localhost%3a18883%2fdevices%2fdev-1", "localhost/devices/dev-1"} {
		sig := base64Of(k.Sign(sr + "\n1700003600"))
		for _, token := range []string{
			"SharedAccessSignature sr=" + sr + "&sig=" + sig + "&se=1700003600",
			"SharedAccessSignature se=1700003600&sig=" + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(sig) + "&sr=" + sr + "&skn=",
		} {
			s, err := ParseSAS(token)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(now, k); err != nil {
				t.Errorf("%s: %v", token, err)
			}
			if !s.Covers("localhost:1/devices/dev-1") || s.Covers("other/devices/dev-1") {
				t.Errorf("%s covers the wrong things", token)
			}
		}
	}
	for _, bad := range []string{"", "SharedAccessSignature", "SharedAccessSignature sr=a", "SharedAccessSignature sr=a&sig=b&se=x", "SharedAccessSignature sr=a&sr=b&sig=YQ==&se=1", "Bearer x"} {
		if _, err := ParseSAS(bad); !errors.Is(err, ErrSAS) {
			t.Errorf("ParseSAS(%q) = %v; want ErrSAS", bad, err)
		}
	}
}

func base64Of(b []byte) string { return Key{string(b)}.Base64() }

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		token, resource string
		want            bool
	}{
		{"h", "h/devices/x", true},
		{"h/devices/x", "h/devices/x", true},
		{"H/devices/x", "h/devices/x", true},
		{"h:1/devices/x", "h/devices/x", true},
		{"h/devices/x", "h/devices/xy", false},
		{"h/devices/x", "h/devices/X", false},
		{"h/devices", "h/devices/x", true},
		{"h/twins", "h/devices/x", false},
		{"h/devices/x/modules/m", "h/devices/x", false},
	} {
		if got := (SAS{Resource: tt.token}).Covers(tt.resource); got != tt.want {
			t.Errorf("%s covers %s = %v; want %v", tt.token, tt.resource, got, tt.want)
		}
	}
}

func TestUsernames(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Username
	}{
		{"localhost:18883/dev-1/?api-version=2021-04-12&DeviceClientType=a%20b", Username{Host: "localhost:18883", DeviceID: "dev-1", APIVersion: "2021-04-12", Query: "api-version=2021-04-12&DeviceClientType=a%20b"}},
		{"h/dev-1/api-version=2016-11-14", Username{Host: "h", DeviceID: "dev-1", APIVersion: "2016-11-14", Query: "api-version=2016-11-14"}},
		{"h/dev-1", Username{Host: "h", DeviceID: "dev-1"}},
		{"h/dev-1/mod/?api-version=2020-09-30", Username{Host: "h", DeviceID: "dev-1", ModuleID: "mod", APIVersion: "2020-09-30", Query: "api-version=2020-09-30"}},
		{"h/dev-1/mod", Username{Host: "h", DeviceID: "dev-1", ModuleID: "mod"}},
	} {
		got, err := ParseUsername(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("ParseUsername(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "h", "h/", "/d"} {
		if _, err := ParseUsername(bad); !errors.Is(err, ErrUsername) {
			t.Errorf("ParseUsername(%q) = %v; want ErrUsername", bad, err)
		}
	}
	if (Username{APIVersion: "2018-06-30"}).AllowsArrays() || !(Username{APIVersion: "2019-10-01"}).AllowsArrays() || !(Username{}).AllowsArrays() {
		t.Error("arrays are allowed from 2019-10-01 on")
	}
}

func TestTopics(t *testing.T) {
	for _, tt := range []struct {
		topic string
		want  Topic
	}{
		{"$iothub/twin/GET/?$rid=1", Topic{Kind: TopicTwinGet, RequestID: "1"}},
		{"$iothub/twin/PATCH/properties/reported/?$rid=a-b&$version=7", Topic{Kind: TopicTwinReport, RequestID: "a-b", Version: 7, HasVersion: true}},
		{"$iothub/twin/res/204/?$rid=1&$version=5", Topic{Kind: TopicTwinResponse, Status: 204, RequestID: "1", Version: 5, HasVersion: true}},
		{"$iothub/twin/PATCH/properties/desired/?$version=9", Topic{Kind: TopicDesired, Version: 9, HasVersion: true}},
		{"$iothub/methods/POST/reboot/?$rid=f", Topic{Kind: TopicMethodRequest, Method: "reboot", RequestID: "f"}},
		{"$iothub/methods/res/200/?$rid=f", Topic{Kind: TopicMethodResponse, Status: 200, RequestID: "f"}},
		{"devices/d/messages/events/", Topic{Kind: TopicTelemetry, DeviceID: "d"}},
		{"devices/d/messages/events/%24.mid=1&a=b", Topic{Kind: TopicTelemetry, DeviceID: "d", Properties: "%24.mid=1&a=b"}},
		{"devices/d/modules/m/messages/events/", Topic{Kind: TopicTelemetry, DeviceID: "d", ModuleID: "m"}},
		{"devices/d/messages/devicebound/%24.to=x", Topic{Kind: TopicC2D, DeviceID: "d", Properties: "%24.to=x"}},
	} {
		got, err := ParseTopic(tt.topic)
		if err != nil || got != tt.want {
			t.Errorf("ParseTopic(%q) = %+v, %v; want %+v", tt.topic, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "a", "$iothub/twin/res/x/?$rid=1", "$iothub/twin/res/200", "$iothub/methods/POST//?$rid=1", "devices//messages/events/", "devices/d/messages/events2", "$iothub/twin/GET/x", "$iothub/twin/PATCH/properties/reported/?$version=x"} {
		if got, err := ParseTopic(bad); !errors.Is(err, ErrTopic) {
			t.Errorf("ParseTopic(%q) = %+v, %v; want ErrTopic", bad, got, err)
		}
	}
}

func TestTopicsAreReadWithoutAllocating(t *testing.T) {
	topics := []string{TwinGetTopic("1f"), ReportVersionTopic("1f", 12), ReportAcceptedTopic("1f", 12), DesiredTopic(12), MethodRequestTopic("m", "1"), MethodResponseTopic(200, "1")}
	if n := testing.AllocsPerRun(100, func() {
		for _, topic := range topics {
			if _, err := ParseTopic(topic); err != nil {
				t.Fatal(err)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is built reads back.
func TestTopicRoundTrip(t *testing.T) {
	word := rapid.StringMatching(`[A-Za-z0-9_.-]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		rid, device := word.Draw(t, "rid"), word.Draw(t, "device")
		version, status := rapid.Int64Range(0, 1<<50).Draw(t, "version"), rapid.IntRange(0, 999).Draw(t, "status")
		var bag PropertyBag
		for i := range rapid.IntRange(0, 4).Draw(t, "properties") {
			bag = append(bag, Property{fmt.Sprint(rapid.String().Draw(t, "name"), i), rapid.String().Draw(t, "value"), true})
		}
		for topic, want := range map[string]Topic{
			TwinGetTopic(rid): {Kind: TopicTwinGet, RequestID: rid}, ReportTopic(rid): {Kind: TopicTwinReport, RequestID: rid},
			ReportVersionTopic(rid, version):  {Kind: TopicTwinReport, RequestID: rid, Version: version, HasVersion: true},
			TwinResponseTopic(status, rid):    {Kind: TopicTwinResponse, RequestID: rid, Status: status},
			ReportAcceptedTopic(rid, version): {Kind: TopicTwinResponse, RequestID: rid, Status: 204, Version: version, HasVersion: true},
			DesiredTopic(version):             {Kind: TopicDesired, Version: version, HasVersion: true},
			MethodRequestTopic(device, rid):   {Kind: TopicMethodRequest, Method: device, RequestID: rid},
			MethodResponseTopic(status, rid):  {Kind: TopicMethodResponse, RequestID: rid, Status: status},
			TelemetryTopic(device, bag):       {Kind: TopicTelemetry, DeviceID: device, Properties: bag.Encode()},
			C2DTopic(device, bag):             {Kind: TopicC2D, DeviceID: device, Properties: bag.Encode()},
		} {
			if got, err := ParseTopic(topic); err != nil || got != want {
				t.Fatalf("ParseTopic(%q) = %+v, %v; want %+v", topic, got, err, want)
			}
		}
		if again, err := ParseProperties(bag.Encode()); err != nil || !reflect.DeepEqual(again, bag) {
			t.Fatalf("properties %v read back as %v, %v", bag, again, err)
		}
	})
}

func FuzzParseTopic(f *testing.F) {
	for _, topic := range []string{TwinGetTopic("1"), ReportVersionTopic("1", 2), TwinResponseTopic(200, "1"), DesiredTopic(3), MethodRequestTopic("m", "1"), "devices/d/modules/m/messages/events/a=b", "devices/d/messages/devicebound/%24.to=%2F"} {
		f.Add(topic)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		got, err := ParseTopic(topic)
		if err != nil {
			return
		}
		if got.Kind == TopicUnknown || got.Status < 0 || got.Version < 0 {
			t.Errorf("ParseTopic(%q) = %+v", topic, got)
		}
		if _, err := ParseProperties(got.Properties); err != nil && !errors.Is(err, ErrTopic) {
			t.Errorf("ParseProperties: %v", err)
		}
	})
}

// An error that is written in any of the encodings is read back as the same error.
func TestErrorBodies(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	seen := make(map[int]string)
	for _, e := range knownErrors() {
		if other, twice := seen[e.Code]; twice {
			t.Errorf("%s and %s share code %d", e.Name, other, e.Code)
		}
		seen[e.Code] = e.Name
		header := http.Header{"Iothub-Errorcode": {e.Name}, "Retry-After": {"7"}}
		for name, body := range map[string][]byte{"text": e.RESTBody("t-1", now), "nested": e.MethodBody("t-1", now), "mqtt": e.MQTTBody("t-1", now)} {
			got := ParseError(e.Status, header, body)
			if !errors.Is(got, e) || got.Message != e.Message || got.TrackingID != "t-1" || got.RetryAfter != 7*time.Second {
				t.Errorf("%s as %s reads back as %+v", e.Name, name, got)
			}
		}
	}
	got := string(ErrDeviceNotFound.With("E2E-dev-1").RESTBody("66b8", now))
	if want := `{"Message":"ErrorCode:DeviceNotFound;E2E-dev-1","ExceptionMessage":"Tracking ID:66b8-TimeStamp:01/02/2026 03:04:05"}`; got != want {
		t.Errorf("body = %s; want %s", got, want)
	}
	got = string(ErrArgumentInvalid.With("no").MQTTBody("66b8", now))
	if want := `{"errorCode":400004,"trackingId":"66b8","message":"no","timestampUtc":"2026-01-02T03:04:05.0000000Z"}`; got != want {
		t.Errorf("body = %s; want %s", got, want)
	}
	if e := ParseError(502, nil, []byte("<html>")); e.Status != 502 || e.Name != "BadGateway" {
		t.Errorf("a body that is no JSON = %+v", e)
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
		`"2021-05-12T08:48:08.7205939Z"`: `"2021-05-12T08:48:08.7205939Z"`, `"2021-05-12T08:48:08Z"`: `"2021-05-12T08:48:08.0000000Z"`,
		`"0001-01-01T00:00:00"`: `"0001-01-01T00:00:00Z"`, `"2021-05-12T10:48:08+02:00"`: `"2021-05-12T08:48:08.0000000Z"`, `""`: `"0001-01-01T00:00:00Z"`,
	} {
		var got Time
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if b, _ := json.Marshal(got); string(b) != want {
			t.Errorf("%s reads back as %s; want %s", text, b, want)
		}
	}
}

func TestDeviceIDs(t *testing.T) {
	for id, ok := range map[string]bool{"a": true, "A-b.c+d%e_f#g*h?i!j(k)l,m=n@o$p'q:r;s": true, strings.Repeat("x", 128): true, "": false, strings.Repeat("x", 129): false, "a/b": false, "a b": false, "ä": false} {
		if err := ValidDeviceID(id); (err == nil) != ok {
			t.Errorf("ValidDeviceID(%q) = %v; want ok %v", id, err, ok)
		}
	}
}

func BenchmarkParseTopic(b *testing.B) {
	topic := ReportAcceptedTopic("1f", 12)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseTopic(topic); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifySAS(b *testing.B) {
	k := key(b)
	token := NewSAS("hub/devices/dev-1", k, "", time.Unix(2e9, 0))
	b.ReportAllocs()
	for b.Loop() {
		s, err := ParseSAS(token)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Verify(time.Unix(1e9, 0), k); err != nil {
			b.Fatal(err)
		}
	}
}
