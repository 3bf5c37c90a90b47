package target_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/identity/provision"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is hubs in memory, by the names in their connection strings.
type site map[string]*hub.Hub

// newSite opens n hubs.
func newSite(t testing.TB, n int, o hub.Options) site {
	t.Helper()
	s := make(site)
	for i := range n {
		o.NoPort, o.HostName = true, fmt.Sprintf("hub%d.test", i)
		h, err := hub.Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		s[o.HostName] = h
	}
	return s
}

// strings are the service connection strings, in the order of their names.
func (s site) strings() (all []connstring.Service) {
	for i := range len(s) {
		all = append(all, s[fmt.Sprintf("hub%d.test", i)].ConnectionString("iothubowner"))
	}
	return all
}

func (s site) dial(name string) link.Dialer {
	return func(ctx context.Context) (net.Conn, error) { return s[name].Dial(ctx) }
}

// decode decodes a scenario; hubs take the place of its target.
func decode(t testing.TB, text string, hubs []connstring.Service) *scenario.Scenario {
	t.Helper()
	var o scenario.Options
	if len(hubs) > 0 {
		var all []string
		for _, c := range hubs {
			all = append(all, fmt.Sprintf("%q", c.Reveal()))
		}
		o.Set = []string{"target.hubs=[" + strings.Join(all, ", ") + "]", "target.plain=true"}
	}
	sc, err := scenario.Decode("test.yaml", []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// open opens a target.
func (s site) open(t testing.TB, sc *scenario.Scenario, devices bool) *target.Target {
	t.Helper()
	aim, err := target.Open(t.Context(), target.Options{Scenario: sc, DialTo: s.dial, Devices: devices})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := aim.Close(); err != nil {
			t.Error(err)
		}
	})
	return aim
}

// provisioned opens a target and makes its identities.
func (s site) provisioned(t testing.TB, sc *scenario.Scenario) (*target.Target, *target.Identities) {
	t.Helper()
	aim := s.open(t, sc, false)
	ids, err := aim.Identities()
	if err == nil {
		err = ids.Provision(t.Context(), &provision.Provisioner{Registry: aim.Paced})
	}
	if err != nil {
		t.Fatal(err)
	}
	return aim, ids
}

// connect connects devices and tells how many came.
func connect(t testing.TB, aim *target.Target, ids *target.Identities, indexes []int) (came int) {
	t.Helper()
	driver, err := drivers.New("lean")
	if err != nil {
		t.Fatal(err)
	}
	var over sync.WaitGroup
	defer over.Wait()
	for _, index := range indexes {
		o := aim.Link(index, ids.IDs[index])
		o.Handler, o.KeepAlive = func(link.Message) {}, time.Minute
		conn, err := driver.Connect(t.Context(), o)
		if err != nil {
			t.Logf("device %d: %v", index, err)
			continue
		}
		came++
		over.Add(1)
		conn.Serve(func(error) { over.Done() })
		defer conn.Close()
	}
	return came
}

func upTo(first, last int) (all []int) {
	for ; first < last; first++ {
		all = append(all, first)
	}
	return all
}

// Whatever the groups, every device is made at exactly the hub that it is dealt to, connects there, and is in the result of a query once.
func TestDevicesOfSeveralHubs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(rt, "hubs")
		var groups []string
		for i := range rapid.IntRange(1, 3).Draw(rt, "groups") {
			g := fmt.Sprintf("{name: g%d, count: %d", i, rapid.IntRange(1, 40).Draw(rt, "count"))
			if shared := rapid.IntRange(1, 5).Draw(rt, "shared"); shared > 1 {
				g += fmt.Sprintf(", transport: amqp, devices_per_connection: %d", shared)
			}
			groups = append(groups, g+"}")
		}
		in := newSite(t, n, hub.Options{})
		sc := decode(t, "fleet: {groups: ["+strings.Join(groups, ", ")+"]}\nstages: [{name: s, devices: 1, duration: 1s}]\n", in.strings())
		aim, ids := in.provisioned(t, sc)
		total := 0
		for _, h := range in {
			total += h.Stats().Devices.Total
		}
		if total != sc.Devices() || len(ids.Mine()) != total {
			rt.Fatalf("%d identities at the hubs, %d of the run; want %d", total, len(ids.Mine()), sc.Devices())
		}
		for index, id := range ids.IDs {
			host := fmt.Sprintf("hub%d.test", sc.HubOf(index))
			if aim.HostName(index) != host || aim.Link(index, id).Host != host || !strings.HasPrefix(aim.Link(index, id).Username, host+"/") {
				rt.Fatalf("%s goes to %s as %s; want %s", id, aim.HostName(index), aim.Link(index, id).Username, host)
			}
			if _, err := aim.Service.Twin(t.Context(), id); err != nil {
				rt.Fatal(err)
			}
		}
		rows := make(map[string]int)
		for p := aim.Service.Query("SELECT deviceId FROM devices", 7); p.More(); {
			page, err := p.Next(t.Context())
			if err != nil {
				rt.Fatal(err)
			}
			for _, item := range page.Items {
				rows[string(item)]++
			}
		}
		if len(rows) != sc.Devices() {
			rt.Fatalf("%d rows; want %d", len(rows), sc.Devices())
		}
		if g := &sc.Fleet.Groups[0]; g.Over().IsMQTT() {
			if came := connect(t, aim, ids, upTo(0, min(9, g.Count))); came != min(9, g.Count) {
				rt.Fatalf("%d of %d connected", came, min(9, g.Count))
			}
		}
	})
}

const ofOneGroup = "fleet: {groups: [{name: robots, count: 30}]}\nstages: [{name: s, devices: 1, duration: 1s}]\n"

// A process that drives some devices opens no service side, needs no key of it, and connects those whose proofs it was given, and those that it is
// given later.
func TestDevicesAlone(t *testing.T) {
	for name, n := range map[string]int{"one hub": 1, "three hubs": 3} {
		t.Run(name, func(t *testing.T) {
			in := newSite(t, n, hub.Options{})
			sc, err := target.Elsewhere(decode(t, ofOneGroup, nil), in.strings())
			if err != nil {
				t.Fatal(err)
			}
			aim, ids := in.provisioned(t, sc)
			if want := map[int]string{1: ", hub0.test", 3: ", 3 hubs: hub0.test, hub1.test, hub2.test"}[n]; aim.Name != "embedded hub in a process of its own"+want {
				t.Errorf("the target is %q", aim.Name)
			}
			if came := connect(t, aim, ids, upTo(0, 30)); came != 30 {
				t.Fatalf("%d devices connected in one process", came)
			}
			places, err := target.Places(sc)
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range in.strings() {
				if places[i].HostName != c.HostName || places[i].Key == c.Key {
					t.Error("an agent is told a key of the service side")
				}
			}
			agent, err := target.Elsewhere(decode(t, ofOneGroup, nil), places)
			if err != nil {
				t.Fatal(err)
			}
			alone := in.open(t, agent, true)
			if alone.Service != nil || alone.Paced != nil || alone.Can.Service || alone.Can.Registry || alone.Faults != nil {
				t.Errorf("devices alone can %+v", alone.Can)
			}
			first, err := ids.Export([]int{4, 3, 11, 4})
			if err != nil {
				t.Fatal(err)
			}
			some, err := target.ImportIdentities(agent, first.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			alone.Use(some)
			if came := connect(t, alone, some, []int{3, 4, 11}); came != 3 {
				t.Errorf("%d of 3 connected", came)
			}
			if came := connect(t, alone, some, []int{5}); came != 0 || some.IDs[5] != "" {
				t.Error("a device of another process connected")
			}
			more, err := ids.Export(upTo(5, 10))
			if err != nil {
				t.Fatal(err)
			}
			added, err := some.Import(more.Reveal())
			if err != nil || !slices.Equal(added, upTo(5, 10)) || some.IDs[5] != ids.IDs[5] {
				t.Errorf("added %v, %v", added, err)
			}
			if came := connect(t, alone, some, []int{3, 5, 9}); came != 3 {
				t.Errorf("%d of 3 connected, of which two were taken over", came)
			}
		})
	}
}

// The embedded hub of a run is not reached from elsewhere, and what only it can do is not asked of a hub in another process.
func TestElsewhere(t *testing.T) {
	at := []connstring.Service{{HostName: "localhost:1", Policy: "o"}, {HostName: "localhost:2", Policy: "o"}}
	if _, err := target.Open(t.Context(), target.Options{Scenario: decode(t, ofOneGroup, nil), Devices: true}); !errors.Is(err, target.ErrInProcess) {
		t.Errorf("devices alone at the embedded hub: %v", err)
	}
	for _, tt := range []struct {
		name, text, want string
		hubs             int
	}{
		{"none", ofOneGroup, "no hub is given", 0},
		{"a broker", "target: {hub: \"mqtt://localhost\"}\n" + ofOneGroup, "no embedded hub, but MQTT broker", 1},
		{
			"faults", "fleet: {groups: [{name: robots}]}\nstages: [{name: s, devices: 1, duration: 1s}, {name: bad, duration: 1s, hub: {refuse: 1s}}]\n",
			"stage bad has faults of the hub", 1,
		},
		{"provisioning", "fleet: {groups: [{name: robots, identity: {dps: {}}}]}\nstages: [{name: s, devices: 1, duration: 1s}]\n", "group robots provisions", 1},
		{"certificates", "fleet: {groups: [{name: robots, identity: {x509: {}}}]}\nstages: [{name: s, devices: 1, duration: 1s}]\n", "have certificates", 1},
		{"deliveries", "fleet: {groups: [{name: robots, telemetry: {every: 1s, deliveries: 1}}]}\nstages: [{name: s, devices: 1, duration: 1s}]\n", "deliveries of group robots", 2},
		{
			"a query", "fleet: {groups: [{name: robots}]}\nstages: [{name: s, devices: 1, duration: 1s}]\nservice: {queries: [{name: q, sql: SELECT TOP 1 * FROM devices}]}\n",
			"the answers of 2 hubs to TOP in query q", 2,
		},
	} {
		_, err := target.Elsewhere(decode(t, tt.text, nil), at[:tt.hubs])
		if !errors.Is(err, target.ErrApart) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
	sc := decode(t, "target: {tier: S1, query_lag: 2s}\n"+ofOneGroup, nil)
	for n := 1; n <= 2; n++ {
		out, err := target.Elsewhere(sc, at[:n])
		if err != nil {
			t.Fatal(err)
		}
		g := &out.Fleet.Groups[0]
		if can := out.Target.Can(); can.InProcess || can.Registry || can.Faults || !can.Service || !can.Twins || !out.Creates(g) || !out.Target.Limited() || len(out.Target.Each()) != n {
			t.Errorf("%d hubs: %+v", n, can)
		}
	}
	if sc.Target.Kind != spec.Embedded || sc.Target.Hubs != nil {
		t.Error("the scenario was changed")
	}
}

// Identities are made in hubs that are processes of their own before their limits hold, and then those hold at each of them. One that was started
// with its limits throttles the making, which waits, and need not be told.
func TestTierOfHubsElsewhere(t *testing.T) {
	const text = "target: {tier: S1}\nfleet: {groups: [{name: robots, count: 1000}]}\nstages: [{name: s, devices: 1, duration: 1s}]\n"
	for _, tt := range []struct {
		name      string
		hubs      int
		armed     bool
		unhurried bool
	}{
		{"one that is told", 1, false, true},
		{"three that are told", 3, false, true},
		{"one that was not asked for", 1, true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			in := newSite(t, tt.hubs, hub.Options{Tier: "S1", Units: 1, ArmByRequest: !tt.armed, Shape: bucket.Shape{Burst: time.Second, Backlog: -1}})
			for _, h := range in {
				if tt.armed {
					h.Arm()
				}
			}
			sc, err := target.Elsewhere(decode(t, text, nil), in.strings())
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			aim, ids := in.provisioned(t, sc)
			if took := time.Since(began); (took < time.Second) != tt.unhurried {
				t.Errorf("%s: 1,000 identities took %s", tt.name, took)
			}
			if throttled := in.throttled(t, aim, ids); !tt.armed && throttled > 0 {
				t.Errorf("%s: %d of them throttle before they were told", tt.name, throttled)
			}
			for range 2 { // a coordinator that takes over tells them once more
				if err := aim.Arm(t.Context()); err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
			}
			if throttled := in.throttled(t, aim, ids); throttled != tt.hubs {
				t.Errorf("%s: %d of %d throttle after they were told", tt.name, throttled, tt.hubs)
			}
		})
	}
}

// throttled is how many of the hubs shed reads of identities that are far too many for a unit.
func (s site) throttled(t testing.TB, aim *target.Target, ids *target.Identities) int {
	t.Helper()
	shed := make(map[string]bool)
	for i, id := range ids.IDs[:900] {
		_, err := aim.Paced.Device(t.Context(), id)
		switch {
		case iothub.Throttled(err):
			shed[aim.HostName(i)] = true
		case err != nil:
			t.Fatal(err)
		}
	}
	return len(shed)
}

// A hub that does not let the run arm it is no hub to run at.
func TestArmFails(t *testing.T) {
	const text = "target: {tier: S1}\nfleet: {groups: [{name: robots, count: 10}]}\nstages: [{name: s, devices: 1, duration: 1s}]\n"
	synctest.Test(t, func(t *testing.T) {
		in := newSite(t, 2, hub.Options{Tier: "S1", Units: 1, ArmByRequest: true})
		all := in.strings()
		all[1] = in["hub1.test"].ConnectionString("registryReadWrite")
		sc, err := target.Elsewhere(decode(t, text, nil), all)
		if err != nil {
			t.Fatal(err)
		}
		err = in.open(t, sc, false).Arm(t.Context())
		if err == nil || !strings.Contains(err.Error(), "hub1.test: having the hub hold its limits") || !strings.Contains(err.Error(), "registryReadWrite does not allow this") {
			t.Errorf("%v", err)
		}
	})
}
