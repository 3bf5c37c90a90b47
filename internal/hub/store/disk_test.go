package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// picture is all that a store shows of its devices, but for what a restart ends.
func picture(t testing.TB, s *Store) string {
	t.Helper()
	var b strings.Builder
	for _, device := range s.Devices(0) {
		credentials, err := s.Credentials(device.DeviceID)
		if err != nil {
			t.Fatal(err)
		}
		tw, err := s.Twin(device.DeviceID)
		if err != nil {
			t.Fatal(err)
		}
		shown := *tw
		shown.Connected, shown.C2DCount = false, 0
		fmt.Fprintf(&b, "%s %s %v %s %s %v %s\n", device.GenerationID, device.ETag, credentials.Enabled,
			credentials.Primary.Base64(), credentials.Secondary.Base64(), device.ConnectionStateUpdated, shown.AppendJSON(nil))
	}
	fmt.Fprintf(&b, "%+v", s.Statistics())
	return b.String()
}

// TestReopen: a store that is reopened shows what it showed before.
func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "the store")
	s, err := Open(t.Context(), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "a", "b", "gone")
	patch(t, s, "a", `{"location":{"region":"US","plant":"Redmond43"},"n":1.0}`, `{"o":{"x":1,"y":[1,{"z":true}]}}`)
	report(t, s, "a", `{"connectivity":{"type":"cellular"},"text":"é \" \\ \u0000"}`)
	report(t, s, "a", `{"text":null}`)
	s.SetConnected("a", true)
	if err := s.SetModelID(t.Context(), "a", "dtmi:x;1"); err != nil {
		t.Fatal(err)
	}
	s.SetC2DCount("a", 4)
	patch(t, s, "a", "", `{"o":{"x":null}}`)
	reason := "r"
	in := registry.Identity{DeviceID: "b", Status: "disabled", StatusReason: &reason, Capabilities: registry.Capabilities{IoTEdge: true}}
	in.Authentication.Thumbprint.Secondary = strings.Repeat("0f", 32)
	if _, err := s.UpdateDevice(t.Context(), in, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteDevice(t.Context(), "gone", ""); err != nil {
		t.Fatal(err)
	}
	want := picture(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}

	s = open(t, Options{DataDir: dir})
	if got := picture(t, s); got != want {
		t.Errorf("reopened\n%s\nbefore\n%s", got, want)
	}
	if s.ConnectedCount() != 0 || s.Len() != 2 {
		t.Errorf("reopened: %d connected, queries see %d", s.ConnectedCount(), s.Len())
	}
	if got := ids(s, s.Lookup([]string{"tags", "location", "plant"}).Equal(jsonvalue.StringValue("Redmond43"))); !slices.Equal(got, []string{"a"}) {
		t.Errorf("reopened: queries find %q", got)
	}
	if tw, err := s.Twin("a"); err != nil || tw.ModelID != "dtmi:x;1" || tw.C2DCount != 0 || tw.Connected {
		t.Errorf("reopened: %s, %v", tw.AppendJSON(nil), err)
	}
	last, err := s.Device("b")
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "new")
	if device, err := s.Device("new"); err != nil || device.GenerationID <= last.GenerationID {
		t.Errorf("a generation is reused: %s after %s, %v", device.GenerationID, last.GenerationID, err)
	}
}

func TestDataFileIsForItsOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, Options{DataDir: dir})
	create(t, s, "a")
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, disk.FileName): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o; want %o", path, got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{DataDir: dir})
	create(t, s, "a")
	_, err := Open(t.Context(), Options{DataDir: dir})
	if !errors.Is(err, disk.ErrLocked) || !oneLine(err) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory in use: %v", err)
	}
	if _, err := Open(t.Context(), Options{DataDir: filepath.Join(dir, disk.FileName)}); err == nil {
		t.Error("a file was taken for a directory")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := t.TempDir()
	first := open(t, Options{DataDir: other})
	create(t, first, "a")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, Options{DataDir: other}); !errors.Is(err, context.Canceled) {
		t.Errorf("opening with an ended context: %v", err)
	}
	second := open(t, Options{DataDir: other}) // The refused open has let go of the file.
	if second.Len() != 1 {
		t.Errorf("%d twins; want 1", second.Len())
	}
}

// oneLine reports whether a message is fit to be shown.
func oneLine(err error) bool { return !strings.Contains(err.Error(), "\n") }

// TestDamagedFiles damages a data file in many ways. Open must say so in one line, or find
// the file whole (some bytes mean nothing); it must never panic nor hang.
func TestDamagedFiles(t *testing.T) {
	whole := fileBytes(t)
	refused := 0
	try := func(name string, content []byte, mustFail bool) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, disk.FileName), content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), Options{DataDir: dir})
		switch {
		case err == nil && mustFail:
			t.Errorf("%s: opened with %d twins", name, s.Len())
		case err != nil && (!errors.Is(err, disk.ErrDamaged) || !oneLine(err) || !strings.Contains(err.Error(), dir)):
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			refused++
		} else if err := s.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
	}
	try("whole", whole, false)
	if refused != 0 {
		t.Fatal("the whole file is refused")
	}
	try("text", []byte("not a data file at all"), true)
	try("zeros", make([]byte, len(whole)), true)
	for _, keep := range []int{1, 100, 4096, 8192, 12288, len(whole) / 2} {
		try(fmt.Sprintf("cut to %d bytes", keep), whole[:keep], keep < 8192)
	}
	for page := 0; page*4096 < len(whole); page++ {
		for _, fill := range []byte{0x00, 0xFF} {
			content := bytes.Clone(whole)
			for i := range 64 {
				content[page*4096+i] = fill
			}
			try(fmt.Sprintf("page %d begins with %x", page, fill), content, false)
		}
	}
	if refused < 10 {
		t.Errorf("%d damaged files were refused; the damage does not bite", refused)
	}
}

// fileBytes makes a data file with a few devices.
func fileBytes(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 30 {
		id := fmt.Sprint("device-", n)
		create(t, s, id)
		report(t, s, id, `{"text":"`+strings.Repeat("x", 300)+`"}`)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, disk.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestDurableNotifications: with a disk too a device is told in the order of the changes,
// and before the write returns.
func TestDurableNotifications(t *testing.T) {
	var mu sync.Mutex
	versions := map[string]int64{}
	s := open(t, Options{DataDir: t.TempDir(), OnDesired: func(id string, _ []byte, version int64) {
		mu.Lock()
		defer mu.Unlock()
		if version != versions[id]+1 {
			t.Errorf("%s: version %d after %d", id, version, versions[id])
		}
		versions[id] = version
	}})
	const devices, writers, writes = 4, 3, 10
	for n := range devices {
		create(t, s, fmt.Sprint("d", n))
		versions[fmt.Sprint("d", n)] = 1
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range writes {
				id := fmt.Sprint("d", (n+w)%devices)
				tw, err := s.PatchTwin(context.Background(), id, jsonvalue.Value{}, value(t, `{"n":`+fmt.Sprint(n)+`}`), "")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if versions[id] < tw.Desired.Version() {
					t.Errorf("%s: version %d was acknowledged and not told", id, tw.Desired.Version())
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for _, version := range versions {
		total += version - 1
	}
	if total != writers*writes {
		t.Errorf("told %d times; want %d", total, writers*writes)
	}
}

// TestManyChangesOfADeviceInABatch: the last one counts. Callers that do not wait make
// batches grow; Close writes what is left of them.
func TestManyChangesOfADeviceInABatch(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "d", "gone", "again")
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	const writes = 200
	for n := range writes {
		_, _ = s.PatchTwin(impatient, "d", value(t, `{"n":`+fmt.Sprint(n)+`}`), jsonvalue.Value{}, "")
	}
	_, _ = s.PatchTwin(impatient, "gone", value(t, `{"n":1}`), jsonvalue.Value{}, "")
	_ = s.DeleteDevice(impatient, "gone", "")
	_ = s.DeleteDevice(impatient, "again", "")
	_, _ = s.CreateDevice(impatient, registry.Identity{DeviceID: "again"})
	want := picture(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{DataDir: dir})
	if got := picture(t, s); got != want {
		t.Errorf("reopened\n%s\nbefore\n%s", got, want)
	}
	if tw, err := s.Twin("d"); err != nil || tw.ETag != writes+1 || s.Len() != 2 {
		t.Errorf("%d twins; d is %s, %v", s.Len(), tw.AppendJSON(nil), err)
	}
}
