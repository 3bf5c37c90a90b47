package hub_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
)

// A hub whose disk takes no more refuses writes and goes on to answer reads; when the disk takes them again so does the hub, without
// being started anew. Nothing that was acknowledged is lost.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	v := startVictim(t, dir)
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	info, err := os.Stat(filepath.Join(dir, disk.FileName))
	if err != nil {
		t.Fatal(err)
	}
	limit := func(bytes uint64) {
		t.Helper()
		if err := unix.Prlimit(v.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put := func(n int) int {
		t.Helper()
		id := fmt.Sprint("dev-", n)
		status, _, err := v.rest(c, "PUT", "/devices/"+id, `{"deviceId":"`+id+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	limit(uint64(info.Size()))
	n := 0
	for put(n) == 200 {
		if n++; n > 10_000 {
			t.Fatal("the disk is never full")
		}
	}
	refused := n
	for range 10 {
		if n++; put(n) != 500 {
			t.Fatal("a write was acknowledged on a full disk")
		}
	}
	if status, _, err := v.rest(c, "GET", "/twins/dev-0", ""); err != nil || status != 200 {
		t.Errorf("a read: %d, %v", status, err)
	}
	limit(unix.RLIM_INFINITY)
	eventually(t, "the hub takes writes again", func() bool { n++; return put(n) == 200 })
	v.kill(t)
	h, err := hub.Open(t.Context(), hub.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for i := range n + 1 {
		if a := call(t, h, "GET", fmt.Sprintf("/devices/dev-%d?api-version=2021-04-12", i), ""); a.status != 200 && (i < refused || i == n) {
			t.Errorf("dev-%d: %d; it was acknowledged", i, a.status)
		}
	}
}

// A message that a full disk does not take is not acknowledged, and its connection ends; nobody reads it.
func TestTelemetryOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Events().Enable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	v := startVictim(t, dir)
	info, err := os.Stat(filepath.Join(dir, disk.FileName))
	if err != nil {
		t.Fatal(err)
	}
	var device talker
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	var ok bool
	if device.key, ok = v.register(c, "dev-0"); !ok {
		t.Fatal("the hub registers nothing")
	}
	if err := unix.Prlimit(v.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(info.Size()), Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
	var enough atomic.Int64
	if err := device.run(v, "dev-0", &enough); err != nil { // until the hub ends the connection
		t.Fatal(err)
	}
	if n := len(device.acknowledged); device.next != n+1 {
		t.Errorf("%d messages were sent and %d acknowledged", device.next, n)
	}
	v.kill(t)
	if h, err = hub.Open(t.Context(), hub.Options{DataDir: dir}); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if all := readAll(t, h); len(all) != len(device.acknowledged) {
		t.Errorf("%d messages are there; %d were acknowledged", len(all), len(device.acknowledged))
	}
}
