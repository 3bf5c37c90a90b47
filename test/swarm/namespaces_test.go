//go:build integration

package swarm

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/test/rig"
)

const afield = `
name: afield
seed: 9
target: {hub: %q, plain: true}
fleet:
  client: lean
  groups:
    - {name: robots, count: 90, reported: {connectivity: {type: {wifi: 1, cellular: 2}}, every: 1s}}
stages:
  - {name: ramp, duration: 2s, devices: 100%%}
  - {name: hold, duration: 6s}
service:
  freshness: {probe: 500ms}
`

// far is an agent in a network namespace of its own.
type far struct {
	ways
	ahead time.Duration // its clock
}

// Agents are in network namespaces of their own, some of them far away, one by a way that takes longer there than back, and their clocks are wrong
// by up to a minute. That is known, as well as it can be, and changes nothing of what is measured.
func TestAgentsInNamespaces(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces are made by root, on Linux: run this test as root")
	}
	all := []far{{ways{2 * time.Millisecond, 2 * time.Millisecond}, 0}, {ways{60 * time.Millisecond, 5 * time.Millisecond}, 47 * time.Second}, {ways{5 * time.Millisecond, 40 * time.Millisecond}, -38 * time.Second}}
	w := newWorld(t)
	near := make(map[string]ways)
	spaces := make([]string, len(all))
	here := hereAddress()
	ip(t, "addr", "replace", here+"/32", "dev", "lo")
	t.Cleanup(func() { ip(t, "addr", "del", here+"/32", "dev", "lo") })
	for i, x := range all {
		spaces[i] = space(t, i)
		near[spaceAddress(i, 2)] = x.ways
	}
	delays := func(from string) ways { return near[from] } // none for what is not far

	w.startNATS()
	bus := newRelay(t, here+":0", w.nats, delays)
	hub := rig.Start(t, w.dir, nil, rig.Build(t), "hub", "--listen", "127.0.0.1:0", "--json", "--page=false")
	var known struct {
		Connection string `json:"connectionString"`
	}
	if err := json.Unmarshal([]byte(hub.Line(t, "connectionString", within)), &known); err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`HostName=([^;]+)`).FindStringSubmatch(known.Connection)[1]
	wire := newRelay(t, here+":0", strings.Replace(address, "localhost", "127.0.0.1", 1), delays)

	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range all {
		name := agentName(i)
		environ := append(w.environ(), role("agent", "NATS_URL=nats://"+bus.addr(), "AGENT_NAME="+name, "CLOCK_AHEAD="+x.ahead.String())...)
		w.agents[name] = rig.Start(t, w.dir, environ, "ip", "netns", "exec", spaces[i], program)
	}
	for _, p := range w.agents {
		p.Line(t, "waits", within)
	}
	text := fmt.Sprintf(afield, strings.Replace(known.Connection, address, wire.addr(), 1))
	w.run(text, "--agents", fmt.Sprint(len(all)), "--nats", "nats://"+w.nats).Wait(t, within)
	r := w.record()
	defer func() {
		if t.Failed() {
			t.Log(said(r))
		}
	}()
	if r.Outcome != report.Passed && r.Outcome != report.Saturated {
		t.Errorf("outcome %s", r.Outcome)
	}
	addsUp(t, r)
	for i, x := range all {
		a := &r.Agents[i]
		off := (a.Clock.Offset - x.ahead).Abs()
		t.Logf("%s, %s there and %s back, ahead by %s: offset %s ± %s", a.Name, x.up, x.down, x.ahead, a.Clock.Offset, a.Clock.Uncertainty)
		// This machine has one clock: the offset is that of the shift alone.
		if off > a.Clock.Uncertainty || a.Clock.Uncertainty < (x.up+x.down)/2 || a.Clock.Uncertainty > 5*time.Second || a.Clock.Steps != 0 {
			t.Errorf("%s: clock %+v; it is ahead by %s, and %s away", a.Name, a.Clock, x.ahead, x.up+x.down)
		}
	}
	// No figure is off by anything like a clock.
	for operation, least := range map[metrics.Operation]uint64{metrics.OpFreshness: 200, "twin_report": 400, "connect": 90} {
		x := r.Totals.Find(operation, "robots")
		if x == nil || x.Count(metrics.OK) < least || x.Ended() != x.Count(metrics.OK) {
			t.Errorf("%s: %+v", operation, x)
			continue
		}
		h := x.Response[metrics.OK]
		if h.Maximum() > 20*time.Second || h.Quantile(0.5) > 10*time.Second {
			t.Errorf("%s took %s, %s at most", operation, h.Quantile(0.5), h.Maximum())
		}
		if operation == "connect" && h.Quantile(0.5) < 40*time.Millisecond {
			t.Errorf("connect took %s: nothing is far away", h.Quantile(0.5))
		}
	}
}

// Addresses are of 198.18.0.0/15, which is for tests of networks (RFC 2544), and exist on this machine alone: others for each process, as several
// may run this.
func hereAddress() string { return fmt.Sprintf("198.18.%d.1", os.Getpid()%250) }

// spaceAddress is an address of the link to a namespace: 1 is this side, 2 that of the namespace.
func spaceAddress(i, side int) string { return fmt.Sprintf("198.19.%d.%d", os.Getpid()%250, 4*i+side) }

// space makes a network namespace from which this machine can be reached, until the test ends.
func space(t *testing.T, i int) string {
	t.Helper()
	name := fmt.Sprintf("swarm%d-%d", os.Getpid(), i)
	link := fmt.Sprintf("sw%d-%d", os.Getpid()%100_000, i) // 15 characters at most
	peer := link + "p"
	ip(t, "netns", "add", name)
	t.Cleanup(func() { ip(t, "netns", "del", name) }) // and with it the link
	ip(t, "link", "add", link, "type", "veth", "peer", "name", peer)
	ip(t, "link", "set", peer, "netns", name)
	ip(t, "addr", "add", spaceAddress(i, 1)+"/30", "dev", link)
	ip(t, "link", "set", link, "up")
	ip(t, "-n", name, "addr", "add", spaceAddress(i, 2)+"/30", "dev", peer)
	ip(t, "-n", name, "link", "set", peer, "up")
	ip(t, "-n", name, "link", "set", "lo", "up")
	ip(t, "-n", name, "route", "add", "default", "via", spaceAddress(i, 1))
	return name
}

// ip runs iproute2's ip.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(rig.Program(t, "ip"), args...).CombinedOutput(); err != nil {
		t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
