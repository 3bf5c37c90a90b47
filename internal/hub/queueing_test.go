package hub_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	dialect "github.com/twinfleet/twinfleet/fleet/protocol/iothub"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/servicetime"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

var queued = flag.Int("queued", 1000, "how many operations each queue of TestMeasuredResponseIsTheSimulations has")

// queueing is a queue of queueing theory: Poisson arrivals, c servers, exponential or fixed service of a mean.
type queueing struct {
	servers int
	service time.Duration
	fixed   bool
	load    float64 // of the servers, below 1
}

func (q queueing) String() string {
	return fmt.Sprintf("M/%s/%d at %.0f %%", map[bool]string{true: "D", false: "M"}[q.fixed], q.servers, q.load*100)
}

// rate is arrivals a second.
func (q queueing) rate() float64 { return q.load * float64(q.servers) / q.service.Seconds() }

// curve is the arrivals of so many operations, about.
func (q queueing) curve(operations int) schedule.Curve {
	return schedule.Curve{{Duration: time.Duration(float64(operations) / q.rate() * float64(time.Second)), From: q.rate(), To: q.rate()}}
}

// erlangC is the chance that an arrival has to wait in M/M/c.
func (q queueing) erlangC() float64 {
	c, a := float64(q.servers), q.load*float64(q.servers)
	sum, term := 0.0, 1.0
	for k := range q.servers {
		sum += term
		term *= a / float64(k+1)
	}
	last := term * c / (c - a)
	return last / (sum + last)
}

// mean is the mean response: waiting, by Erlang's C or, for M/D/1, by Pollaczek and Khinchine, and service.
func (q queueing) mean() float64 {
	s := q.service.Seconds()
	if q.fixed {
		return s * (1 + q.load/(2*(1-q.load)))
	}
	return s * (1 + q.erlangC()/(float64(q.servers)*(1-q.load)))
}

// longer is the chance that a response takes longer than t seconds.
func (q queueing) longer(t float64) float64 {
	x := t / q.service.Seconds()
	if q.fixed { // Erlang's sum for the wait in M/D/1
		x--
		switch {
		case x < 0:
			return 1
		case x > 30:
			return 0 // as good as; the sum's terms cancel each other's digits
		}
		sum := 0.0
		for k := 0; float64(k) <= x; k++ {
			y := q.load * (float64(k) - x)
			power, factorial := math.Pow(y, float64(k)), math.Gamma(float64(k+1))
			sum += power / factorial * math.Exp(-y)
		}
		return 1 - (1-q.load)*sum
	}
	spare := float64(q.servers)*(1-q.load) - 1 // of the rates of leaving the queue and the server, in services
	if math.Abs(spare) < 1e-9 {
		return math.Exp(-x) * (1 + q.erlangC()*x)
	}
	return math.Exp(-x) * (1 + q.erlangC()*(1-math.Exp(-x*spare))/spare)
}

// quantile is the response that a share of all stays below.
func (q queueing) quantile(share float64) float64 {
	low, high := 0.0, 1000*q.service.Seconds()
	for range 100 {
		if middle := (low + high) / 2; q.longer(middle) > 1-share {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// The formulas themselves, at values that tables and textbooks have.
func TestQueueingFormulas(t *testing.T) {
	for _, tt := range []struct {
		q          queueing
		wait       float64 // Erlang's C; 0 is not checked
		mean, tail float64 // in services; tail is the p99
	}{
		{queueing{1, time.Second, false, 0.5}, 0.5, 2, 2 * math.Log(100)},
		{queueing{1, time.Second, false, 0.9}, 0.9, 10, 10 * math.Log(100)},
		{queueing{2, time.Second, false, 0.5}, 1.0 / 3, 4.0 / 3, 0},
		{queueing{2, time.Second, false, 0.75}, 0.642857, 16.0 / 7, 0},
		{queueing{10, time.Second, false, 0.8}, 0.409180, 1.204590, 0},
		{queueing{1, time.Second, true, 0.5}, 0, 1.5, 0},
		{queueing{1, time.Second, true, 0.8}, 0, 3, 0},
	} {
		if got := tt.q.erlangC(); tt.wait > 0 && math.Abs(got-tt.wait) > 1e-6 {
			t.Errorf("%v: an arrival waits with chance %.6f; want %.6f", tt.q, got, tt.wait)
		}
		if got := tt.q.mean(); math.Abs(got-tt.mean) > 1e-6 {
			t.Errorf("%v: mean %.6f; want %.6f", tt.q, got, tt.mean)
		}
		if got := tt.q.quantile(0.99); tt.tail > 0 && math.Abs(got-tt.tail) > 1e-6 {
			t.Errorf("%v: p99 %.6f; want %.6f", tt.q, got, tt.tail)
		}
		area, step := 0.0, 0.01 // the mean is the area under the chances to take longer
		for x := step / 2; x < 30; x += step {
			area += tt.q.longer(x) * step
		}
		if tt.q.load < 0.85 && math.Abs(area/tt.mean-1) > 0.01 {
			t.Errorf("%v: the tail's area is %.4f; want the mean, %.4f", tt.q, area, tt.mean)
		}
	}
}

// inMemory is a fleet's target whose devices reach a hub without a network.
type inMemory struct {
	hub *hub.Hub
	key []sas.Key
}

func (m inMemory) Link(index int, id string) link.Options {
	return link.Options{
		ClientID: id, CleanSession: true, Dial: m.hub.Dial,
		Username: username.Name{Host: "localhost", DeviceID: id, APIVersion: "2021-04-12"}.String(),
		Password: func() string {
			return sas.Sign("localhost/devices/"+id, m.key[index], "", time.Now().Add(24*time.Hour))
		},
	}
}

func (inMemory) Protocol() protocol.Protocol { return dialect.Protocol{} }

// measure lets a fleet in virtual time report to a hub with a model of service, and is what it measured.
func measure(t *testing.T, q queueing, operations int) (measured histogram.Histogram) {
	t.Helper()
	const devices = 50
	synctest.Test(t, func(t *testing.T) {
		h, err := hub.Open(t.Context(), hub.Options{NoPort: true})
		if err != nil {
			t.Fatal(err)
		}
		c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://localhost", Dial: h.Dial})
		if err != nil {
			t.Fatal(err)
		}
		rec, m := metrics.NewRecorder(metrics.Options{}), inMemory{hub: h}
		types, err := chance.NewWeighted([]string{"wifi"}, []float64{1})
		if err != nil {
			t.Fatal(err)
		}
		g := fleet.Group{Name: "robots", InFlight: 1000, KeepAlive: time.Hour, Report: fleet.Reporting{Types: chance.NewChain(types, nil)}}
		for i := range devices {
			id := newDevice(t, c, fmt.Sprintf("robots-%d", i))
			g.IDs, m.key = append(g.IDs, id.DeviceID), append(m.key, id.Authentication.SymmetricKey.Primary)
		}
		c.Close()
		f, err := fleet.New(fleet.Config{Seed: 1, Groups: []fleet.Group{g}, Target: m, Driver: paho.New(), Recorder: rec})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Scale(t.Context(), schedule.Curve{{Duration: time.Second, To: devices}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // all have connected and reported once
		before := rec.Snapshot()
		h.Faults().Serve(&servicetime.Model{Servers: q.servers, Time: q.service, Exponential: !q.fixed, Seed: 1})
		curve := q.curve(operations)
		if err := f.LoadAt(t.Context(), time.Now(), metrics.OpTwinReport, curve.Poisson(1, "arrivals", 0), curve.Total()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		x := rec.Snapshot().Sub(before).Find(metrics.OpTwinReport, "robots")
		if x.Started() != x.Count(metrics.OK) || x.DroppedTotal() > 0 {
			t.Errorf("%v: %d started, %d ok, %d dropped", q, x.Started(), x.Count(metrics.OK), x.DroppedTotal())
		}
		measured = x.Latency(false)
		f.Stop(t.Context())
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return measured
}

// simulate is the same queue without fleet and hub: the responses to the same arrivals with the same services, sorted.
func simulate(q queueing, operations int) (all []float64) {
	chance, free := rand.New(rand.NewPCG(1, 0)), make([]time.Duration, q.servers)
	for at := range q.curve(operations).Poisson(1, "arrivals", 0) {
		took := q.service
		if !q.fixed {
			took = time.Duration(chance.ExpFloat64() * float64(took))
		}
		first := slices.Index(free, slices.Min(free))
		free[first] = max(free[first], at) + took
		all = append(all, (free[first] - at).Seconds())
	}
	slices.Sort(all)
	return all
}

func mean(all []float64) (m float64) {
	for _, x := range all {
		m += x / float64(len(all))
	}
	return m
}

// queues are those that the theory is held against.
func queues() (all []queueing) {
	for _, q := range []queueing{{servers: 1}, {servers: 2}, {servers: 4}, {servers: 1, fixed: true}} {
		for _, load := range []float64{0.5, 0.7, 0.85} {
			q.service, q.load = 10*time.Millisecond, load
			all = append(all, q)
		}
	}
	return all
}

// The model of service and the arrivals are the theory's, within a tenth: so many of them that chance is small.
func TestSimulatedResponseIsQueueingTheorys(t *testing.T) {
	const operations = 100_000
	for _, q := range queues() {
		all := simulate(q, operations)
		m, p99 := mean(all), all[len(all)*99/100]
		if math.Abs(m/q.mean()-1) > 0.10 || math.Abs(p99/q.quantile(0.99)-1) > 0.10 {
			t.Errorf("%v: mean %.2f ms and p99 %.2f ms; theory says %.2f and %.2f", q, m*1e3, p99*1e3, q.mean()*1e3, q.quantile(0.99)*1e3)
		}
	}
}

// What fleet, hub and recorder measure in virtual time of the same arrivals and services is what the simulation
// has, to the resolution of a histogram. With enough operations (make bench-queueing) it is what theory says.
func TestMeasuredResponseIsTheSimulations(t *testing.T) {
	for _, q := range queues() {
		x, all := measure(t, q, *queued), simulate(q, *queued)
		m, p99 := x.Mean().Seconds(), x.Quantile(0.99).Seconds()
		if want := mean(all); int(x.Count) != len(all) || math.Abs(m/want-1) > 0.001 {
			t.Errorf("%v: mean %.4f ms of %d; the simulation has %.4f of %d", q, m*1e3, x.Count, want*1e3, len(all))
		}
		rank := int(math.Ceil(0.99*float64(len(all)))) - 1
		if low, high := all[rank-1]*0.998, all[rank+1]*1.002; p99 < low || p99 > high {
			t.Errorf("%v: p99 %.4f ms; the simulation has %.4f", q, p99*1e3, all[rank]*1e3)
		}
		offMean, offP99 := m/q.mean()-1, p99/q.quantile(0.99)-1
		t.Logf("%v: mean %.2f ms of %.2f (%+.1f %%), p99 %.2f ms of %.2f (%+.1f %%), %d operations", q,
			m*1e3, q.mean()*1e3, offMean*100, p99*1e3, q.quantile(0.99)*1e3, offP99*100, x.Count)
		if *queued >= 100_000 && (math.Abs(offMean) > 0.10 || math.Abs(offP99) > 0.10) {
			t.Errorf("%v is more than a tenth off", q)
		}
	}
}
