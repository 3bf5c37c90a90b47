package fleet

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/internal/fleet/rotation"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Activity is something that the devices of a group do repeatedly: what, when and how. What a group reports and the
// messages that it sends are two of them; a program adds its own.
type Activity struct {
	// Operation is what it is measured as. One of a program's own is among metrics.Options.Operations.
	Operation metrics.Operation
	Every     time.Duration       // on each device's own schedule, at its own phase; 0 is on none
	Gaps      chance.Distribution // between two, by chance, instead of Every; the zero value is Every
	Sync      bool                // all devices in the same instant
	AtOnce    bool                // one comes with each connection; those of the schedule follow at the phase of the device
	Rated     bool                // takes its turn when Fleet.Load asks for the operation
	// Start starts one. It must not block, and is called by one goroutine of the device at a time.
	Start func(*Turn)
}

// Turn is an operation that is being started. It is valid until Start returns. What neither publishes nor reports is counted as
// dropped.
type Turn struct {
	Device protocol.Device // whose turn it is
	N      int64           // turns of the device before this one, whether or not a connection broke meanwhile
	Rand   *rand.Rand      // its draws follow from seed, device, operation and N

	d              *device
	conn           link.Conn
	act            *activity
	intended, free time.Time
	started        bool
}

// Publish sends a message: the operation ends well when it is acknowledged, or with QoS 0 when it is on its way. Only the first
// call of Publish or Report does something.
func (t *Turn) Publish(m link.Message) {
	if t.started {
		return
	}
	t.started = true
	rid, _ := t.d.started(t.act.series, t.d.newOperation(), t.intended, t.free)
	t.d.publish(t.conn, m, sending{rid: rid})
}

// Report writes reported properties, a JSON object: the operation ends with the target's answer. It is for targets with twins.
func (t *Turn) Report(patch []byte) {
	if t.started || !t.d.group.protocol.Twins() {
		return
	}
	t.started = true
	op := t.d.newOperation()
	op.writes = true
	rid, _ := t.d.started(t.act.series, op, t.intended, t.free)
	t.d.publish(t.conn, t.d.group.protocol.Report(t.Device, ridText(rid), patch), sending{rid: rid, answered: true})
}

// activity is an Activity of a group, resolved.
type activity struct {
	Activity
	index  int // in group.activities and device.tasks
	series *metrics.Series
	rhythm func(device int) schedule.Rhythm
	start  func(d *device, conn link.Conn, turn int64, intended, free time.Time)
}

// task is how far a device is with an activity. Its goroutine owns it.
type task struct {
	cursor schedule.Cursor // also while the device has no connection
	turns  int64           // chance is drawn by these numbers: the hundredth is the same whether or not a connection broke after the fiftieth
	next   time.Time       // when the next is due
}

// addActivities resolves what a group's devices do. What they report comes before the messages that they send.
func (f *Fleet) addActivities(g *group) {
	add := func(a *activity) {
		a.index = len(g.activities)
		g.activities = append(g.activities, a)
		if a.Rated && f.turns[a.Operation] == nil {
			f.turns[a.Operation] = new(rotation.Rotation) // made when the number of devices is known
		}
	}
	if r := &g.Report; g.report != nil && !r.Types.Empty() {
		add(&activity{
			Activity: Activity{Operation: metrics.OpTwinReport, Every: r.Every, AtOnce: true, Rated: true},
			series:   g.report, start: (*device).report,
			rhythm: func(i int) schedule.Rhythm { return f.calendar.Reports(i, r.Every, r.Gaps, r.Sync) },
		})
	}
	for _, k := range g.kinds {
		if k.Every > 0 || k.Rated {
			add(k.activity(f))
		}
	}
	for _, a := range g.Activities {
		draws := chance.NewStream(f.cfg.Seed, "activity "+string(a.Operation))
		own := &activity{Activity: a, series: f.cfg.Recorder.Series(a.Operation, g.Name)}
		own.rhythm = f.calendar.Activity(string(a.Operation), a.Every, a.Gaps, a.Sync)
		own.start = func(d *device, conn link.Conn, turn int64, intended, free time.Time) {
			x := f.pools.draws.Get().(*draw)
			defer f.pools.draws.Put(x)
			draws.Seed(&x.pcg, d.index, turn)
			t := &Turn{Device: d.who, N: turn, Rand: x.context.Rand, d: d, conn: conn, act: own, intended: intended, free: free}
			if a.Start(t); !t.started {
				own.series.Drop(intended, metrics.DropOther)
			}
		}
		add(own)
	}
}

// errActivity is returned for an activity that cannot be done.
var errActivity = errors.New("an activity needs an operation, a time of at least 0 and a Start")

func (a *Activity) validate() error {
	if a.Operation == "" || a.Every < 0 || a.Start == nil {
		return errActivity
	}
	return nil
}

// activityOf is the activity of a group that a rate asks for; nil when it has none.
func (g *group) activityOf(op metrics.Operation) *activity {
	for _, a := range g.activities {
		if a.Operation == op && a.Rated {
			return a
		}
	}
	return nil
}
