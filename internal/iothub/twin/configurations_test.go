package twin

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/metadata"
)

// configured is a twin into which two configurations wrote.
func configuredTwin(t testing.TB) *Twin {
	t.Helper()
	tw, _, err := New("dev-1").Patch(jsonvalue.Value{}, mustParse(t, `{"mode":"eco","a":{"old":1}}`), at(1))
	if err != nil {
		t.Fatal(err)
	}
	origins := map[string]*metadata.Origin{
		"a.b": {ID: "first", Digest: "638"}, "a.c": {ID: "second", Digest: "639"}, "list": {ID: "first", Digest: "638"}, "empty": {ID: "first", Digest: "638"},
	}
	list := []Configuration{{"first", Applied}, {"second", Applied}, {"third", Targeted}}
	content := mustParse(t, `{"a":{"b":1,"c":"x"},"list":[1],"empty":{},"gone":null}`)
	next, delta, err := tw.Configure(list, content, func(path []string) *metadata.Origin { return origins[strings.Join(path, ".")] }, at(2))
	if err != nil || delta.String() != content.String() {
		t.Fatalf("Configure: delta %s, %v", delta, err)
	}
	if tw.Desired.Origin("a", "b") != nil || len(tw.Configurations) != 0 {
		t.Fatal("the twin written to has changed")
	}
	return next
}

func TestConfigureStampsLeaves(t *testing.T) {
	tw := configuredTwin(t)
	if tw.Version != 4 || tw.ETag != 3 || tw.Desired.Version() != 3 {
		t.Errorf("version %d, etag %d, $version %d; want 4, 3, 3", tw.Version, tw.ETag, tw.Desired.Version())
	}
	for path, want := range map[string]string{
		"properties.desired.$metadata.a.b.$lastUpdatedBy":        `"first"`,
		"properties.desired.$metadata.a.c.$lastUpdatedBy":        `"second"`,
		"properties.desired.$metadata.a.c.$lastUpdatedByDigest":  `"639"`,
		"properties.desired.$metadata.list.$lastUpdatedBy":       `"first"`,
		"properties.desired.$metadata.empty.$lastUpdatedBy":      `"first"`,
		"properties.desired.$metadata.a.$lastUpdatedBy":          "undefined",
		"properties.desired.$metadata.a.old.$lastUpdatedBy":      "undefined",
		"properties.desired.$metadata.$lastUpdatedBy":            "undefined",
		"properties.desired.$metadata.mode.$lastUpdatedByDigest": "undefined",
		"configurations.first.status":                            `"Applied"`,
		"CONFIGURATIONS.First.Status":                            `"Applied"`,
		"configurations.third":                                   `{"status":"Targeted"}`,
		"configurations.fourth.status":                           "undefined",
		"configurations.third.other":                             "undefined",
		"configurations":                                         `{"first":{"status":"Applied"},"second":{"status":"Applied"},"third":{"status":"Targeted"}}`,
	} {
		if got := tw.Field(strings.Split(path, ".")...).String(); got != want {
			t.Errorf("%s = %s; want %s", path, got, want)
		}
	}
	whole := string(tw.AppendJSON(nil))
	for _, want := range []string{
		`"b":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z","$lastUpdatedVersion":3,"$lastUpdatedBy":"first","$lastUpdatedByDigest":"638"}`,
		`},"configurations":{"first":{"status":"Applied"},"second":{"status":"Applied"},"third":{"status":"Targeted"}},"capabilities":`,
	} {
		if !strings.Contains(whole, want) {
			t.Errorf("no %s in\n%s", want, whole)
		}
	}
	if got := string(New("d").AppendJSON(nil)); strings.Contains(got, "configurations") {
		t.Errorf("a twin without configurations: %s", got)
	}
}

// TestConfigurationsAloneMoveNothing: what is noted is not a write of a service.
func TestConfigurationsAloneMoveNothing(t *testing.T) {
	start := configuredTwin(t)
	next, delta, err := start.Configure([]Configuration{{"third", Applied}}, jsonvalue.Value{}, nil, at(9))
	if err != nil || delta.IsDefined() || next.Version != start.Version || next.ETag != start.ETag || next.Desired != start.Desired {
		t.Errorf("version %d, etag %d, delta %s, %v", next.Version, next.ETag, delta, err)
	}
	if same, _, _ := next.Configure([]Configuration{{"third", Applied}}, jsonvalue.Value{}, nil, at(9)); same != next {
		t.Error("the same list made another twin")
	}
	big := mustParse(t, `{"a.b":1}`)
	if got, _, err := start.Configure(nil, big, func([]string) *metadata.Origin { return nil }, at(9)); err == nil || got != nil {
		t.Errorf("content that breaks a limit: %v, %v", got, err)
	}
}

// TestAServiceTakesALeafOver: what a service writes itself is no configuration's any more.
func TestAServiceTakesALeafOver(t *testing.T) {
	tw, _, err := configuredTwin(t).Patch(jsonvalue.Value{}, mustParse(t, `{"a":{"b":2}}`), at(3))
	if err != nil || tw.Desired.Origin("a", "b") != nil || tw.Desired.Origin("a", "c") == nil {
		t.Errorf("b by %v, c by %v, %v", tw.Desired.Origin("a", "b"), tw.Desired.Origin("a", "c"), err)
	}
	if tw.Desired.Origin("a", "b", "c", "d") != nil || tw.Desired.Origin("none") != nil {
		t.Error("an origin of nothing")
	}
}

func TestConfigurationsOnDisk(t *testing.T) {
	tw := configuredTwin(t)
	record := tw.AppendBinary(nil)
	back, rest, err := DecodeBinary(append(record, "rest"...), jsonparse.NewInterner())
	if err != nil || string(rest) != "rest" {
		t.Fatalf("DecodeBinary: %v, rest %q", err, rest)
	}
	if got, want := string(back.AppendJSON(nil)), string(tw.AppendJSON(nil)); got != want {
		t.Errorf("decoded\n%s\nwant\n%s", got, want)
	}
	for n := range record {
		if _, _, err := DecodeBinary(record[:n], nil); err == nil {
			t.Fatalf("%d bytes of %d were taken", n, len(record))
		}
	}
}
