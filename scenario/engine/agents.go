package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Agents run the devices of a run elsewhere, perhaps on other machines, each those that are its own: together they do what one fleet would.
// What they measure is in parts of the Recorder. Times are of this machine; they are told Lead ahead, so that all agents act at once.
type Agents interface {
	// Prepare gives the agents their work and returns when all are ready, with the time at which the devices' schedules begin, from Lead after now
	// on. The error says which are not.
	Prepare(ctx context.Context, w Work) (start time.Time, err error)
	// Lead is how long before its time something is told.
	Lead() time.Duration
	// Stage has the stage of a number, counted from 0, begin at a time. The one before ends then, perhaps before its own time.
	Stage(number int, at time.Time)
	// Change changes the load of the stage that runs at a time, as Engine.Change says.
	Change(change report.LoadChange, at time.Time)
	// Pause stops what devices do by themselves, or lets it go on, from a time on: as Engine.Pause says.
	Pause(paused bool, at time.Time)
	// End has nothing be due from a time on.
	End(at time.Time)
	// Stop has all devices leave, each after its last answers, and returns when they have and all that was measured is in the Recorder. When ctx
	// ends they leave at once.
	Stop(ctx context.Context)
	// Figures are what is known of each agent, for the record.
	Figures() []report.Agent
	// Doubt is why the load of a stage was not the one that was asked for, as far as it is the agents' doing; empty when it was.
	Doubt(stage string) string
	// Loss is why the run cannot go on, or must fail, because an agent was lost: nil while it can.
	Loss() error
	Crowd
}

// Work is what agents are given.
type Work struct {
	Scenario *scenario.Scenario   // as it runs
	Recorder *metrics.Recorder    // gets what agents measure
	Run      string               // fleet.Config.Run
	Started  time.Time            // when the run did
	Made     func(index int) bool // of which devices the run made the identities
	// Places are connection strings of the hubs with keys that open nothing, for devices alone; none for other targets.
	Places []string
	// Prove is what the devices of some indexes prove themselves with, for the process that runs them. It is secret.
	Prove func(indexes []int) ([]byte, error)

	Follows         func(index int) bool      // of which devices OnReporting and OnReported are told; of the others, only answers to desired properties
	OnDesired       func(fleet.DesiredUpdate) // as those of fleet.Config: a bit late, but in order of each device
	OnReporting     func(index int, sent time.Time)
	OnReported      func(fleet.Report)
	OnContradiction func(fleet.Contradiction)
	// OnKnown is told that all that devices learnt until a time has been told, whose times may be wrong by a margin.
	OnKnown func(until time.Time, margin time.Duration)
	// OnLoss is told of an agent that was lost, and by when its devices were.
	OnLoss func(agent, why string, devices int, at time.Time)
	// OnRaw is told that the file which takes an agent's operations is not whole: it could not be written (broken), or operations came too fast for it.
	OnRaw func(agent, text string, broken bool)
	// OnAway is told, once it is over, of a time without a connection to the agents.
	OnAway func(from time.Time, lasted time.Duration)
	// OnFail is told why the run cannot go on for a reason that is no agent's; Loss is that then.
	OnFail func(why error)
}

// Crowd is what has become of devices, wherever they run: as the methods of fleet.Fleet of these names say.
type Crowd interface {
	Counts() map[string]int
	Lost() int
	Losses() int
	LossReasons() map[string]int
	Returns() int
	Left() int
	Reach() []fleet.Reach
	Account(index int) fleet.Account
	Deliveries() []fleet.Deliveries
	Kept() int
	Delivered(body []byte, at time.Time)
	Listening(on bool)
	// Reporters is how many devices have had a report acknowledged, and of a single one what it said last.
	Reporters() (n int, last string)
}

// here are the devices of this process.
type here struct{ *fleet.Fleet }

func (h here) Reporters() (n int, last string) {
	for i := range h.Len() {
		if r, ok := h.Reported(i); ok {
			n++
			last = r.Connectivity
		}
	}
	if n != 1 {
		last = ""
	}
	return n, last
}

// devicesOf are the devices as the audit at the end asks for them.
type devicesOf struct {
	Crowd
	n int
}

func (d devicesOf) Len() int { return d.n }

// herald tells agents what is to come, where there are any. It is for the goroutine that walks the stages.
type herald struct {
	agents Agents // nil for none: all is told at its time
	next   time.Time
}

// early is how long before its end it is settled when the last stage ends, without agents.
const early = 50 * time.Millisecond

// lead is how long before its time something is told.
func (h *herald) lead() time.Duration {
	if h.agents == nil {
		return early
	}
	return h.agents.Lead()
}

// stage waits until a stage begins: when it was announced, or as soon as it can be.
func (h *herald) stage(ctx context.Context, number int) (at time.Time, err error) {
	if h.agents == nil {
		return time.Now(), nil
	}
	if at = h.next; at.IsZero() {
		at = time.Now().Add(h.agents.Lead())
		h.agents.Stage(number, at)
	}
	h.next = time.Time{}
	return at, wait.For(ctx, time.Until(at))
}

// announce tells, a bit before the end of a stage that goes on to its planned end, what is to come then: the next stage or the end.
func (h *herald) announce(number, stages int, end time.Time, f *fleet.Fleet) {
	h.next = end
	switch {
	case number+1 == stages:
		f.EndAt(end)
		if h.agents != nil {
			h.agents.End(end)
		}
	case h.agents != nil:
		h.agents.Stage(number+1, end)
	}
}

// rawFiles are the files of agents that are not whole. It is an Observer that says so in the record, as the one of this process' file does.
type rawFiles struct {
	report.Funcs
	mu     sync.Mutex // protects the following fields
	broken []error
	notes  []string
}

// note notes one: see Work.OnRaw.
func (f *rawFiles) note(agent, text string, broken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text = "agent " + agent + ": " + text; broken {
		f.broken = append(f.broken, errors.New(text))
	} else {
		f.notes = append(f.notes, text)
	}
}

// End says which files are not whole. Its error is that some could not be written: what was asked for is not there.
func (f *rawFiles) End(r *report.Run) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Notes = append(r.Notes, f.notes...)
	return errors.Join(f.broken...)
}
