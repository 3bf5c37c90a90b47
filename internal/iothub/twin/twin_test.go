package twin

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a JSON text, spread over lines, with a file of testdata.
func golden(t *testing.T, name string, text []byte) {
	t.Helper()
	var spread strings.Builder
	var doc json.RawMessage = text
	e := json.NewEncoder(&spread)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		t.Fatalf("%s is no JSON: %v", text, err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(spread.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if spread.String() != string(want) {
		t.Errorf("%s differs; got\n%s", path, spread.String())
	}
}

// classic is the twin of the device-twin tutorial, with every member set.
func classic(t testing.TB) *Twin {
	t.Helper()
	tw := New("dev-1")
	tw.DeviceETag, tw.StatusReason, tw.StatusUpdated, tw.LastActivity = "NzQxMTYyNTA3", "late", at(1), at(2)
	tw.Connected, tw.C2DCount, tw.ModelID, tw.IoTEdge, tw.PrimaryThumbprint = true, 3, "dtmi:x;1", true, "AB12"
	tw, _, err := tw.Patch(mustParse(t, `{"location":{"region":"US","plant":"Redmond43"}}`), mustParse(t, `{"telemetrySendFrequency":"5m","route":{"on":true}}`), at(3))
	if err != nil {
		t.Fatal(err)
	}
	if tw, err = tw.Report(mustParse(t, `{"connectivity":{"type":"cellular"}}`), at(4)); err != nil {
		t.Fatal(err)
	}
	return tw
}

func TestViews(t *testing.T) {
	fresh := New("dev-1")
	fresh.DeviceETag = "NzQxMTYyNTA3"
	golden(t, "fresh.json", fresh.AppendJSON(nil))
	golden(t, "classic.json", classic(t).AppendJSON(nil))
	module := New("dev-1")
	module.ModuleID = "m"
	golden(t, "module.json", module.AppendJSON(nil))
	want := `{"desired":{"telemetrySendFrequency":"5m","route":{"on":true},"$version":2},"reported":{"connectivity":{"type":"cellular"},"$version":2}}`
	if got := string(classic(t).AppendDeviceJSON(nil)); got != want {
		t.Errorf("device view\n%s\nwant\n%s", got, want)
	}
	if got, want := string(New("d").AppendDeviceJSON(nil)), `{"desired":{"$version":1},"reported":{"$version":1}}`; got != want {
		t.Errorf("device view of a new twin %s; want %s", got, want)
	}
}

// TestVersions is the table of what moves at which write.
func TestVersions(t *testing.T) {
	type state struct {
		desired, reported, version int64
		etag                       uint64
	}
	read := func(t *Twin) state {
		return state{t.Desired.Version(), t.Reported.Version(), t.Version, t.ETag}
	}
	v := func(text string) Value {
		if text == "" {
			return Value{}
		}
		return mustParse(t, text)
	}
	start := New("d")
	if got, want := read(start), (state{1, 1, 2, 1}); got != want {
		t.Errorf("new twin %+v; want %+v", got, want)
	}
	tests := []struct {
		name          string
		tags, desired string
		replace       bool
		want          state
		delta         string
	}{
		{"desired", "", `{"a":1}`, false, state{2, 1, 3, 2}, `{"a":1}`},
		{"tags", `{"a":1}`, "", false, state{1, 1, 3, 2}, "undefined"},
		{"both", `{"a":1}`, `{"a":null}`, false, state{2, 1, 3, 2}, `{"a":null}`},
		{"nothing", "", "", false, state{1, 1, 2, 1}, "undefined"},
		{"empty sections", `{}`, `{}`, false, state{1, 1, 2, 1}, "undefined"},
		{"null sections", `null`, `null`, false, state{1, 1, 2, 1}, "undefined"},
		{"tags and empty desired", `{"a":1}`, `{}`, false, state{1, 1, 3, 2}, "undefined"},
		{"desired read back", "", `{"$metadata":{"$lastUpdated":"x"},"$version":9,"a":1}`, false, state{2, 1, 3, 2}, `{"a":1}`},
		{"desired read back, empty", "", `{"$metadata":{},"$version":9}`, false, state{1, 1, 2, 1}, "undefined"},
		{"replace desired", "", `{"a":1}`, true, state{2, 1, 3, 2}, `{"a":1}`},
		{"replace by nothing", `{}`, `{}`, true, state{2, 1, 3, 2}, `{}`},
		{"replace no section", "", "null", true, state{1, 1, 2, 1}, "undefined"},
	}
	for _, tt := range tests {
		write := start.Patch
		if tt.replace {
			write = start.Replace
		}
		next, delta, err := write(v(tt.tags), v(tt.desired), at(1))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := read(next); got != tt.want || delta.String() != tt.delta {
			t.Errorf("%s: %+v, delta %s; want %+v, %s", tt.name, got, delta, tt.want, tt.delta)
		}
	}
	reported, err := start.Report(v(`{}`), at(1))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := read(reported), (state{1, 2, 3, 1}); got != want {
		t.Errorf("report: %+v; want %+v", got, want)
	}
	if got, want := read(start), (state{1, 1, 2, 1}); got != want {
		t.Errorf("the twin written to has changed: %+v", got)
	}
}

func TestRefusedWritesHaveNoResult(t *testing.T) {
	start := New("d")
	bad, good := mustParse(t, `{"a.b":1}`), mustParse(t, `{"a":1}`)
	for name, write := range map[string]func() (*Twin, error){
		"patch tags":      func() (*Twin, error) { n, _, err := start.Patch(bad, good, at(1)); return n, err },
		"patch desired":   func() (*Twin, error) { n, _, err := start.Patch(good, bad, at(1)); return n, err },
		"replace tags":    func() (*Twin, error) { n, _, err := start.Replace(bad, good, at(1)); return n, err },
		"replace desired": func() (*Twin, error) { n, _, err := start.Replace(good, bad, at(1)); return n, err },
		"report":          func() (*Twin, error) { return start.Report(bad, at(1)) },
		"tags a string":   func() (*Twin, error) { n, _, err := start.Patch(StringValue("x"), good, at(1)); return n, err },
		"desired a list":  func() (*Twin, error) { n, _, err := start.Patch(good, ArrayValue(), at(1)); return n, err },
	} {
		next, err := write()
		var limit *LimitError
		if next != nil || !errors.As(err, &limit) {
			t.Errorf("%s: %v, error %v; want a LimitError alone", name, next, err)
		}
	}
}

func TestAppendDelta(t *testing.T) {
	for delta, want := range map[string]string{
		`{"a":"5m","b":null}`: `{"a":"5m","b":null,"$version":8}`,
		`{}`:                  `{"$version":8}`,
	} {
		if got := string(AppendDelta(nil, mustParse(t, delta), 8)); got != want {
			t.Errorf("AppendDelta(%s) = %s; want %s", delta, got, want)
		}
	}
}

func TestETag(t *testing.T) {
	for n, want := range map[uint64]string{1: "AAAAAAAAAAE=", 5: "AAAAAAAAAAU=", 1<<64 - 1: "//////////8="} {
		if got := ETagString(n); got != want {
			t.Errorf("ETagString(%d) = %s; want %s", n, got, want)
		}
		if got, err := ParseETag(want); got != n || err != nil {
			t.Errorf("ParseETag(%s) = %d, %v; want %d", want, got, err, n)
		}
	}
	for _, s := range []string{"", "*", "AAAA", "AAAAAAAAAAE", "AAAAAAAAAAF=", `"AAAAAAAAAAE="`} {
		if n, err := ParseETag(s); !errors.Is(err, ErrETag) {
			t.Errorf("ParseETag(%s) = %d, %v; want ErrETag", s, n, err)
		}
	}
}

func TestField(t *testing.T) {
	tw := classic(t)
	tests := []struct{ path, want string }{
		{"deviceId", `"dev-1"`},
		{"DEVICEID", `"dev-1"`},
		{"deviceId.x", "undefined"},
		{"moduleId", "undefined"},
		{"etag", `"AAAAAAAAAAI="`},
		{"deviceEtag", `"NzQxMTYyNTA3"`},
		{"status", `"enabled"`},
		{"statusReason", `"late"`},
		{"statusUpdateTime", `"2026-01-01T00:00:01.1234567Z"`},
		{"ConnectionState", `"Connected"`},
		{"lastActivityTime", `"2026-01-01T00:00:02.1234567Z"`},
		{"cloudToDeviceMessageCount", `3`},
		{"authenticationType", `"sas"`},
		{"modelId", `"dtmi:x;1"`},
		{"version", `4`},
		{"x509Thumbprint", `{"primaryThumbprint":"AB12","secondaryThumbprint":null}`},
		{"x509thumbprint.PrimaryThumbprint", `"AB12"`},
		{"x509Thumbprint.secondaryThumbprint", "null"},
		{"x509Thumbprint.x", "undefined"},
		{"capabilities.IOTEDGE", `true`},
		{"capabilities", `{"iotEdge":true}`},
		{"tags", `{"location":{"region":"US","plant":"Redmond43"}}`},
		{"Tags.location.plant", `"Redmond43"`},
		{"tags.Location", "undefined"},
		{"tags.$version", "undefined"},
		{"tags.$metadata", "undefined"},
		{"Properties.Reported.connectivity.type", `"cellular"`},
		{"properties.reported.Connectivity", "undefined"},
		{"properties.reported.$version", `2`},
		{"properties.desired.$version", `2`},
		{"properties.reported", `{"connectivity":{"type":"cellular"},"$metadata":{"$lastUpdated":"2026-01-01T00:00:04.1234567Z",` +
			`"connectivity":{"$lastUpdated":"2026-01-01T00:00:04.1234567Z","type":{"$lastUpdated":"2026-01-01T00:00:04.1234567Z"}}},"$version":2}`},
		{"properties.reported.$metadata.connectivity.$lastUpdated", `"2026-01-01T00:00:04.1234567Z"`},
		{"properties.reported.$metadata.connectivity.type", `{"$lastUpdated":"2026-01-01T00:00:04.1234567Z"}`},
		{"properties.reported.$metadata.connectivity.type.x", "undefined"},
		{"properties.reported.$metadata.connectivity.$lastUpdatedVersion", "undefined"},
		{"properties.desired.$metadata.route.$lastUpdatedVersion", `2`},
		{"properties.desired.route.on", `true`},
		{"properties.other", "undefined"},
		{"nothing", "undefined"},
		{"location.plant", "undefined"},
		{"aNameThatIsLongerThanEveryOther", "undefined"},
	}
	for _, tt := range tests {
		if got := tw.Field(strings.Split(tt.path, ".")...).String(); got != tt.want {
			t.Errorf("Field(%s) = %s; want %s", tt.path, got, tt.want)
		}
	}
	if got := tw.Field(); got.IsDefined() {
		t.Errorf("Field() = %s", got)
	}
	whole := tw.Field("properties")
	if got := whole.Path("desired", "$version").Num(); got != 2 || whole.Len() != 2 {
		t.Errorf("Field(properties) = %s", whole)
	}
}

func TestCanonicalPath(t *testing.T) {
	for path, want := range map[string]string{
		"DEVICEID": "deviceId", "Tags.Location.Plant": "tags.Location.Plant", "PROPERTIES.REPORTED.Version": "properties.reported.Version",
		"capabilities.IoTEdge": "capabilities.iotEdge", "X509THUMBPRINT.primarythumbprint": "x509Thumbprint.primaryThumbprint",
		"Unknown.STATUS": "Unknown.STATUS", "properties.Other": "properties.Other",
	} {
		if got := strings.Join(CanonicalPath(strings.Split(path, ".")), "."); got != want {
			t.Errorf("CanonicalPath(%s) = %s; want %s", path, got, want)
		}
	}
}

func TestBinaryRoundTrip(t *testing.T) {
	tw := classic(t)
	record := tw.AppendBinary(nil)
	back, rest, err := DecodeBinary(append(record, "rest"...), NewInterner())
	if err != nil || string(rest) != "rest" {
		t.Fatalf("DecodeBinary: %v, rest %q", err, rest)
	}
	if back.Connected {
		t.Error("a device is connected after a restart")
	}
	back.Connected = true
	if got, want := string(back.AppendJSON(nil)), string(tw.AppendJSON(nil)); got != want {
		t.Errorf("decoded\n%s\nwant\n%s", got, want)
	}
	if got, _, err := DecodeBinary(New("d").AppendBinary(nil), nil); err != nil || got.Desired != NewSection(Desired) {
		t.Errorf("a new twin does not share the empty sections: %v", err)
	}
	for n := range record {
		if _, _, err := DecodeBinary(record[:n], nil); !errors.Is(err, ErrEncoding) {
			t.Fatalf("%d bytes of %d: error %v; want ErrEncoding", n, len(record), err)
		}
	}
}

func TestDecodeService(t *testing.T) {
	tw := classic(t)
	got, err := DecodeService(tw.AppendJSON(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got.DeviceID != "dev-1" || got.ETag != "AAAAAAAAAAI=" || got.DeviceETag != "NzQxMTYyNTA3" || got.Version != 4 || !got.Connected ||
		got.C2DCount != 3 || got.ModelID != "dtmi:x;1" || !got.IoTEdge || got.StatusReason != "late" || got.AuthType != "sas" {
		t.Errorf("decoded %+v", got)
	}
	if !got.StatusUpdated.Equal(at(1).Truncate(tick)) || !got.LastActivity.Equal(at(2).Truncate(tick)) {
		t.Errorf("times %v, %v", got.StatusUpdated, got.LastActivity)
	}
	if !got.Tags.Equal(tw.Tags.Value()) || !got.Desired.Value.Equal(tw.Desired.Value()) || !got.Reported.Value.Equal(tw.Reported.Value()) ||
		got.Desired.Version != 2 || got.Reported.Version != 2 {
		t.Errorf("sections %s, %+v, %+v", got.Tags, got.Desired, got.Reported)
	}
	if when, ok := got.Reported.LastUpdated("connectivity", "type"); !ok || !when.Equal(at(4).Truncate(tick)) {
		t.Errorf("LastUpdated(connectivity.type) = %v, %v", when, ok)
	}
	if _, ok := got.Reported.LastUpdated("nothing"); ok {
		t.Error("LastUpdated of nothing")
	}
	old, err := DecodeService([]byte(`{"deviceId":"d","lastActivityTime":"0001-01-01T00:00:00","statusUpdateTime":"2024-02-29T10:00:00.5"}`))
	if err != nil || !old.LastActivity.IsZero() || !old.StatusUpdated.Equal(time.Date(2024, 2, 29, 10, 0, 0, 5e8, time.UTC)) {
		t.Errorf("times without zone: %+v, %v", old, err)
	}
	for _, text := range []string{``, `[]`, `{"lastActivityTime":"yesterday"}`} {
		if _, err := DecodeService([]byte(text)); err == nil {
			t.Errorf("DecodeService(%s) gave no error", text)
		}
	}
}

func TestHasArray(t *testing.T) {
	for text, want := range map[string]bool{`{"a":{"b":[]}}`: true, `[]`: true, `{"a":{"b":1}}`: false, `"x"`: false} {
		if got := mustParse(t, text).HasArray(); got != want {
			t.Errorf("HasArray(%s) = %v", text, got)
		}
	}
}
