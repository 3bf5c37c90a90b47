// Package registry makes and removes the identities of a scenario apart from a run.
package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twinfleet/twinfleet/internal/identity/keyfile"
	"github.com/twinfleet/twinfleet/internal/identity/paced"
	"github.com/twinfleet/twinfleet/internal/identity/provision"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/scenario"
)

// ErrNoRegistry is returned for a scenario whose identities nobody would keep.
var ErrNoRegistry = errors.New("there is nothing to provision")

// Options of Provision and Deprovision.
type Options struct {
	Scenario *scenario.Scenario // required
	// Stop ends the work politely when it is closed; paced.ErrStopped is then returned.
	Stop <-chan struct{}
	// Progress, which may be nil, is told how far it is. It must be quick.
	Progress func(paced.Progress)
	// Out, which may be nil, takes the connection strings of devices with keys; those that it holds are not
	// made a second time.
	Out *keyfile.Out
}

// Counts is what became of a scenario's identities.
type Counts struct {
	Total   int // of the scenario, but those of files
	Done    int // found in Out
	Made    int // that there were none of
	Existed int // that were there already and are used
	Removed int // that are gone now
	Missing int // none to remove
	OfFiles int // devices of files, which are left alone
	Unsaved int // devices with certificates, of which Out holds nothing
}

// open opens a scenario's registry.
func (o *Options) open(ctx context.Context) (*target.Target, error) {
	switch can := o.Scenario.Target.Can(); {
	case can.InProcess:
		return nil, fmt.Errorf("%w: the embedded hub of a run is gone when the run ends; start twinfleet hub, and give its connection string with --set "+
			"'target.hub=${TWINFLEET_HUB}'", ErrNoRegistry)
	case !can.Registry:
		return nil, fmt.Errorf("%w: a plain broker has no identities", ErrNoRegistry)
	}
	return target.Open(ctx, target.Options{Scenario: o.Scenario})
}

// Provision makes a scenario's identities and leaves them. It may be repeated: those that are there are left as
// they are. The counts are right also when it returns an error.
func Provision(ctx context.Context, o Options) (c Counts, err error) {
	for i := range o.Scenario.Fleet.Groups {
		g := &o.Scenario.Fleet.Groups[i]
		if x := g.Identity.X509; x != nil && x.Thumbprint {
			return c, fmt.Errorf("%w: the certificates of group %s live as long as a run; have them signed by an authority, with ca and key", ErrNoRegistry, g.Name)
		}
	}
	t, err := o.open(ctx)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	all, err := target.NewIdentities(o.Scenario, nil)
	if err != nil {
		return c, err
	}
	c.OfFiles = len(all.IDs) - len(all.Create) - len(all.Assigned)
	c.Total = len(all.Create)
	todo := all.Create
	if o.Out != nil {
		todo = nil
		for _, index := range all.Create {
			if o.Out.Has(all.IDs[index]) {
				c.Done++
			} else {
				todo = append(todo, index)
			}
		}
	}
	err = o.make(ctx, t, all, todo, &c)
	if err == nil && o.Out != nil {
		err = o.Out.Sort(all.IDs)
	}
	return c, err
}

// make makes the identities with some of the indexes.
func (o *Options) make(ctx context.Context, t *target.Target, all *target.Identities, todo []int, c *Counts) error {
	build := func(first, last int) ([]provision.Device, error) {
		devices := make([]provision.Device, 0, last-first)
		for _, index := range todo[first:last] {
			d, err := all.Entry(index)
			if err != nil {
				return nil, err
			}
			if o.Out == nil {
				d.Adopt = provision.AdoptAsIs // nobody asks for its key
			}
			devices = append(devices, d)
		}
		return devices, nil
	}
	p := &provision.Provisioner{Registry: t.Paced, Stop: o.Stop, Progress: o.Progress}
	return target.WithRemedy(p.Make(ctx, len(todo), build, func(first int, devices []provision.Device, states []provision.State) error {
		var rows []connstring.Device
		for i, d := range devices {
			if states[i] == provision.Made {
				c.Made++
			} else {
				c.Existed++
			}
			if d.Auth.Type == registry.AuthSAS {
				rows = append(rows, connstring.Device{HostName: t.HostName(todo[first+i]), DeviceID: d.ID, Key: d.Auth.SymmetricKey.Primary})
			} else {
				c.Unsaved++
			}
		}
		if o.Out == nil {
			return nil
		}
		return o.Out.Add(rows)
	}))
}

// Deprovision removes a scenario's identities, whoever made them, but those of files.
func Deprovision(ctx context.Context, o Options) (c Counts, err error) {
	t, err := o.open(ctx)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	all, err := target.NewIdentities(o.Scenario, nil)
	if err != nil {
		return c, err
	}
	ids := make([]string, 0, len(all.Create)+len(all.Assigned))
	for _, index := range slices.Concat(all.Create, all.Assigned) { // whoever made them
		ids = append(ids, all.IDs[index])
	}
	c.OfFiles, c.Total = len(all.IDs)-len(ids), len(ids)
	p := &provision.Provisioner{Registry: t.Paced, Stop: o.Stop, Progress: o.Progress}
	err = target.WithRemedy(p.Remove(ctx, ids, func(_ int, states []provision.State) error {
		for _, s := range states {
			if s == provision.Removed {
				c.Removed++
			} else {
				c.Missing++
			}
		}
		return nil
	}))
	return c, err
}
