// Package figures keeps the numbers of a process of a run in the run's store: by stage, each only when it has changed.
package figures

import (
	"context"
	"slices"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/metrics"
)

// Keeper keeps the numbers of one process. It may be used from any goroutine.
type Keeper struct {
	name string
	pack *protocol.Packer

	turn  chan struct{} // protects the following fields: holds one while somebody has them, perhaps for as long as there is no connection
	done  bool          // the last numbers are kept
	store bus.Store     // nil before the first time
	open  func(context.Context) (bus.Store, error)
	sent  map[int][]*metrics.SeriesSnapshot // what is kept already, by stage
}

// New makes a Keeper of a process' numbers, under its name. open opens the store, when it is needed first.
func New(name string, pack *protocol.Packer, open func(context.Context) (bus.Store, error)) *Keeper {
	return &Keeper{name: name, pack: pack, open: open, turn: make(chan struct{}, 1), sent: make(map[int][]*metrics.SeriesSnapshot)}
}

// Keep keeps numbers, and what else is known; now is given what of the numbers belongs to it. now.At is the time of the numbers by the run's
// clock. After those that are Final no others are kept.
func (k *Keeper) Keep(ctx context.Context, c *metrics.Contribution, now *protocol.Now) (err error) {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if k.done { // numbers that were copied before the last ones
		return nil
	}
	if k.store == nil {
		if k.store, err = k.open(ctx); err != nil {
			return err
		}
	}
	for i := range c.Stages {
		x := &c.Stages[i]
		if slices.Equal(k.sent[x.Number], x.Series) && len(x.Open) == 0 {
			continue
		}
		if err := k.put(ctx, protocol.FiguresKey(k.name, x.Number), &protocol.Numbers{At: now.At, Stage: *x}); err != nil {
			return err
		}
		k.sent[x.Number] = x.Series
	}
	now.Open, now.Devices, now.Queries = c.Open, c.Devices, c.Queries
	err = k.put(ctx, protocol.NowKey(k.name), now)
	k.done = err == nil && now.Final
	return err
}

func (k *Keeper) put(ctx context.Context, key string, what any) error {
	b, err := k.pack.Pack(what)
	if err == nil {
		_, err = k.store.Put(ctx, key, b)
	}
	return err
}
