package twin

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/section"
)

// mustParse parses a document the test wrote itself.
func mustParse(t testing.TB, text string) jsonvalue.Value {
	t.Helper()
	v, err := jsonparse.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return v
}

// at returns the time of the nth write of a test.
func at(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, n, 123456789, time.UTC) }

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
	tw, _, err := tw.Patch(mustParse(t, `{"location":{"region":"US","plant":"Redmond43"}}`),
		mustParse(t, `{"telemetrySendFrequency":"5m","route":{"on":true}}`), at(3))
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
	v := func(text string) jsonvalue.Value {
		if text == "" {
			return jsonvalue.Value{}
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
		{"null sections", `null`, `null`, false, state{2, 1, 3, 2}, `{}`},
		{"null desired alone", "", `null`, false, state{2, 1, 3, 2}, `{}`},
		{"tags and empty desired", `{"a":1}`, `{}`, false, state{1, 1, 3, 2}, "undefined"},
		{"desired read back", "", `{"$metadata":{"$lastUpdated":"x"},"$version":9,"a":1}`, false, state{2, 1, 3, 2}, `{"a":1}`},
		{"desired read back, empty", "", `{"$metadata":{},"$version":9}`, false, state{1, 1, 2, 1}, "undefined"},
		{"replace desired", "", `{"a":1}`, true, state{2, 1, 3, 2}, `{"a":1}`},
		{"replace by nothing", `{}`, `{}`, true, state{2, 1, 3, 2}, `{}`},
		{"replace no section", "", "null", true, state{2, 1, 3, 2}, `{}`},
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
		"tags a string": func() (*Twin, error) {
			n, _, err := start.Patch(jsonvalue.StringValue("x"), good, at(1))
			return n, err
		},
		"desired a list": func() (*Twin, error) {
			n, _, err := start.Patch(good, jsonvalue.ArrayValue(), at(1))
			return n, err
		},
	} {
		next, err := write()
		var limit *limits.Error
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
		{"x509Thumbprint", `{"PrimaryThumbprint":"AB12","SecondaryThumbprint":null}`},
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

func TestBinaryRoundTrip(t *testing.T) {
	tw := classic(t)
	record := tw.AppendBinary(nil)
	back, rest, err := DecodeBinary(append(record, "rest"...), jsonparse.NewInterner())
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
	if got, _, err := DecodeBinary(New("d").AppendBinary(nil), nil); err != nil || got.Desired != section.New(limits.Desired) {
		t.Errorf("a new twin does not share the empty sections: %v", err)
	}
	for n := range record {
		if _, _, err := DecodeBinary(record[:n], nil); !errors.Is(err, codec.ErrDamaged) {
			t.Fatalf("%d bytes of %d: error %v; want ErrEncoding", n, len(record), err)
		}
	}
}

// FuzzDecodeBinary feeds the decoder of records with anything: it must refuse or give a
// twin that is written as it was read.
func FuzzDecodeBinary(f *testing.F) {
	f.Add(New("d").AppendBinary(nil))
	f.Add(classic(f).AppendBinary(nil))
	f.Add(configuredTwin(f).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		tw, _, err := DecodeBinary(b, nil)
		if err != nil {
			return
		}
		record := tw.AppendBinary(nil)
		second, rest, err := DecodeBinary(record, nil)
		if err != nil || len(rest) != 0 || !bytes.Equal(second.AppendBinary(nil), record) {
			t.Fatalf("%x was written as %x, which is not read back: %v", b, record, err)
		}
	})
}

// benchReport is what a device of the tutorial reports.
const benchReport = `{"connectivity":{"type":"cellular"}}`

func BenchmarkTwinReport(b *testing.B) {
	tw := classic(b)
	patch := mustParse(b, benchReport)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tw.Report(patch, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	tw := classic(b)
	buf := tw.AppendJSON(nil)
	b.Run("service", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			buf = tw.AppendJSON(buf[:0])
		}
	})
	b.Run("device", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = tw.AppendDeviceJSON(buf[:0])
		}
	})
}

func BenchmarkField(b *testing.B) {
	tw := classic(b)
	path := []string{"properties", "reported", "connectivity", "type"}
	b.ReportAllocs()
	for b.Loop() {
		if tw.Field(path...).Str() != "cellular" {
			b.Fatal("another value")
		}
	}
}

// Thumbprints are named as was reported from the service: with a capital once there are any.
func TestThumbprintsOfATwin(t *testing.T) {
	x := New("d")
	if got := string(x.AppendJSON(nil)); !strings.Contains(got, `"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null}`) {
		t.Error(got)
	}
	x.PrimaryThumbprint = "AB"
	if got := string(x.AppendJSON(nil)); !strings.Contains(got, `"x509Thumbprint":{"PrimaryThumbprint":"AB","SecondaryThumbprint":null}`) {
		t.Error(got)
	}
	if got := x.Field("x509Thumbprint", "primaryThumbprint").Str(); got != "AB" {
		t.Errorf("a query finds %q", got)
	}
}
