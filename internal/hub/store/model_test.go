package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/section"
)

// modelDevice is what the naive model knows of a device: plain values and counters.
type modelDevice struct {
	status                  string
	connected               bool
	tags, desired, reported jsonvalue.Value
	desiredN, reportedN     int64
	version                 int64
	etag                    uint64
	identity                string // The ETag of the identity.
	generation              string
	key                     sas.Key
}

func newModelDevice(d registry.Identity) *modelDevice {
	empty := jsonvalue.ObjectValue()
	return &modelDevice{
		status: "enabled", tags: empty, desired: empty, reported: empty, desiredN: 1, reportedN: 1, version: 2, etag: 1,
		identity: d.ETag, generation: d.GenerationID, key: d.Authentication.SymmetricKey.Primary,
	}
}

// write does a service's write of tags and desired, and reports whether desired was touched.
func (m *modelDevice) write(tags, desired jsonvalue.Value, replace bool) (told bool) {
	touches := func(v jsonvalue.Value) bool {
		return replace || v.Kind() == jsonvalue.Null || v.Kind() == jsonvalue.Object && v.Len() > 0
	}
	put := func(old, v jsonvalue.Value) jsonvalue.Value {
		if empty := jsonvalue.ObjectValue(); v.Kind() != jsonvalue.Object {
			return empty
		} else if replace {
			old = empty
		}
		return section.MergePatch(old, v)
	}
	if !touches(tags) && !touches(desired) {
		return false
	}
	m.etag++
	m.version++
	if touches(tags) {
		m.tags = put(m.tags, tags)
	}
	if touches(desired) {
		m.desired = put(m.desired, desired)
		m.desiredN++
	}
	return touches(desired)
}

// machine applies random operations to a store and to the model.
type machine struct {
	t     *rapid.T
	opts  Options
	s     *Store
	model map[string]*modelDevice

	told, want []string // What devices were told, and what they should have been.
}

var modelSections = rapid.SampledFrom([]string{
	``, `null`, `{}`, `{"a":1}`, `{"a":null}`, `{"o":{"x":1}}`, `{"o":{"x":null,"y":[1,2]}}`, `{"o":5,"s":"t"}`, `{"o":{"p":{"q":true}}}`,
})

// id draws a device, or a module of the first two.
func (m *machine) id() string {
	return rapid.SampledFrom([]string{"d0", "d1", "d2", "d3", "d0/a", "d0/b", "d1/a"}).Draw(m.t, "id")
}

func (m *machine) section(name string) jsonvalue.Value {
	text := modelSections.Draw(m.t, name)
	if text == "" {
		return jsonvalue.Value{}
	}
	v, err := m.s.ParseValue([]byte(text))
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

// ifMatch draws a header, and says whether it allows a write over the ETag.
func (m *machine) ifMatch(etag string) (header string, allowed bool) {
	switch rapid.IntRange(0, 4).Draw(m.t, "if-match") {
	case 0:
		return `"` + etag + `"`, true
	case 1:
		return `"bm90IGl0"`, false
	case 2:
		return `"*"`, true
	default:
		return "", true
	}
}

// expect compares an error with the one the model wants, nil for none.
func (m *machine) expect(what string, err, want error) bool {
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		m.t.Fatalf("%s: error %v; want %v", what, err, want)
	}
	return want == nil
}

func (m *machine) create() {
	id := m.id()
	got, err := m.s.CreateDevice(context.Background(), identityOf(id))
	device, module := entity.Split(id)
	var want error
	switch {
	case module != "" && m.model[device] == nil:
		want = iothub.ErrDeviceNotFound
	case module != "" && m.model[id] != nil:
		want = iothub.ErrModuleExists
	case m.model[id] != nil:
		want = iothub.ErrDeviceExists
	}
	if m.expect("create "+id, err, want) {
		m.model[id] = newModelDevice(got)
	}
}

// modulesOf lists the modules of a device in the order of their ids.
func (m *machine) modulesOf(id string) (keys []string) {
	for key := range m.model {
		if device, module := entity.Split(key); module != "" && device == id {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func identityOf(key string) registry.Identity {
	device, module := entity.Split(key)
	return registry.Identity{DeviceID: device, ModuleID: module}
}

func (m *machine) update() {
	id, status := m.id(), rapid.SampledFrom([]string{"", "enabled", "disabled"}).Draw(m.t, "status")
	d, current := m.model[id], ""
	if d != nil {
		current = d.identity
	}
	header, allowed := m.ifMatch(current)
	in := identityOf(id)
	in.Status = status
	got, err := m.s.UpdateDevice(context.Background(), in, header)
	if !m.expect("update "+id, err, m.identityError(id, allowed)) {
		return
	}
	if in.ModuleID == "" {
		if status == "disabled" && d.status == "enabled" {
			m.want = append(m.want, id+" disabled")
			for _, key := range m.modulesOf(id) {
				m.want = append(m.want, key+" disabled")
			}
		}
		if status != "" {
			d.status = status
		}
	}
	if got.Authentication.SymmetricKey.Primary == d.key {
		m.t.Fatalf("update %s: no keys were given and none were made", id)
	}
	d.key = got.Authentication.SymmetricKey.Primary
	if got.ETag == d.identity {
		m.t.Fatalf("update %s: the ETag has not changed", id)
	}
	d.identity = got.ETag
}

func (m *machine) writeError(d *modelDevice, allowed bool) error {
	switch {
	case d == nil:
		return iothub.ErrDeviceNotFound
	case !allowed:
		return iothub.ErrPreconditionFailed
	default:
		return nil
	}
}

// identityError is writeError for a write of an identity, where a module that is not there is told as such.
func (m *machine) identityError(id string, allowed bool) error {
	if m.model[id] == nil && entity.IsModule(id) {
		return iothub.ErrModuleNotFound
	}
	return m.writeError(m.model[id], allowed)
}

func (m *machine) remove() {
	id := m.id()
	d, current := m.model[id], ""
	if d != nil {
		current = d.identity
	}
	header, allowed := m.ifMatch(current)
	if m.expect("delete "+id, m.s.DeleteDevice(context.Background(), id, header), m.identityError(id, allowed)) {
		for _, key := range append([]string{id}, m.modulesOf(id)...) {
			delete(m.model, key)
			m.want = append(m.want, key+" deleted")
		}
	}
}

func (m *machine) write() {
	id, tags, desired := m.id(), m.section("tags"), m.section("desired")
	replace := rapid.Bool().Draw(m.t, "replace")
	d, current := m.model[id], ""
	if d != nil {
		current = etag.OfTwin(d.etag)
	}
	header, allowed := m.ifMatch(current)
	do := m.s.PatchTwin
	if replace {
		do = m.s.ReplaceTwin
	}
	_, err := do(context.Background(), id, tags, desired, header)
	if m.expect("write "+id, err, m.writeError(d, allowed)) && d.write(tags, desired, replace) {
		m.want = append(m.want, fmt.Sprintf("%s desired %d", id, d.desiredN))
	}
}

func (m *machine) report() {
	id, patch := m.id(), m.section("reported")
	if patch.Kind() != jsonvalue.Object {
		patch = jsonvalue.ObjectValue()
	}
	expect, allowed := int64(-1), true
	d := m.model[id]
	if d != nil && rapid.Bool().Draw(m.t, "expect") {
		expect = d.reportedN - int64(rapid.IntRange(0, 1).Draw(m.t, "old"))
		allowed = expect == d.reportedN
	}
	version, err := m.s.Report(context.Background(), id, patch, expect)
	if !m.expect("report "+id, err, m.writeError(d, allowed)) {
		return
	}
	d.reported = section.MergePatch(d.reported, patch)
	d.reportedN++
	d.version++
	if version != d.reportedN {
		m.t.Fatalf("report %s: version %d; want %d", id, version, d.reportedN)
	}
}

func (m *machine) connect() {
	id, connected := m.id(), rapid.Bool().Draw(m.t, "connected")
	m.s.SetConnected(id, connected)
	m.s.Touch(id)
	if d := m.model[id]; d != nil {
		d.connected = connected
	}
}

// bulk sends two entries: one creates or updates, one writes a twin.
func (m *machine) bulk() {
	one, two := "d0", "d1"
	tags := m.section("tags")
	text, err := json.Marshal(tags)
	if err != nil {
		m.t.Fatal(err)
	}
	if !tags.IsDefined() {
		text = nil
	}
	result, err := m.s.Bulk(context.Background(), []registry.BulkEntry{
		{ID: one, ImportMode: "createOrUpdate", Tags: text}, {ID: two, ImportMode: "updateTwin", Tags: text},
	})
	if err != nil || result.IsSuccessful != (m.model[two] != nil) {
		m.t.Fatalf("bulk: %+v, %v", result, err)
	}
	device, err := m.s.Device(one)
	if err != nil {
		m.t.Fatal(err)
	}
	if tags.Kind() == jsonvalue.Null { // As absent: clients write null for what they do not set.
		tags = jsonvalue.Value{}
	}
	written := []string{one, two}
	if m.model[one] == nil { // What a device is made with is no write of its twin.
		m.model[one] = newModelDevice(device)
		if tags.IsDefined() {
			m.model[one].tags = section.MergePatch(jsonvalue.ObjectValue(), tags)
		}
		written = written[1:]
	}
	m.model[one].identity = device.ETag
	for _, id := range written {
		if d := m.model[id]; d != nil {
			d.write(tags, jsonvalue.Value{}, false)
		}
	}
}

// reopen closes the store and reopens it; without a disk it does nothing.
func (m *machine) reopen() {
	if m.opts.DataDir == "" {
		return
	}
	if err := m.s.Close(); err != nil {
		m.t.Fatal(err)
	}
	s, err := Open(context.Background(), m.opts)
	if err != nil {
		m.t.Fatal(err)
	}
	m.s = s
	for _, d := range m.model {
		d.connected = false
	}
}

// check holds everything the store shows against the model.
func (m *machine) check() {
	stats, connected, modules := registry.Statistics{}, 0, 0
	for id, d := range m.model {
		var source plan.Source = m.s
		if entity.IsModule(id) {
			source = m.s.Modules()
			modules++
		} else {
			stats.Total++
			if d.status == "enabled" {
				stats.Enabled++
			}
			if d.connected {
				connected++
			}
			if listed, err := m.s.DeviceModules(id); err != nil || len(listed) != len(m.modulesOf(id)) {
				m.t.Fatalf("modules of %s: %d, %v; want %v", id, len(listed), err, m.modulesOf(id))
			}
		}
		tw, err := m.s.Twin(id)
		device, deviceErr := m.s.Device(id)
		_, shown, ok := source.ByID(id)
		if err != nil || deviceErr != nil || !ok {
			m.t.Fatalf("%s: %v, %v, queries see it: %v", id, err, deviceErr, ok)
		}
		got := fmt.Sprint(tw.Status, tw.Connected, tw.Tags.Value(), tw.Desired.Value(), tw.Reported.Value(),
			tw.Desired.Version(), tw.Reported.Version(), tw.Version, tw.ETag, tw.DeviceETag)
		want := fmt.Sprint(d.status, d.connected, d.tags, d.desired, d.reported, d.desiredN, d.reportedN, d.version, d.etag, d.identity)
		if got != want {
			m.t.Fatalf("%s is\n%s\nthe model\n%s", id, got, want)
		}
		if device.ETag != d.identity || device.GenerationID != d.generation || device.Authentication.SymmetricKey.Primary != d.key ||
			!entity.IsModule(id) && device.Status != d.status {
			m.t.Fatalf("%s: identity %+v; the model %+v", id, device, d)
		}
		if shown.Version != tw.Version || shown.Connected != tw.Connected || shown.DeviceETag != tw.DeviceETag {
			m.t.Fatalf("%s: queries see\n%s\nand the truth is\n%s", id, shown.AppendJSON(nil), tw.AppendJSON(nil))
		}
	}
	stats.Disabled = stats.Total - stats.Enabled
	if m.s.Statistics() != stats || m.s.ConnectedCount() != connected || m.s.Len() != stats.Total || m.s.Modules().Len() != modules || len(m.s.Devices(0)) != stats.Total {
		m.t.Fatalf("%+v, %d connected, queries see %d; want %+v, %d", m.s.Statistics(), m.s.ConnectedCount(), m.s.Len(), stats, connected)
	}
	if !slices.Equal(m.told, m.want) {
		m.t.Fatalf("told %q; want %q", m.told, m.want)
	}
}

// runMachine does a random sequence of operations.
func runMachine(rt *rapid.T, dir string) {
	m := &machine{t: rt, model: map[string]*modelDevice{}}
	m.opts = Options{
		DataDir: dir,
		OnDesired: func(id string, _ []byte, version int64) {
			m.told = append(m.told, fmt.Sprintf("%s desired %d", id, version))
		},
		OnGone: func(id string, reason GoneReason) { m.told = append(m.told, id+" "+reason.String()) },
	}
	var err error
	if m.s, err = Open(context.Background(), m.opts); err != nil {
		rt.Fatal(err)
	}
	defer func() {
		if err := m.s.Close(); err != nil {
			rt.Error(err)
		}
	}()
	operations := []func(){m.create, m.create, m.update, m.remove, m.write, m.write, m.report, m.report, m.connect, m.bulk, m.reopen}
	for range rapid.IntRange(1, 60).Draw(rt, "operations") {
		operations[rapid.IntRange(0, len(operations)-1).Draw(rt, "operation")]()
	}
	m.check()
	m.reopen()
	m.check()
}

// TestStoreAgainstModel does random operations on a store and on a naive model, in memory
// and on disk, and compares everything the store shows.
func TestStoreAgainstModel(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) { runMachine(rt, "") })
	})
	t.Run("disk", func(t *testing.T) {
		base := t.TempDir()
		rapid.Check(t, func(rt *rapid.T) {
			dir, err := os.MkdirTemp(base, "store")
			if err != nil {
				rt.Fatal(err)
			}
			runMachine(rt, dir)
		})
	})
}
