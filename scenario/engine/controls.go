package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/crew"
	"github.com/twinfleet/twinfleet/report"
)

// Why a stage ends before its time.
var (
	errNext = errors.New("the next stage was asked for") // somebody wanted the next one
	errLeft = errors.New("the stage has served")         // Leave says so
)

// controls are what somebody who watches may change in a run.
type controls struct {
	mu     sync.Mutex // protects the following fields
	fleet  *fleet.Fleet
	byHand bool                    // paused by hand
	staged bool                    // paused by the stage that runs
	next   context.CancelCauseFunc // ends the stage that runs; nil when none does, or it was ended already
	name   string                  // of the stage that runs
	wanted int                     // how many of the stages to come are to end as they begin
	load   *crew.Stage             // of the stage that runs; nil when none does
	over   bool                    // no stage is to come
	did    report.Interventions    // what was done by hand so far
}

// Pause stops what devices do on their own schedules and at the rates of stages, or lets it go on. They stay connected,
// the stages go on, and what was due meanwhile is dropped and counted. A run that was paused is never Passed. It may be called at any time.
func (e *Engine) Pause(paused bool) {
	at, news := e.ledger.Since(), false
	e.controls.change(func(c *controls) {
		if news = c.byHand != paused && !c.over; news {
			c.byHand = paused
			if paused {
				c.did = append(c.did, report.Intervention{At: at, Stage: c.name, Act: report.ActPaused})
			}
			if a := e.opts.Agents; a != nil {
				a.Pause(paused, time.Now().Add(a.Lead()))
			}
		}
	})
	if !news {
		return
	}
	told := report.Event{Kind: report.KindResumed, OK: true, Text: "the load goes on"}
	if paused {
		told.Kind, told.Text = report.KindPaused, "the load was paused by hand"
	}
	e.ledger.Tell(told)
}

// Next ends a stage, and with it the waiting of its steps; after the last one the run ends. Each call ends one: the stage
// that runs; before the first, between two, or when the one that runs was ended so already, the next to begin. A run with such a stage
// is never Passed. It may be called at any time, and does nothing once the last stage is over.
func (e *Engine) Next() {
	e.controls.change(func(c *controls) {
		if c.next == nil {
			c.wanted++
			return
		}
		c.next(errNext)
		c.next = nil
	})
}

// Leave ends the stage of a name, if it is the one that runs, because what it is for has been reached. It is no end by hand:
// those who watch a run call it, when the scenario leaves the length of a stage to them. It may be called at any time.
func (e *Engine) Leave(stage string) {
	e.controls.change(func(c *controls) {
		if c.next != nil && c.name == stage {
			c.next(errLeft)
			c.next = nil
		}
	})
}

// act keeps what was done by hand.
func (c *controls) act(did report.Intervention) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.did = append(c.did, did)
}

// acts is what was done by hand so far.
func (c *controls) acts() report.Interventions {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.did)
}

// change changes the controls and pauses the fleet accordingly.
func (c *controls) change(what func(*controls)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	what(c)
	if c.fleet != nil {
		c.fleet.Pause(c.byHand || c.staged)
	}
}

// stage begins a stage whose context Next and Leave can end, with errNext or errLeft as its cause; the returned function ends it.
func (c *controls) stage(ctx context.Context, name string, paused bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.change(func(c *controls) {
		c.staged, c.name = paused, name
		if c.wanted > 0 {
			c.wanted--
			cancel(errNext)
			return
		}
		c.next = cancel
	})
	return ctx, func() {
		c.change(func(c *controls) { c.next = nil })
		cancel(nil)
	}
}
