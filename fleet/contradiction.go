package fleet

import (
	"log/slog"

	"github.com/twinfleet/twinfleet/internal/fleet/versions"
)

// ContradictionKind says how a target contradicted itself.
type ContradictionKind string

// The kinds of contradictions.
const (
	RepeatedVersion ContradictionKind = "a $version of reported properties was acknowledged twice"
	FallenVersion   ContradictionKind = "the $version of reported properties fell"
	LostReports     ContradictionKind = "acknowledged reports are missing in the $version of a twin"
	RisenVersion    ContradictionKind = "the $version of reported properties rose by more than the device's reports; does another client use its identity?"
	FallenDesired   ContradictionKind = "the $version of desired properties fell"
	StrangeDelivery ContradictionKind = "a message reached a subscriber to whose topics it does not belong"
	UnknownDelivery ContradictionKind = "a message arrived that its device never sent; does another run use the topic?"
)

// Contradiction is something that a target told and that cannot be true beside what it told before.
type Contradiction struct {
	Index  int               // of the device in the fleet; -1 for the subscriber that is no device
	Device string            // its id; "reader" for the subscriber that is no device
	Kind   ContradictionKind // what cannot be true
	Detail string            // the numbers of it, for people
}

// contradict tells of a contradiction. It must be called without the device's lock.
func (d *device) contradict(c Contradiction) {
	c.Index, c.Device = d.index, d.id
	d.fleet.contradict(c)
}

// contradict tells of a contradiction.
func (f *Fleet) contradict(c Contradiction) {
	// Each device may have some: who takes them tells of them in his own way.
	level := slog.LevelWarn
	if f.cfg.OnContradiction != nil {
		level = slog.LevelInfo
	}
	f.log.Log(f.ctx, level, "the target contradicts itself", "device", c.Device, "kind", c.Kind, "detail", c.Detail)
	if hook := f.cfg.OnContradiction; hook != nil {
		hook(c)
	}
}

// kindOf is how a finding contradicts what the target said before.
func kindOf(k versions.Kind) ContradictionKind {
	return map[versions.Kind]ContradictionKind{
		versions.Repeated: RepeatedVersion, versions.Fallen: FallenVersion, versions.Lost: LostReports, versions.Risen: RisenVersion,
		versions.FallenDesired: FallenDesired,
	}[k]
}
