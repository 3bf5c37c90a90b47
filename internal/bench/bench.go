// Package bench measures what a device and an operation cost on this machine: fleet and hub in processes of their own, beside programs
// that do nothing but what must be done. What it measures is read from outside, as anybody can: from /metrics of the processes.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/bench/bare"
)

// Options of Run.
type Options struct {
	Program string       // the path of twinfleet; required
	Devices int          // that connect at once, LeastDevices at least; 8000 when 0
	Only    []string     // parts, of Parts; all of them when empty
	Tell    func(string) // is told what is measured now; required
}

// part is a part of a bench.
type part struct {
	name    string
	measure func(*bench, context.Context) error
}

func parts() []part {
	return []part{
		{"connect", (*bench).connecting}, {"publish", (*bench).publishing}, {"report", (*bench).trips}, {"transports", (*bench).transports}, {"memory", (*bench).memories},
	}
}

// Parts are the names of the parts of a bench, in their order.
func Parts() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// Row is a figure.
type Row struct {
	Name  string  `json:"name"`            // what was measured
	Unit  string  `json:"unit"`            // of Here and Bare
	Here  float64 `json:"here"`            // of twinfleet
	Hub   float64 `json:"hub,omitempty"`   // of the embedded hub, for the same; 0 when it was not measured
	Than  string  `json:"than,omitempty"`  // what it is held against; empty for nothing
	Bare  float64 `json:"bare,omitempty"`  // of that
	Ratio float64 `json:"ratio,omitempty"` // Here by Bare
}

func (r Row) against(than string, bare float64) Row {
	r.Than, r.Bare = than, bare
	if bare > 0 {
		r.Ratio = r.Here / bare
	}
	return r
}

// LeastDevices is how few devices tell what one costs, beside what a run costs without any.
const LeastDevices = 500

const (
	publishers  = 1000
	publishRate = 10_000 // messages a second, of all of them
	pahoClients = 2000
	// What a report and its answer are on the wire, with a version of two digits.
	reportBytes, answerBytes = 88, 46
	tripShare                = 0.7 // of what the echo does is what the fleet is asked for
	publishSeconds           = 10
)

// bench is a bench under way.
type bench struct {
	Options
	dir     string
	hub     *child
	metrics string // the address of the hub's
	target  announcement
	rows    []Row
}

// announcement is what the hub says of itself when it starts.
type announcement struct {
	Address          string            `json:"address"`
	ConnectionString string            `json:"connectionString"`
	CA               string            `json:"ca"`
	Policies         map[string]string `json:"policies"`
}

// Run measures. It takes some ten minutes; with an error come the figures that it has by then.
func Run(ctx context.Context, o Options) ([]Row, error) {
	if o.Devices == 0 {
		o.Devices = 8000
	}
	dir, err := os.MkdirTemp("", "twinfleet-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bench{Options: o, dir: dir}
	for _, p := range parts() {
		if len(o.Only) > 0 && !slices.Contains(o.Only, p.name) {
			continue
		}
		if err := b.openHub(ctx); err != nil {
			return b.rows, err
		}
		err := p.measure(b, ctx)
		b.hub.end()
		if err != nil {
			return b.rows, err
		}
	}
	return b.rows, nil
}

// openHub starts a hub, which knows nobody.
func (b *bench) openHub(ctx context.Context) (err error) {
	b.metrics = free()
	b.hub, err = start(ctx, b.Program, nil, "hub", "--json", "--listen", "127.0.0.1:0", "--cert-dir", filepath.Join(b.dir, "certs"), "--metrics-addr", b.metrics)
	if err != nil {
		return err
	}
	return b.hub.hear(&b.target)
}

// free is an address that nobody listens on.
func free() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

// run is a fleet under way.
type run struct {
	*child
	bench   *bench
	metrics string
	over    chan struct{} // closed when the fleet says nothing more
}

// fleet starts a run. Its name is that of its devices, which the hub keeps.
func (b *bench) fleet(ctx context.Context, name, client string, devices int, secure bool, group, stages string) (*run, error) {
	text := fmt.Sprintf("name: %s\ntarget: {hub: \"${TWINFLEET_HUB}\", plain: %t, keep: true%s}\nfleet: {client: %s, groups: [{name: %s, count: %d, %s}]}\nstages: [%s]\ngenerator: {saturated: warn}\n",
		name, !secure, map[bool]string{true: ", ca: \"${TWINFLEET_CA}\""}[secure], client, name, devices, group, stages)
	file := filepath.Join(b.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	r := &run{bench: b, metrics: free()}
	var err error
	r.child, err = start(ctx, b.Program, []string{"TWINFLEET_HUB=" + b.target.ConnectionString, "TWINFLEET_CA=" + b.target.CA},
		"run", file, "--metrics-addr", r.metrics, "--out", "", "--plain", "--no-ui", "--force")
	if err != nil {
		return nil, err
	}
	r.over = make(chan struct{})
	go func() { // until it ends, which end sees to
		defer close(r.over)
		_, _ = io.Copy(io.Discard, r.out)
	}()
	return r, nil
}

// ends waits until the fleet has ended.
func (r *run) ends() error {
	<-r.over
	return r.wait()
}

// until waits until the figures of the fleet are as wanted, and returns them with those of the hub.
func (r *run) until(ctx context.Context, wanted func(*figures) bool) (fleet, hub *figures, err error) {
	for began := time.Now(); time.Since(began) < 2*time.Minute; {
		if fleet, err = scrape(ctx, r.metrics); err == nil && wanted(fleet) {
			hub, err = scrape(ctx, r.bench.metrics)
			return fleet, hub, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-r.over:
			return nil, nil, r.because(errors.New("the fleet ended early"))
		case <-time.After(scrapeEvery):
		}
	}
	return nil, nil, r.because(errors.Join(errors.New("the fleet does not come as far as that within two minutes"), err))
}

func waiting(n int) func(*figures) bool {
	return func(f *figures) bool { return int(f.sum("twinfleet_devices", "state=waiting")) == n }
}

func connected(n int) func(*figures) bool {
	return func(f *figures) bool { return int(f.sum("twinfleet_devices", "state=connected")) == n }
}

func done(operation string, n int) func(*figures) bool {
	return func(f *figures) bool { return ended(f, operation) >= n }
}

func ended(f *figures, operation string) int {
	return int(f.sum("twinfleet_operations_total", "operation="+operation, "outcome=ok"))
}

const (
	millis      = 1e3
	scrapeEvery = 50 * time.Millisecond
)

// connecting measures what it takes to connect, subscribe, read the twin and report.
func (b *bench) connecting(ctx context.Context) error {
	b.Tell(fmt.Sprintf("%d devices connect", b.Devices))
	r, err := b.fleet(ctx, "connect", "lean", b.Devices, false, "reported: {connectivity: {type: cellular}}",
		fmt.Sprintf("{name: before, duration: 4s}, {name: connect, devices: %d, connect_rate: 20000/s}, {name: all, steps: [{await: {reported: %[1]d, within: 2m}}]}, "+
			"{name: after, duration: 5s}", b.Devices)) // a busy machine takes as long as it takes
	if err != nil {
		return err
	}
	defer r.end()
	before, hubBefore, err := r.until(ctx, waiting(b.Devices))
	if err != nil {
		return err
	}
	first, _, err := r.until(ctx, func(f *figures) bool { return ended(f, "twin_report") > 0 })
	if err != nil {
		return err
	}
	after, hubAfter, err := r.until(ctx, done("twin_report", b.Devices))
	if err != nil {
		return err
	}
	cost := spent([2]*figures{before, after}, [2]*figures{hubBefore, hubAfter}, float64(b.Devices)).row("CPU to connect, subscribe, read the twin, report", "ms", millis)
	rate := Row{Name: "connects with twin and report", Unit: "/s", Here: float64(ended(after, "twin_report")-ended(first, "twin_report")) / after.at.Sub(first.at).Seconds()}
	if err := r.ends(); err != nil {
		return err
	}
	b.Tell(fmt.Sprintf("%d bare paho clients connect", min(pahoClients, b.Devices)))
	peer, err := b.paho(ctx, "connect", min(pahoClients, b.Devices), 0, 1)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, cost.against("bare paho: connect, subscribe", millis*peer.ConnectS/float64(peer.Connected)))
	if after.at.Sub(first.at) > 4*scrapeEvery { // else it is that of the scrapes
		b.rows = append(b.rows, rate)
	}
	return nil
}

// paho runs a bare loop of so many paho clients, whose devices a run has left.
// They send at a rate, for so many seconds; at 0 as much as goes.
func (b *bench) paho(ctx context.Context, group string, clients int, seconds, rate float64) (f bare.Figures, err error) {
	s := bare.Settings{Address: b.target.Address, Clients: clients, Seconds: seconds, Request: 2, Rate: rate, Host: "localhost", Key: b.target.Policies["device"]}
	for i := range clients {
		s.Devices = append(s.Devices, fmt.Sprintf("%s-%06d", group, i))
	}
	return b.bare(ctx, "paho", s)
}

// bare runs a bare program to its end.
func (b *bench) bare(ctx context.Context, name string, s bare.Settings) (f bare.Figures, err error) {
	c, err := begin(ctx, b.Program, nil, "bench", "--part", name)
	if err != nil {
		return f, err
	}
	defer c.end()
	if err := c.say(s); err != nil {
		return f, err
	}
	return f, c.hear(&f)
}

// publishing measures what a message with QoS 1 takes: at a steady rate, and when as many are sent as go.
func (b *bench) publishing(ctx context.Context) error {
	row := func(name string, rate int, group string) (Row, error) {
		b.Tell(fmt.Sprintf("%d devices send %d messages a second", publishers, rate))
		r, err := b.fleet(ctx, group, "lean", publishers, false, "telemetry: {qos: 1}",
			fmt.Sprintf("{name: connect, devices: %d, connect_rate: 1000/s}, {name: settle, duration: 2s}, {name: send, duration: %ds, telemetry_rate: %d/s}", publishers, publishSeconds, rate))
		if err != nil {
			return Row{}, err
		}
		defer r.end()
		before, hubBefore, err := r.until(ctx, func(f *figures) bool { return ended(f, "telemetry") > 0 })
		if err != nil {
			return Row{}, err
		}
		after, hubAfter, err := r.until(ctx, func(f *figures) bool { return f.at.Sub(before.at) > (publishSeconds-1)*time.Second })
		if err != nil {
			return Row{}, err
		}
		n := float64(ended(after, "telemetry") - ended(before, "telemetry"))
		return spent([2]*figures{before, after}, [2]*figures{hubBefore, hubAfter}, n).row(name, "µs", 1e6), r.ends()
	}
	steady, err := row(fmt.Sprintf("CPU a message, QoS 1, %d/s", publishRate), publishRate, "steady")
	if err != nil {
		return err
	}
	b.Tell(fmt.Sprintf("%d bare paho clients send as many", publishers))
	peer, err := b.paho(ctx, "steady", publishers, publishSeconds, publishRate)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, steady.against("bare paho", 1e6*peer.TripsS/float64(peer.Trips)))
	b.Tell(fmt.Sprintf("%d bare paho clients send as many as they can", publishers))
	if peer, err = b.paho(ctx, "steady", publishers, publishSeconds, 0); err != nil {
		return err
	}
	most, err := row("CPU a message, QoS 1, flat out", 3*int(float64(peer.Trips)/peer.Seconds), "most")
	if err != nil {
		return err
	}
	b.rows = append(b.rows, most.against("bare paho", 1e6*peer.TripsS/float64(peer.Trips)))
	return nil
}

// trips measures how many reports go there and back.
func (b *bench) trips(ctx context.Context) error {
	b.Tell("a bare echo")
	server, err := begin(ctx, b.Program, nil, "bench", "--part", "echo-server")
	if err != nil {
		return err
	}
	defer server.end()
	s := bare.Settings{Request: reportBytes, Response: answerBytes, Clients: publishers, Seconds: 5}
	var at bare.Figures
	if err := errors.Join(server.say(s), server.hear(&at)); err != nil {
		return err
	}
	s.Address = at.Address
	echo, err := b.bare(ctx, "echo-clients", s)
	if err != nil {
		return err
	}
	most := float64(echo.Trips) / echo.Seconds
	asked := int(tripShare * most)
	b.Tell(fmt.Sprintf("%d devices report %d times a second", publishers, asked))
	r, err := b.fleet(ctx, "report", "lean", publishers, false, "reported: {connectivity: {type: cellular}}",
		fmt.Sprintf("{name: connect, devices: %d, connect_rate: 1000/s}, {name: settle, duration: 2s}, {name: report, duration: 10s, report_rate: %d/s}", publishers, asked))
	if err != nil {
		return err
	}
	defer r.end()
	from, _, err := r.until(ctx, done("twin_report", publishers+asked))
	if err != nil {
		return err
	}
	to, _, err := r.until(ctx, func(f *figures) bool { return f.at.Sub(from.at) > 5*time.Second })
	if err != nil {
		return err
	}
	row := Row{Name: fmt.Sprintf("reports there and back, asked for %d %% of the echo", int(100*tripShare)), Unit: "/s", Here: float64(ended(to, "twin_report")-ended(from, "twin_report")) / to.at.Sub(from.at).Seconds()}
	if err := r.ends(); err != nil {
		return err
	}
	b.Tell("the bare echo once more, as the machine may be faster or slower by now")
	again, err := b.bare(ctx, "echo-clients", s)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, row.against("bare echo of as many bytes", (most+float64(again.Trips)/again.Seconds)/2))
	return nil
}
