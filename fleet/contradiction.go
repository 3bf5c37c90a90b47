package fleet

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/fault"
	"github.com/twinfleet/twinfleet/fleet/protocol/plain"
	"github.com/twinfleet/twinfleet/internal/fleet/takeover"
	"github.com/twinfleet/twinfleet/internal/fleet/versions"
	"github.com/twinfleet/twinfleet/internal/oserr"
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
	// TakenOver is certain, as the target says so; LikelyTakenOver, and LikelyOneTakenOver of one device, are guesses by how connections end, which may
	// have another reason: one of them is told of, once.
	TakenOver          ContradictionKind = "another client uses the client ids of this run, as the target says: does another run have the same devices?"
	LikelyTakenOver    ContradictionKind = "another client is likely to use the client ids of this run: connections end soon after they begin, again and again; does another run have the same devices, or does the target end them by itself?"
	LikelyOneTakenOver ContradictionKind = "another client is likely to use the client id of a device of this run: its connections end soon after they begin, again and again, whatever it sends; does another run have the same device, or does the target end them by itself?"
	UnknownDelivery    ContradictionKind = "a message arrived that its device never sent; does another run use the topic?"
)

// LoweredQoS is no contradiction, and told of as one is: what a reader of figures has to know, once for each group.
const LoweredQoS ContradictionKind = "the broker grants a lower QoS than its subscribers ask for: deliveries are those of the lower"

// Redirected is none either: where a device is connected whose target sent it to another server, Detail, told when that is another than before.
const Redirected ContradictionKind = "the target sends devices to another server"

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
	text := "the target contradicts itself"
	switch c.Kind {
	case LoweredQoS:
		text = "the target does less than was asked for"
	case LikelyTakenOver, LikelyOneTakenOver:
		text = "something is likely to spoil the run"
	case Redirected:
		text = "devices are redirected"
	}
	f.log.Log(f.ctx, level, text, "device", c.Device, "kind", c.Kind, "detail", c.Detail)
	if hook := f.cfg.OnContradiction; hook != nil {
		hook(c)
	}
}

// lowered notes that a subscription has a lower quality of service than was asked for, and tells of it for the first device of its group.
func (d *device) lowered(granted *link.LoweredError) {
	if d.line != nil {
		d.line.grants(granted.Most)
	}
	if !d.group.lowered.Swap(true) {
		d.contradict(Contradiction{Kind: LoweredQoS, Detail: fmt.Sprintf("%s: QoS %d where QoS %d was asked for", d.group.Name, granted.Granted, granted.Asked)})
	}
}

// sessionTakenOver is the reason code of a connection that another took over (MQTT 5 section 3.14.2.1).
const sessionTakenOver = 0x8e

// up is how many devices are connected.
func (f *Fleet) up() (n int) {
	for _, g := range f.groups {
		n += int(g.states[StateConnected].Load())
	}
	return n
}

// says notes that something is sent, of which a driver tells whether it is acknowledged unless its QoS is 0, and returns when: in nanoseconds since
// 1970, odd for what is acknowledged.
func (d *device) says(qos byte) int64 {
	at := time.Now().UnixNano() &^ 1
	if qos > 0 {
		at |= 1
	}
	d.said.Store(at)
	return at
}

// afterwards is how long after a message with QoS 0 a target may end the connection because of it, beside the time that connecting took.
const afterwards = 100 * time.Millisecond

// busy reports whether the connection that was lost may have ended because of what was sent: that is not acknowledged, or was sent just before.
func (d *device) busy(now time.Time) bool {
	at := d.said.Load()
	return at&1 != 0 || now.Sub(time.Unix(0, at)) <= afterwards+d.back.Sub(d.dialled)
}

// noteLoss finds out whether the connection, which the target or the network ended, is another client's now.
func (d *device) noteLoss(lost error, now time.Time) {
	why := takeover.Other
	var told *link.DisconnectedError
	_, broker := d.group.protocol.(plain.Protocol)
	switch {
	case errors.As(lost, &told) && told.Code == sessionTakenOver:
		why = takeover.Taken
	case broker && told != nil && told.Code == 0, broker && told == nil && (errors.Is(lost, io.EOF) || oserr.Is(lost, oserr.Reset) && !errors.Is(lost, fault.ErrReset)):
		why = takeover.Ended
	}
	switch found := d.fleet.takeovers.Lost(takeover.Loss{Index: d.index, Connected: d.back, At: now, Why: why, Busy: d.busy(now), Others: d.fleet.up() - 1}); found {
	case takeover.Certain:
		d.contradict(Contradiction{Kind: TakenOver, Detail: "DISCONNECT with reason code 142"})
	case takeover.Likely, takeover.Alone:
		kind := LikelyTakenOver
		if found == takeover.Alone {
			kind = LikelyOneTakenOver
		}
		d.contradict(Contradiction{Kind: kind, Detail: "the last connection was ended " + now.Sub(d.back).Round(time.Millisecond).String() + " after it began"})
	}
}

// kindOf is how a finding contradicts what the target said before.
func kindOf(k versions.Kind) ContradictionKind {
	return map[versions.Kind]ContradictionKind{
		versions.Repeated: RepeatedVersion, versions.Fallen: FallenVersion, versions.Lost: LostReports, versions.Risen: RisenVersion,
		versions.FallenDesired: FallenDesired,
	}[k]
}
