package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/identity/keyfile"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// provisioned is what the record says of the one group.
func provisioned(t *testing.T, run *report.Run) report.Provisioned {
	t.Helper()
	if len(run.Provisioned) != 1 {
		t.Fatalf("provisioned: %+v; the run %s: %s", run.Provisioned, run.Outcome, run.Reason)
	}
	return run.Provisioned[0]
}

const groupKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// Devices of every kind are assigned by the embedded hub's provisioning service, with either client.
func TestDevicesProvision(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		authorityFiles(t, dir)
		var rows []byte
		for i := range 25 {
			rows = keyfile.AppendRow(rows, connstring.Device{HostName: "elsewhere", DeviceID: fmt.Sprintf("Dev-%d", i), Key: sas.NewKey()})
		}
		if err := os.WriteFile(filepath.Join(dir, "devices.jsonl"), rows, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{
			"{dps: {}}", "{dps: {group_key: " + groupKey + "}}", "{dps: {x509: {}}}", "{dps: {x509: {ca: ca.pem, key: ca.key}}}", "{dps: {file: devices.jsonl}}",
		} {
			for _, client := range []string{"lean", "paho"} {
				run := newEngine(load(t, dir, fmt.Sprintf(devicesOf, kind), "fleet.client="+client), newWatcher()).Run(t.Context())
				mustPass(t, kind, run)
				if p := provisioned(t, run); p != (report.Provisioned{Group: "robots", Devices: 20, Assigned: 20, Connected: 20}) {
					t.Errorf("%s: %+v", kind, p)
				}
				for _, op := range []metrics.Operation{metrics.OpDPSRegister, metrics.OpDPSConnect, metrics.OpDPSPut} {
					if x := run.Totals.Find(op, "robots"); x.Count(metrics.OK) != 20 || x.Scheduled() != 20 || x.LateOwn > 0 {
						t.Errorf("%s: %d of %d %s, %d late; want 20", kind, x.Count(metrics.OK), x.Scheduled(), op, x.LateOwn)
					}
				}
				if x := run.Totals.Find(metrics.OpDPSGet, "robots"); x.Count(metrics.OK) < 20 {
					t.Errorf("%s: %d polls", kind, x.Count(metrics.OK))
				}
				if x := run.Totals.Find(metrics.OpDPSRegister, "robots").Latency(false); x.Quantile(0.01) < 2*time.Second || x.Maximum() > 4*time.Second {
					t.Errorf("%s: registrations take %v to %v; want the 3 s of the service, a fifth more or less", kind, x.Quantile(0), x.Maximum())
				}
				if x := run.Totals.Find(metrics.OpProvision, ""); x != nil && x.Scheduled() > 0 {
					t.Errorf("%s: the run made identities itself", kind)
				}
			}
		}
	})
}

// elsewhere is a hub with a provisioning service that outlives the run, and a scenario pointed at both.
func elsewhere(t *testing.T) (h *hub.Hub, run func(stages string, more ...string) *report.Run) {
	h, at := openHub(t, hub.Options{DPS: &dps.Options{}})
	return h, func(stages string, more ...string) *report.Run {
		const devices = "fleet: {groups: [{name: robots, count: 20, identity: {dps: {endpoint: localhost, id_scope: %s, group_key: %q}}}]}\n%s"
		text := fmt.Sprintf(devices, h.DPS().IDScope(), h.DPS().GroupKey(dps.DefaultGroup).Base64(), stages)
		return atHub(decode(t, text, append(at, more...)...), newWatcher(), h.Dial).Run(t.Context())
	}
}

// A provisioning service and a hub elsewhere: the run makes no identity, and removes none.
func TestDevicesProvisionElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, start := elsewhere(t)
		const stages = "stages: [{name: ramp, duration: 500ms, devices: 20}, {name: check, steps: [{await: {connected: 20}}]}]"
		for n := range 2 { // the second time they are registered already
			run := start(stages, "target.keep=false")
			mustPass(t, "elsewhere", run)
			if p := provisioned(t, run); p.Assigned != 20 || p.Connected != 20 || p.Repeated != 0 {
				t.Errorf("run %d: %+v", n, p)
			}
			if s := h.Stats().Devices; s.Total != 20 {
				t.Errorf("run %d: the hub has %d identities", n, s.Total)
			}
		}
	})
}

// sweep removes identities from a hub as soon as they are there.
func sweep(t *testing.T, h *hub.Hub, ids ...string) {
	c := client(t, h)
	entries := make([]registry.BulkEntry, len(ids))
	for i, id := range ids {
		entries[i] = registry.BulkEntry{ID: id, ImportMode: registry.ImportDelete}
	}
	go func() {
		for t.Context().Err() == nil {
			_, _ = c.Bulk(t.Context(), entries) // most are not there
			select {
			case <-time.After(100 * time.Millisecond):
			case <-t.Context().Done():
			}
		}
	}()
}

func robots(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("robots-%06d", i))
	}
	return ids
}

// A registration that ended well is worth nothing to a device that its hub does not know: the run says so, whatever a
// threshold on registrations finds. Devices ask for another assignment three times in a row, and no more.
func TestAssignedAndUnknown(t *testing.T) {
	t.Parallel()
	const stages = "stages: [{name: ramp, duration: 500ms, devices: 20}, {name: hold, duration: 5m}]\n" +
		"thresholds: {dps_register: [success_rate >= 100%, p(99) < 5s]}"
	for name, tt := range map[string]struct {
		gone      []string
		connected int
		reason    string
	}{
		"all": {robots(20), 0, "no device ever connected: connection refused: not authorized (return code 5)"},
		"one": {robots(20)[7:8], 19, "1 of 20 devices of robots was assigned to a hub and never connected to it: " +
			"connection refused: not authorized (return code 5)"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, start := elsewhere(t)
				sweep(t, h, tt.gone...)
				run := start(stages)
				p := provisioned(t, run)
				if p.Assigned != 20 || p.Connected != tt.connected || p.Repeated != 3*len(tt.gone) {
					t.Errorf("%+v", p)
				}
				x := run.Totals.Find(metrics.OpDPSRegister, "robots")
				if want := 20 + 3*len(tt.gone); int(x.Count(metrics.OK)) != want || int(x.Scheduled()) != want {
					t.Errorf("%d of %d registrations ended well; want %d", x.Count(metrics.OK), x.Scheduled(), want)
				}
				if run.Outcome != report.Failed || !strings.HasPrefix(run.Reason, tt.reason) {
					t.Errorf("%s: %s\nwant %s", run.Outcome, run.Reason, tt.reason)
				}
			})
		})
	}
}

// A device whose identity is removed while it lives is refused, and assigned once more.
func TestProvisionsOnceMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, start := elsewhere(t)
		c := client(t, h)
		time.AfterFunc(20*time.Second, func() {
			_, _ = c.Bulk(t.Context(), []registry.BulkEntry{{ID: "robots-000003", ImportMode: registry.ImportDelete}})
		})
		run := start("stages: [{name: ramp, duration: 500ms, devices: 20}, {name: hold, duration: 1m}, {name: check, steps: [{await: {connected: 100%}}]}]")
		if p := provisioned(t, run); p.Repeated != 1 || p.Connected != 20 || run.Outcome != report.Passed {
			t.Errorf("%+v; the run %s: %s", p, run.Outcome, run.Reason)
		}
	})
}

// What keeps devices from being assigned fails the run, unless a threshold says how many may be missing, and is counted as what it is.
func TestNotProvisioned(t *testing.T) {
	t.Parallel()
	stages := func(fault string) string {
		return "stages: [{name: ramp, duration: 1s, devices: 20, hub: {dps: " + fault + "}}, {name: hold, duration: 3m, hub: {dps: " + fault + "}}]\n"
	}
	for name, tt := range map[string]struct {
		stages   string
		rules    string
		fault    faults.Faults
		key      string
		outcome  metrics.Outcome // of registrations
		reason   string          // of the run
		passes   bool
		assigned int // at least
	}{
		"a wrong key": {
			key: groupKey, outcome: metrics.Refused, reason: "20 of 20 devices of robots were not assigned to a hub before the run ended: status 401 (401000)",
		},
		"another hub": {
			fault: faults.Faults{WrongHub: "other.example"}, outcome: metrics.Failed,
			reason: "20 of 20 devices of robots were not assigned to a hub before the run ended: assigned to another hub than the target",
		},
		"a disabled enrollment": {
			fault: faults.Faults{Disable: 1}, outcome: metrics.Failed,
			reason: "20 of 20 devices of robots were not assigned to a hub before the run ended: the enrollment is disabled",
		},
		"no answer to polls": {
			fault: faults.Faults{Mute: 1}, outcome: metrics.Timeout,
			reason: "20 of 20 devices of robots were not assigned to a hub before the run ended: no answer in time",
		},
		"connections that end": {
			fault: faults.Faults{Close: 1}, outcome: metrics.Failed,
			reason: "20 of 20 devices of robots were not assigned to a hub before the run ended: the connection was lost",
		},
		"throttled for ever": {
			fault: faults.Faults{Throttle: 1}, outcome: metrics.Unanswered,
			reason: "20 of 20 devices of robots were not assigned to a hub before the run ended: 20 registrations were under way then, of a service that threw back 1",
		},
		"failed allocations": {
			stages: stages("{fail: 100%}"), outcome: metrics.Failed,
			reason: "20 of 20 devices of robots were not assigned to a hub before the run ended: the registration failed (400207)",
		},
		"assigning for ever": {
			stages: stages("{delay: 1h}"), outcome: metrics.Unanswered,
			reason: "20 of 20 devices of robots were not assigned to a hub before the run ended: 20 registrations were under way then; a step",
		},
		"throttled": {
			stages: stages("{registrations_per_minute: 2}"), outcome: metrics.Unanswered, assigned: 4,
			reason: "12 of 20 devices of robots were not assigned to a hub before the run ended: 12 registrations were under way then, of a service that threw back",
		},
		"throttled, and a threshold on devices": {
			stages: stages("{registrations_per_minute: 2}"), rules: "thresholds: {devices: [connected_rate >= 20%]}",
			outcome: metrics.Unanswered, assigned: 4, passes: true,
		},
		"failed allocations, as wanted": {
			stages: stages("{fail: 100%}"), rules: "thresholds: {dps_register: [error_rate >= 100%], devices: [connected == 0], connect: [scheduled == 0]}",
			outcome: metrics.Failed, passes: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var run *report.Run
				if tt.stages == "" {
					h, start := elsewhere(t)
					h.DPS().Faults().Set(tt.fault)
					set := []string(nil)
					if tt.key != "" {
						set = append(set, "fleet.groups.robots.identity.dps.group_key="+tt.key)
					}
					run = start("stages: [{name: ramp, duration: 1s, devices: 20}, {name: hold, duration: 3m}]\n"+tt.rules, set...)
				} else {
					text := "fleet: {groups: [{name: robots, count: 20, identity: {dps: {}}}]}\n" + tt.stages + tt.rules
					run = newEngine(decode(t, text), newWatcher()).Run(t.Context())
				}
				p := provisioned(t, run)
				if p.Devices != 20 || p.Assigned < tt.assigned || tt.assigned == 0 && p.Assigned > 0 || p.Assigned == 20 {
					t.Errorf("%+v", p)
				}
				x := run.Totals.Find(metrics.OpDPSRegister, "robots")
				if x.Count(tt.outcome) == 0 || int(x.Count(metrics.OK)) != p.Assigned || x.Ended() != x.Started() ||
					x.Ended()-x.Count(metrics.OK)-x.Count(metrics.Unanswered) != x.Count(tt.outcome)*b2u(tt.outcome != metrics.Unanswered) {
					t.Errorf("registrations: %d of %d ended, %d well, %d %s; errors %v", x.Ended(), x.Started(), x.Count(metrics.OK), x.Count(tt.outcome), tt.outcome,
						run.Totals.Errors)
				}
				if passed := run.Outcome == report.Passed; passed != tt.passes || !passed && (run.Outcome != report.Failed || !strings.Contains(run.Reason, tt.reason)) {
					t.Errorf("%s: %s\nwant %s", run.Outcome, run.Reason, tt.reason)
				}
			})
		})
	}
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// Refusals for load are no successes and hide none of the wait: a registration that the service threw back lasts until it is over.
func TestThrottledProvisioning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = `
fleet: {client: lean, groups: [{name: robots, count: 300, identity: {dps: {}}, reported: {connectivity: {type: wifi}}}]}
stages: [{name: boot, devices: 300, connect_rate: 300/s, hub: {dps: {registrations_per_minute: 60}}, steps: [{await: {connected: 300, within: 30m}}]}]
`
		run := newEngine(decode(t, text), newWatcher()).Run(t.Context())
		if p := provisioned(t, run); run.Outcome != report.Passed || p.Connected != 300 {
			t.Fatalf("%+v; the run %s: %s", p, run.Outcome, run.Reason)
		}
		put, whole := run.Totals.Find(metrics.OpDPSPut, "robots"), run.Totals.Find(metrics.OpDPSRegister, "robots")
		if put.Count(metrics.OK) != 300 || put.Count(metrics.Throttled) < 240 || put.Errors() > 0 {
			t.Errorf("%d requests accepted, %d throttled, %d errors", put.Count(metrics.OK), put.Count(metrics.Throttled), put.Errors())
		}
		if whole.Count(metrics.OK) != 300 || whole.Scheduled() != 300 || whole.LateOwn > 0 {
			t.Errorf("%d of %d registrations, %d late", whole.Count(metrics.OK), whole.Scheduled(), whole.LateOwn)
		}
		// 60 pass at once, one a second follows: the last waits four minutes at least, the median one and a half.
		h := whole.Latency(false)
		if h.Quantile(0.5) < 90*time.Second || h.Maximum() < 4*time.Minute {
			t.Errorf("registrations: median %v, the longest %v", h.Quantile(0.5), h.Maximum())
		}
		// The connection to the hub is due when the device has one: none of that wait is the hub's.
		if x := run.Totals.Find(metrics.OpConnect, "robots").Latency(false); x.Maximum() > time.Second {
			t.Errorf("connecting took %v", x.Maximum())
		}
	})
}

// A registration that failed hides none of the wait: that of the device goes on with the next one, until it has a hub.
func TestRegistrationsThatFailFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = `
fleet: {client: lean, groups: [{name: robots, count: 50, identity: {dps: {}}, reported: {connectivity: {type: wifi}}}]}
stages:
  - {name: boot, duration: 1s, devices: 50}
  - {name: ill, duration: 40s, hub: {dps: {fail: 100%}}}
  - {name: well, steps: [{await: {connected: 50, within: 10m}}]}
`
		run := newEngine(decode(t, strings.Replace(text, "devices: 50}\n", "devices: 50, hub: {dps: {fail: 100%}}}\n", 1)), newWatcher()).Run(t.Context())
		x := run.Totals.Find(metrics.OpDPSRegister, "robots")
		if p := provisioned(t, run); p.Connected != 50 || x.Count(metrics.OK) != 50 || x.Count(metrics.Failed) < 100 || x.LateOwn > 0 {
			t.Fatalf("%+v, %d registrations ok, %d failed, %d late by the generator's doing", p, x.Count(metrics.OK), x.Count(metrics.Failed), x.LateOwn)
		}
		if ok := x.Response[metrics.OK]; ok.Minimum() < 40*time.Second {
			t.Errorf("a device that was without a hub for 40 s and more waited %v", ok.Minimum())
		}
		if asked := x.Service[metrics.OK]; asked.Maximum() > 10*time.Second {
			t.Errorf("the last registration took %v of the service", asked.Maximum())
		}
		if connect := run.Totals.Find(metrics.OpDPSConnect, "robots").Latency(false); connect.Maximum() > time.Second {
			t.Errorf("connecting to the service took %v", connect.Maximum())
		}
	})
}

// A run that is stopped does not wait for devices that are being assigned.
func TestStoppedWhileProvisioning(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"lean", "paho"} {
		synctest.Test(t, func(t *testing.T) {
			text := "fleet: {client: " + client + ", groups: [{name: robots, count: 50, identity: {dps: {}}}]}\n" +
				"stages: [{name: boot, duration: 1h, devices: 50, connect_rate: 50/s, hub: {dps: {delay: 30m}}}]"
			e := newEngine(decode(t, text), newWatcher())
			time.AfterFunc(10*time.Second, e.Stop)
			run := e.Run(t.Context())
			if took := run.Duration(); run.Outcome != report.Interrupted || took > 15*time.Second {
				t.Errorf("%s: %s after %v: %s", client, run.Outcome, took, run.Reason)
			}
			if x := run.Totals.Find(metrics.OpDPSRegister, "robots"); x.Count(metrics.Unanswered) != 50 || x.Ended() != 50 {
				t.Errorf("%s: %d of %d registrations unanswered", client, x.Count(metrics.Unanswered), x.Ended())
			}
			if x := run.Totals.Find(metrics.OpDPSGet, "robots"); x.Errors() > x.Count(metrics.Unanswered) {
				t.Errorf("%s: %d errors of polls", client, x.Errors())
			}
		})
	}
}
