package configurations

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/store"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// counting is a store that counts the twins that are looked at.
type counting struct {
	*store.Store
	looks atomic.Int64
}

func (c *counting) Twin(key string) (*twin.Twin, error) {
	c.looks.Add(1)
	return c.Store.Twin(key)
}

func value(t *testing.T, text string) jsonvalue.Value {
	t.Helper()
	v, err := jsonparse.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fleet is a Manager over so many devices, in the virtual time of a bubble.
func fleet(t *testing.T, devices int) (*Manager, *counting) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range devices {
		if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: fmt.Sprintf("d%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	c := &counting{Store: s}
	m, err := New(t.Context(), Options{Store: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, c
}

// pass lets the Manager do all that it has to do.
func pass() {
	time.Sleep(time.Minute)
	synctest.Wait()
}

// A write of one twin has one twin looked at, however many there are; without configurations none.
func TestOnlyChangedTwinsAreLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = 3000
		m, c := fleet(t, devices)
		pass()
		c.looks.Store(0)
		patch := func(id string) {
			if _, err := c.PatchTwin(t.Context(), id, value(t, `{"plant":"r43"}`), jsonvalue.Value{}, ""); err != nil {
				t.Fatal(err)
			}
		}
		patch("d1")
		pass()
		if n := c.looks.Load(); n != 0 {
			t.Errorf("without configurations %d twins were looked at", n)
		}
		if _, err := m.Put("c", []byte(`{"id":"c","content":{"deviceContent":{"properties.desired.a":1}},"targetCondition":"tags.plant = 'r43'"}`), ""); err != nil {
			t.Fatal(err)
		}
		pass()
		if n := c.looks.Load(); n < devices || n > devices+10 {
			t.Errorf("a new configuration had %d of %d twins looked at", n, devices)
		}
		c.looks.Store(0)
		for range 10 {
			patch("d2")
		}
		pass()
		// Once for the tags, and once for what the configuration wrote itself.
		if n := c.looks.Load(); n < 1 || n > 2 { // not once for each write
			t.Errorf("writes of one twin had %d looked at", n)
		}
		shown, err := m.Get("c")
		if err != nil || shown.SystemMetrics.Results["appliedCount"] != 2 {
			t.Errorf("%v, %v", shown.SystemMetrics, err)
		}
		if err := c.DeleteDevice(t.Context(), "d1", "*"); err != nil {
			t.Fatal(err)
		}
		pass()
		if shown, _ = m.Get("c"); shown.SystemMetrics.Results["targetedCount"] != 1 {
			t.Errorf("a device that was deleted is counted: %v", shown.SystemMetrics)
		}
	})
}

// What changes while the Manager rests waits for its next look, and is not lost.
func TestChangesWaitForTheNextLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, c := fleet(t, 1)
		if _, err := m.Put("c", []byte(`{"id":"c","content":{"deviceContent":{"properties.desired.a":1}},"targetCondition":"tags.on = true"}`), ""); err != nil {
			t.Fatal(err)
		}
		pass()
		for _, text := range []string{`{"on":false}`, `{"on":true}`} { // the first look leaves the Manager resting
			if _, err := c.PatchTwin(t.Context(), "d0", value(t, text), jsonvalue.Value{}, ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		before, _ := c.Store.Twin("d0")
		if len(before.Configurations) != 0 {
			t.Error("applied without a rest")
		}
		time.Sleep(defaultEvery)
		synctest.Wait()
		if after, _ := c.Store.Twin("d0"); len(after.Configurations) != 1 || after.Desired.Value().Get("a").Num() != 1 {
			t.Errorf("after the rest: %s", after.AppendJSON(nil))
		}
	})
}
