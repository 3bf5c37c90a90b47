package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/identity"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// ErrNoRegistry is returned for a scenario whose identities nobody would keep.
var ErrNoRegistry = errors.New("there is nothing to provision")

// RegistryOptions of Provision and Deprovision.
type RegistryOptions struct {
	Scenario *scenario.Scenario // required
	// Stop ends the work politely when it is closed; identity.ErrStopped is then returned.
	Stop <-chan struct{}
	// Progress, which may be nil, is told how far it is. It must be quick.
	Progress func(identity.Progress)
	// Out, which may be nil, takes the connection strings of devices with keys; those that it holds are not
	// made again.
	Out *identity.Out
}

// RegistryCounts is what became of a scenario's identities.
type RegistryCounts struct {
	Total   int // of the scenario, but those of files
	Done    int // found in Out
	Made    int
	Existed int
	Removed int
	Missing int // none to remove
	OfFiles int // devices of files, which are left alone
	Unsaved int // devices with certificates, of which Out holds nothing
}

// open opens a scenario's registry.
func (o *RegistryOptions) open(ctx context.Context) (*target, error) {
	switch o.Scenario.Target.Kind {
	case scenario.Embedded:
		return nil, fmt.Errorf("%w: the embedded hub of a run is gone when the run ends; start twinfleet hub, and give its connection string with --set 'target.hub=${TWINFLEET_HUB}'", ErrNoRegistry)
	case scenario.Broker:
		return nil, fmt.Errorf("%w: a plain broker has no identities", ErrNoRegistry)
	}
	e := New(Options{Scenario: o.Scenario, Recorder: metrics.NewRecorder(metrics.Options{})})
	var err error
	if e.self, err = newSelf(nil, o.Scenario); err != nil {
		return nil, err
	}
	return e.openTarget(ctx)
}

// Provision makes a scenario's identities and leaves them. It may be repeated: those that are there are left as
// they are. The counts are right also when it returns an error.
func Provision(ctx context.Context, o RegistryOptions) (c RegistryCounts, err error) {
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
	defer func() { err = errors.Join(err, t.close()) }()
	all := identitiesOf(o.Scenario, nil)
	c.OfFiles = len(all.ids) - len(all.create)
	c.Total = len(all.create)
	todo := all.create
	if o.Out != nil {
		todo = nil
		for _, index := range all.create {
			if o.Out.Has(all.ids[index]) {
				c.Done++
			} else {
				todo = append(todo, index)
			}
		}
	}
	err = o.make(ctx, t, all, todo, &c)
	if err == nil && o.Out != nil {
		err = o.Out.Sort(all.ids)
	}
	return c, err
}

// make makes the identities with some of the indexes.
func (o *RegistryOptions) make(ctx context.Context, t *target, all *identities, todo []int, c *RegistryCounts) error {
	build := func(first, last int) ([]identity.Device, error) {
		devices := make([]identity.Device, 0, last-first)
		for _, index := range todo[first:last] {
			d, err := all.entry(index)
			if err != nil {
				return nil, err
			}
			if o.Out == nil {
				d.Adopt = identity.AdoptAsIs // nobody asks for its key
			}
			devices = append(devices, d)
		}
		return devices, nil
	}
	p := &identity.Provisioner{Registry: t.paced, Stop: o.Stop, Progress: o.Progress}
	return withRemedy(p.Make(ctx, len(todo), build, func(_ int, devices []identity.Device, states []identity.State) error {
		var rows []iothub.DeviceConnectionString
		for i, d := range devices {
			if states[i] == identity.Made {
				c.Made++
			} else {
				c.Existed++
			}
			if d.Auth.Type == iothub.AuthSAS {
				rows = append(rows, iothub.DeviceConnectionString{HostName: t.hostName, DeviceID: d.ID, Key: d.Auth.SymmetricKey.Primary})
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
func Deprovision(ctx context.Context, o RegistryOptions) (c RegistryCounts, err error) {
	t, err := o.open(ctx)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	all := identitiesOf(o.Scenario, nil)
	ids := make([]string, len(all.create))
	for i, index := range all.create {
		ids[i] = all.ids[index]
	}
	c.OfFiles, c.Total = len(all.ids)-len(ids), len(ids)
	p := &identity.Provisioner{Registry: t.paced, Stop: o.Stop, Progress: o.Progress}
	err = withRemedy(p.Remove(ctx, ids, func(_ int, states []identity.State) error {
		for _, s := range states {
			if s == identity.Removed {
				c.Removed++
			} else {
				c.Missing++
			}
		}
		return nil
	}))
	return c, err
}
