package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(childVariable); dir != "" {
		os.Exit(child(dir, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

// open makes a store that lasts as long as the test.
func open(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func create(t testing.TB, s *Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, err := s.CreateDevice(context.Background(), registry.Identity{DeviceID: id}); err != nil {
			t.Fatalf("CreateDevice(%s): %v", id, err)
		}
	}
}

func value(t testing.TB, text string) jsonvalue.Value {
	t.Helper()
	if text == "" {
		return jsonvalue.Value{}
	}
	v, err := jsonparse.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func patch(t testing.TB, s *Store, id, tags, desired string) *twin.Twin {
	t.Helper()
	tw, err := s.PatchTwin(context.Background(), id, value(t, tags), value(t, desired), "")
	if err != nil {
		t.Fatalf("PatchTwin(%s): %v", id, err)
	}
	return tw
}

func report(t testing.TB, s *Store, id, text string) int64 {
	t.Helper()
	version, err := s.Report(context.Background(), id, value(t, text), -1)
	if err != nil {
		t.Fatalf("Report(%s): %v", id, err)
	}
	return version
}

// clock is a time that stands still until it is moved.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)} }

func TestCreateDevice(t *testing.T) {
	c := newClock()
	s := open(t, Options{Now: c.now})
	got, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "dev-1"})
	if err != nil {
		t.Fatal(err)
	}
	auth := got.Authentication
	if got.DeviceID != "dev-1" || got.Status != "enabled" || got.ConnectionState != "Disconnected" || got.ETag == "" ||
		auth.Type != "sas" || auth.SymmetricKey.Primary.IsZero() || auth.SymmetricKey.Secondary.IsZero() ||
		auth.SymmetricKey.Primary == auth.SymmetricKey.Secondary || got.StatusReason != nil {
		t.Errorf("created %+v", got)
	}
	if got.GenerationID != "639029198450000006" { // The clock in ticks since year 1.
		t.Errorf("generation %s", got.GenerationID)
	}
	if !got.LastActivity.IsZero() || !got.StatusUpdated.IsZero() || !got.ConnectionStateUpdated.IsZero() {
		t.Errorf("times of a new device: %+v", got)
	}
	if stored, err := s.Device("dev-1"); err != nil || stored.ETag != got.ETag || stored.Authentication != got.Authentication {
		t.Errorf("Device = %+v, %v", stored, err)
	}
	tw, err := s.Twin("dev-1")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"deviceId":"dev-1","etag":"AAAAAAAAAAE=","deviceEtag":"` + got.ETag + `","status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z",` +
		`"connectionState":"Disconnected","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"sas",` +
		`"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"modelId":"","version":2,` +
		`"properties":{"desired":{"$metadata":{"$lastUpdated":"2026-01-02T03:04:05.0000006Z"},"$version":1},` +
		`"reported":{"$metadata":{"$lastUpdated":"2026-01-02T03:04:05.0000006Z"},"$version":1}},"capabilities":{"iotEdge":false}}`
	if text := string(tw.AppendJSON(nil)); text != want {
		t.Errorf("new twin\n%s\nwant\n%s", text, want)
	}
}

func TestCreateDeviceKeepsWhatItIsGiven(t *testing.T) {
	s := open(t, Options{})
	primary, secondary, reason := sas.NewKey(), sas.NewKey(), "spare part"
	in := registry.Identity{DeviceID: "d", Status: "DISABLED", StatusReason: &reason, Capabilities: registry.Capabilities{IoTEdge: true}}
	in.Authentication.SymmetricKey = registry.SymmetricKeys{Primary: primary, Secondary: secondary}
	got, err := s.CreateDevice(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != "disabled" || *got.StatusReason != reason || !got.Capabilities.IoTEdge ||
		got.Authentication.SymmetricKey.Primary != primary || got.Authentication.SymmetricKey.Secondary != secondary {
		t.Errorf("created %+v", got)
	}
	thumbprint := strings.Repeat("aB", 20)
	x509 := registry.Identity{DeviceID: "x", Authentication: registry.Authentication{Thumbprint: registry.Thumbprints{Primary: thumbprint}}}
	if got, err = s.CreateDevice(t.Context(), x509); err != nil {
		t.Fatal(err)
	}
	if got.Authentication.Type != "selfSigned" || got.Authentication.Thumbprint.Primary != thumbprint || !got.Authentication.SymmetricKey.Primary.IsZero() {
		t.Errorf("created %+v", got)
	}
	credentials, err := s.Credentials("x")
	if err != nil || !credentials.Enabled || credentials.AuthType != "selfSigned" || credentials.Thumbprints.Primary != thumbprint {
		t.Errorf("Credentials = %+v, %v", credentials, err)
	}
	if got := s.Statistics(); got != (registry.Statistics{Total: 2, Enabled: 1, Disabled: 1}) {
		t.Errorf("Statistics = %+v", got)
	}
}

func TestRegistryErrors(t *testing.T) {
	s := open(t, Options{})
	create(t, s, "d")
	reason := strings.Repeat("x", 129)
	device := func(change func(*registry.Identity)) registry.Identity {
		in := registry.Identity{DeviceID: "new"}
		change(&in)
		return in
	}
	for name, tt := range map[string]struct {
		in   registry.Identity
		want error
	}{
		"exists":         {device(func(in *registry.Identity) { in.DeviceID = "d" }), iothub.ErrDeviceExists},
		"no id":          {device(func(in *registry.Identity) { in.DeviceID = "" }), iothub.ErrArgumentInvalid},
		"bad id":         {device(func(in *registry.Identity) { in.DeviceID = "a/b" }), iothub.ErrArgumentInvalid},
		"status":         {device(func(in *registry.Identity) { in.Status = "paused" }), iothub.ErrArgumentInvalid},
		"reason":         {device(func(in *registry.Identity) { in.StatusReason = &reason }), iothub.ErrArgumentInvalid},
		"authentication": {device(func(in *registry.Identity) { in.Authentication.Type = "password" }), iothub.ErrArgumentInvalid},
		"thumbprint":     {device(func(in *registry.Identity) { in.Authentication.Thumbprint.Secondary = "12" }), iothub.ErrArgumentInvalid},
		"no hex":         {device(func(in *registry.Identity) { in.Authentication.Thumbprint.Primary = strings.Repeat("x", 64) }), iothub.ErrArgumentInvalid},
	} {
		if _, err := s.CreateDevice(t.Context(), tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v; want %v", name, err, tt.want)
		}
	}
	if s.Statistics().Total != 1 || s.Len() != 1 {
		t.Errorf("after errors: %+v", s.Statistics())
	}
	for name, call := range map[string]func() error{
		"Device":      func() error { _, err := s.Device("none"); return err },
		"Twin":        func() error { _, err := s.Twin("none"); return err },
		"Credentials": func() error { _, err := s.Credentials("none"); return err },
		"UpdateDevice": func() error {
			_, err := s.UpdateDevice(t.Context(), registry.Identity{DeviceID: "none"}, "*")
			return err
		},
		"DeleteDevice": func() error { return s.DeleteDevice(t.Context(), "none", "") },
		"PatchTwin": func() error {
			_, err := s.PatchTwin(t.Context(), "none", value(t, `{"a":1}`), jsonvalue.Value{}, "")
			return err
		},
		"ReplaceTwin": func() error {
			_, err := s.ReplaceTwin(t.Context(), "none", value(t, `{"a":1}`), jsonvalue.Value{}, "")
			return err
		},
		"Report": func() error { _, err := s.Report(t.Context(), "none", value(t, `{"a":1}`), -1); return err },
	} {
		if err := call(); !errors.Is(err, iothub.ErrDeviceNotFound) {
			t.Errorf("%s: error %v; want DeviceNotFound", name, err)
		}
	}
	s.SetConnected("none", true)
	s.Touch("none")
	if s.ConnectedCount() != 0 {
		t.Error("a device that does not exist is connected")
	}
}

// TestIfMatch tries every form of the header on every write that takes one.
func TestIfMatch(t *testing.T) {
	const wrong, right = "AAAAAAAAAGM=", "<etag>"
	headers := map[string]bool{
		"": true, "*": true, `"*"`: true, right: true, `"` + right + `"`: true, `W/"` + right + `"`: true,
		wrong: false, `"` + wrong + `"`: false, `W/"` + wrong + `"`: false, `"`: false, `""`: false,
	}
	s := open(t, Options{})
	writes := map[string]func(id, etag string) error{
		"PatchTwin": func(id, etag string) error {
			_, err := s.PatchTwin(t.Context(), id, value(t, `{"a":1}`), jsonvalue.Value{}, etag)
			return err
		},
		"ReplaceTwin": func(id, etag string) error {
			_, err := s.ReplaceTwin(t.Context(), id, value(t, `{"a":1}`), jsonvalue.Value{}, etag)
			return err
		},
		"UpdateDevice": func(id, etag string) error {
			_, err := s.UpdateDevice(t.Context(), registry.Identity{DeviceID: id}, etag)
			return err
		},
		"DeleteDevice": func(id, etag string) error { return s.DeleteDevice(t.Context(), id, etag) },
	}
	n := 0
	for name, write := range writes {
		for header, allowed := range headers {
			n++
			id := fmt.Sprint("d", n)
			create(t, s, id)
			report(t, s, id, `{"r":1}`) // Must not move the ETag.
			tw, err := s.Twin(id)
			if err != nil {
				t.Fatal(err)
			}
			etag := etag.OfTwin(tw.ETag)
			if strings.HasSuffix(name, "Device") {
				etag = tw.DeviceETag
			}
			err = write(id, strings.ReplaceAll(header, right, etag))
			if allowed && err != nil || !allowed && !errors.Is(err, iothub.ErrPreconditionFailed) {
				t.Errorf("%s with If-Match %s: error %v; allowed: %v", name, header, err, allowed)
			}
		}
	}
}

func TestUpdateDevice(t *testing.T) {
	c := newClock()
	var gone []string
	s := open(t, Options{Now: c.now, OnGone: func(id string, reason GoneReason) { gone = append(gone, id+" "+reason.String()) }})
	create(t, s, "d")
	patch(t, s, "d", `{"a":1}`, "")
	before, err := s.Device("d")
	if err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(time.Minute)
	reason := "stolen"
	after, err := s.UpdateDevice(t.Context(), registry.Identity{DeviceID: "d", Status: "disabled", StatusReason: &reason}, before.ETag)
	if err != nil {
		t.Fatal(err)
	}
	if after.Status != "disabled" || *after.StatusReason != reason || after.ETag == before.ETag || after.GenerationID != before.GenerationID ||
		after.Authentication == before.Authentication || !after.StatusUpdated.Equal(c.t.Truncate(100)) {
		t.Errorf("updated %+v\nbefore %+v", after, before)
	}
	if _, err := s.UpdateDevice(t.Context(), registry.Identity{DeviceID: "d"}, before.ETag); !errors.Is(err, iothub.ErrPreconditionFailed) {
		t.Errorf("update with the old ETag: %v", err)
	}
	c.t = c.t.Add(time.Minute)
	key := sas.NewKey()
	in := registry.Identity{DeviceID: "d", Status: "enabled"}
	in.Authentication.SymmetricKey.Secondary = key
	if _, err := s.UpdateDevice(t.Context(), in, ""); !errors.Is(err, iothub.ErrArgumentInvalid) {
		t.Errorf("update with one key: %v", err)
	}
	in.Authentication.SymmetricKey.Primary = before.Authentication.SymmetricKey.Primary
	if after, err = s.UpdateDevice(t.Context(), in, ""); err != nil {
		t.Fatal(err)
	}
	if after.Authentication.SymmetricKey.Secondary != key || after.Authentication.SymmetricKey.Primary != before.Authentication.SymmetricKey.Primary ||
		after.StatusReason != nil || after.Status != "enabled" {
		t.Errorf("updated %+v", after)
	}
	tw, err := s.Twin("d")
	if err != nil || tw.DeviceETag != after.ETag || tw.Tags.Value().String() != `{"a":1}` || tw.Version != 3 {
		t.Errorf("twin after updates of the identity: %s, %v", tw.AppendJSON(nil), err)
	}
	if err := s.DeleteDevice(t.Context(), "d", `"*"`); err != nil {
		t.Fatal(err)
	}
	if want := []string{"d disabled", "d deleted"}; !slices.Equal(gone, want) {
		t.Errorf("OnGone was told %q; want %q", gone, want)
	}
	if got := s.Statistics(); got != (registry.Statistics{}) {
		t.Errorf("Statistics = %+v", got)
	}
}

// TestRecreation: a device made anew under an old id shares nothing with the old one.
func TestRecreation(t *testing.T) {
	c := newClock() // Stands still: generations must differ all the same.
	s := open(t, Options{Now: c.now})
	create(t, s, "d")
	patch(t, s, "d", `{"a":1}`, `{"b":2}`)
	report(t, s, "d", `{"c":3}`)
	before, err := s.Device("d")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteDevice(t.Context(), "d", ""); err != nil {
		t.Fatal(err)
	}
	create(t, s, "d")
	after, err := s.Device("d")
	if err != nil {
		t.Fatal(err)
	}
	if after.GenerationID <= before.GenerationID || after.ETag == before.ETag || after.Authentication == before.Authentication {
		t.Errorf("created anew %+v\nbefore %+v", after, before)
	}
	tw, err := s.Twin("d")
	if err != nil || tw.Version != 2 || tw.Tags.Size()+tw.Desired.Size()+tw.Reported.Size() != 0 {
		t.Errorf("twin of a device made anew: %s, %v", tw.AppendJSON(nil), err)
	}
}

func TestDevices(t *testing.T) {
	s := open(t, Options{})
	if got := s.Devices(10); len(got) != 0 {
		t.Errorf("Devices of an empty store = %v", got)
	}
	for n := range 1200 {
		create(t, s, fmt.Sprintf("d%04d", n))
	}
	for _, tt := range []struct{ top, want int }{{1, 1}, {7, 7}, {1000, 1000}, {0, 1000}, {-1, 1000}, {5000, 1000}} {
		got := s.Devices(tt.top)
		if len(got) != tt.want {
			t.Errorf("Devices(%d) gives %d", tt.top, len(got))
			continue
		}
		for i, device := range got {
			if device.DeviceID != fmt.Sprintf("d%04d", i) {
				t.Errorf("Devices(%d)[%d] = %s", tt.top, i, device.DeviceID)
				break
			}
		}
	}
}
