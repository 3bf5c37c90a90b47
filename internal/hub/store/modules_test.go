package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

func createModule(t *testing.T, s *Store, device, module string) registry.Identity {
	t.Helper()
	out, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: device, ModuleID: module})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCreatedTwinsAreAsRecorded: the versions and stamps of twins just made, which differ by what was made and how
// (recorded from the service).
func TestCreatedTwinsAreAsRecorded(t *testing.T) {
	c := newClock()
	s := open(t, Options{Now: c.now})
	made := `"2026-01-02T03:04:05.0000006Z"`
	const never = `"0001-01-01T00:00:00Z"`
	create(t, s, "d")
	createModule(t, s, "d", "m")
	if result, err := bulk(t, s, `[
		{"id":"b","importMode":"create"},
		{"id":"c","importMode":"create","properties":{"desired":{"x":1}},"tags":{"t":1}},
		{"id":"d","moduleId":"n","importMode":"create","properties":{"desired":{"x":1}}}]`); err != nil || !result.IsSuccessful {
		t.Fatalf("%+v, %v", result, err)
	}
	plain := func(at string) string { return `{"$metadata":{"$lastUpdated":` + at + `},"$version":1}` }
	for key, want := range map[string]struct{ desired, reported string }{
		"d":   {plain(made), plain(made)},
		"d/m": {plain(never), plain(never)},
		"b":   {plain(made), plain(made)},
		"c":   {`{"x":1,"$metadata":{"$lastUpdated":` + never + `,"$lastUpdatedVersion":1,"x":{"$lastUpdated":` + never + `,"$lastUpdatedVersion":1}},"$version":1}`, plain(made)},
		"d/n": {`{"x":1,"$metadata":{"$lastUpdated":` + made + `,"$lastUpdatedVersion":1,"x":{"$lastUpdated":` + made + `,"$lastUpdatedVersion":1}},"$version":1}`, `{"$metadata":{"$lastUpdated":` + made + `,"$lastUpdatedVersion":1},"$version":1}`},
	} {
		tw, err := s.Twin(key)
		if err != nil {
			t.Fatal(err)
		}
		// Each identity made has a tick of its own.
		tick := strings.NewReplacer(".0000007Z", ".0000006Z", ".0000008Z", ".0000006Z", ".0000009Z", ".0000006Z", ".000001Z", ".0000006Z")
		desired, reported := tick.Replace(string(tw.Desired.AppendJSON(nil, true, true))), tick.Replace(string(tw.Reported.AppendJSON(nil, true, true)))
		if desired != want.desired || reported != want.reported || tw.Version != 2 || tw.ETag != 1 {
			t.Errorf("%s: version %d, etag %d, desired\n%s\nreported\n%s\nwant\n%s\n%s", key, tw.Version, tw.ETag, desired, reported, want.desired, want.reported)
		}
	}
}

// TestModulesGoWithTheirDevice: deleting and disabling a device reaches its modules, in memory and on disk.
func TestModulesGoWithTheirDevice(t *testing.T) {
	var gone []string
	opts := Options{DataDir: t.TempDir(), OnGone: func(key string, reason GoneReason) { gone = append(gone, key+" "+reason.String()) }}
	s := open(t, opts)
	create(t, s, "d")
	create(t, s, "other")
	createModule(t, s, "d", "m")
	createModule(t, s, "other", "m")
	if _, err := s.UpdateDevice(t.Context(), registry.Identity{DeviceID: "d", Status: "disabled"}, "*"); err != nil {
		t.Fatal(err)
	}
	if creds, err := s.Credentials("d/m"); err != nil || creds.Enabled {
		t.Errorf("a module of a disabled device: %+v, %v", creds, err)
	}
	if creds, err := s.Credentials("other/m"); err != nil || !creds.Enabled {
		t.Errorf("a module of an enabled device: %+v, %v", creds, err)
	}
	if err := s.DeleteDevice(t.Context(), "d", "*"); err != nil {
		t.Fatal(err)
	}
	want := []string{"d disabled", "d/m disabled", "d deleted", "d/m deleted"}
	if !slices.Equal(gone, want) {
		t.Errorf("told %v; want %v", gone, want)
	}
	for range 2 {
		if _, err := s.Credentials("d/m"); !errors.Is(err, iothub.ErrModuleNotFound) {
			t.Errorf("credentials of a module that went with its device: %v", err)
		}
		if _, err := s.Twin("d/m"); !errors.Is(err, iothub.ErrDeviceNotFound) {
			t.Errorf("twin of a module that went with its device: %v", err)
		}
		if list, err := s.DeviceModules("other"); err != nil || len(list) != 1 || s.Modules().Len() != 1 || s.Len() != 1 {
			t.Errorf("what is left: %d modules of other, %v; queries see %d devices and %d modules", len(list), err, s.Len(), s.Modules().Len())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, opts)
	}
}

// TestGatewaysHaveTheirRuntime: a gateway has its scope, and the modules of its runtime, which clients can neither make nor
// delete one by one.
func TestGatewaysHaveTheirRuntime(t *testing.T) {
	s := open(t, Options{})
	edge, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "gw", Capabilities: registry.Capabilities{IoTEdge: true}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "ms-azure-iot-edge://gw-" + edge.GenerationID; edge.Scope != want {
		t.Errorf("scope %q; want %q", edge.Scope, want)
	}
	list, err := s.DeviceModules("gw")
	if err != nil || len(list) != 2 || list[0].ModuleID != "$edgeAgent" || list[1].ModuleID != "$edgeHub" {
		t.Errorf("modules %+v, %v", list, err)
	}
	if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "gw", ModuleID: "$mine"}); !errors.Is(err, iothub.ErrArgumentInvalid) {
		t.Errorf("a module id with $: %v", err)
	}
	if err := s.DeleteDevice(t.Context(), "gw/$edgeAgent", "*"); !errors.Is(err, iothub.ErrArgumentInvalid) {
		t.Errorf("deleting a module of the runtime: %v", err)
	}
	if _, err := s.UpdateDevice(t.Context(), registry.Identity{DeviceID: "gw", Capabilities: registry.Capabilities{IoTEdge: true}}, "*"); !errors.Is(err, iothub.ErrArgumentInvalid) {
		t.Errorf("an update that leaves out the scope: %v", err)
	}
	if _, err := s.UpdateDevice(t.Context(), edge, "*"); err != nil {
		t.Errorf("an update as read: %v", err)
	}
	leaf, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "leaf", Scope: edge.Scope})
	if err != nil || !slices.Equal(leaf.ParentScopes, []string{edge.Scope}) {
		t.Errorf("leaf %+v, %v", leaf, err)
	}
	tw, err := s.Twin("leaf")
	if text := string(tw.AppendJSON(nil)); err != nil || !strings.HasSuffix(text, fmt.Sprintf(`"capabilities":{"iotEdge":false},"deviceScope":%q,"parentScopes":[%[1]q]}`, edge.Scope)) {
		t.Errorf("twin of the leaf: %s, %v", text, err)
	}
	if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "bad", Scope: "somewhere"}); !errors.Is(err, iothub.ErrArgumentInvalid) {
		t.Errorf("a scope of another form: %v", err)
	}
}

func TestModulesAreBounded(t *testing.T) {
	s := open(t, Options{})
	create(t, s, "d")
	for i := range MaxModules {
		createModule(t, s, "d", fmt.Sprint("m", i))
	}
	if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "d", ModuleID: "more"}); !errors.Is(err, iothub.ErrArgumentInvalid) {
		t.Errorf("module %d: %v", MaxModules+1, err)
	}
	for _, c := range []struct {
		module string
		want   error
	}{{"m0", iothub.ErrModuleExists}, {"a/b", iothub.ErrArgumentInvalid}, {strings.Repeat("x", 129), iothub.ErrArgumentInvalid}} {
		if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "d", ModuleID: c.module}); !errors.Is(err, c.want) {
			t.Errorf("module %.20q: %v; want %v", c.module, err, c.want)
		}
	}
	if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "none", ModuleID: "m"}); !errors.Is(err, iothub.ErrDeviceNotFound) {
		t.Errorf("a module of no device: %v", err)
	}
}
