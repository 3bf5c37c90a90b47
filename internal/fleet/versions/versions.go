// Package versions keeps account of the $version of a device's twin, and finds what a target says of it that cannot be true.
package versions

import (
	"fmt"
	"slices"
)

// Account is the account of a device's reported properties. The target adds one to their $version with
// every report that it carries out, whether or not that changes anything, and nobody but the device
// writes there (iot-hub-devguide-device-twins). So what it may be follows from what was sent and answered:
//
//	sent 5, of them acknowledged 3 and refused 1:   before + 3 ≤ $version ≤ before + 4
//
// Answers may overtake each other: what an answer is held against is what was known when its request was sent.
type Account struct {
	sent, accepted, refused int64

	known     bool
	low, high int64 // bounds of the $version before the first report, once known
	seen      int64 // the highest $version that an answer told
	top       int64 // the highest that an acknowledgement told
	open      []span
	forgotten int64 // versions up to here may be open: their spans were dropped
	lost      int64 // acknowledged reports that are certain not to be in the twin

	desired int64 // the highest $version of the desired properties that the target told

	values []openValue
}

// Kind says what cannot be true.
type Kind uint8

// The kinds of findings.
const (
	Repeated      Kind = iota + 1 // a $version of reported properties was acknowledged twice
	Fallen                        // the $version of reported properties fell
	Lost                          // acknowledged reports are missing in the $version of a twin
	Risen                         // the $version of reported properties rose by more than the device's reports
	FallenDesired                 // the $version of desired properties fell
)

// Finding is something that the target told and that cannot be true beside what it told before.
type Finding struct {
	Kind   Kind   // what cannot be true
	Detail string // the numbers of it, for people
}

// span is versions from first to last that no acknowledgement told: of reports whose answers are open or lost.
type span struct{ first, last int64 }

// maxSpans bounds the spans of one device.
const maxSpans = 32

// openValue is a connectivity and how many reports of it were neither acknowledged nor refused.
type openValue struct {
	name string
	n    int
}

// Told is what the target had told when a request was sent.
type Told struct{ seen, accepted, desired int64 }

// Told is what the target has told so far.
func (v *Account) Told() Told { return Told{v.seen, v.accepted, v.desired} }

// Sending notes a report of a connectivity, which is empty when the report does not speak of it.
func (v *Account) Sending(connectivity string) {
	v.sent++
	v.count(connectivity, 1)
}

func (v *Account) count(connectivity string, n int) {
	if connectivity == "" {
		return
	}
	i := slices.IndexFunc(v.values, func(x openValue) bool { return x.name == connectivity })
	if i < 0 {
		v.values = append(v.values, openValue{name: connectivity})
		i = len(v.values) - 1
	}
	v.values[i].n += n
}

// Refuse notes that a report was not carried out.
func (v *Account) Refuse(connectivity string) {
	v.refused++
	v.count(connectivity, -1)
}

// Accept notes an acknowledged report; a version of 0 was not told.
func (v *Account) Accept(m Told, connectivity string, version int64) (c Finding, bad bool) {
	v.accepted++
	v.count(connectivity, -1)
	if version <= 0 {
		return c, false
	}
	switch {
	case !v.fresh(version):
		c, bad = Finding{Kind: Repeated, Detail: fmt.Sprintf("version %d was acknowledged a second time", version)}, true
	case version <= m.seen:
		c, bad = Finding{Kind: Fallen, Detail: fmt.Sprintf("version %d was acknowledged after the target had told version %d", version, m.seen)}, true
	}
	return v.fact(c, bad, version, version-(v.sent-v.refused), version-m.accepted-1)
}

// Read notes the $version of a twin that was read.
func (v *Account) Read(m Told, version int64) (c Finding, bad bool) {
	if version <= 0 {
		return c, false
	}
	if version < m.seen {
		c, bad = Finding{Kind: Fallen, Detail: fmt.Sprintf("the twin is at version %d after the target had told version %d", version, m.seen)}, true
	}
	return v.fact(c, bad, version, version-(v.sent-v.refused), version-m.accepted)
}

// ReadDesired notes the $version of the desired properties in a twin that was read.
func (v *Account) ReadDesired(m Told, version int64) (c Finding, bad bool) {
	if version <= 0 {
		return c, false
	}
	if version < m.desired {
		v.desired = version
		return Finding{Kind: FallenDesired, Detail: fmt.Sprintf("the twin has version %d after the target had told version %d", version, m.desired)}, true
	}
	v.desired = max(v.desired, version)
	return c, false
}

// fact takes what an answer tells of the $version before the first report: it was between low and high.
// After a contradiction the account goes on from the new fact, so that one loss is one contradiction.
func (v *Account) fact(c Finding, bad bool, version, low, high int64) (Finding, bool) {
	missing := int64(0)
	if v.known {
		missing = v.low - high
	}
	switch {
	case bad:
		missing = max(missing, 1)
	case missing > 0:
		c, bad = Finding{Kind: Lost, Detail: fmt.Sprintf("version %d is lower by %d than the acknowledged reports make it", version, missing)}, true
	case v.known && low > v.high:
		c, bad = Finding{Kind: Risen, Detail: fmt.Sprintf("version %d is higher by %d than the device's own reports make it", version, low-v.high)}, true
	}
	if !bad {
		if !v.known {
			v.known, v.low, v.high = true, low, high
		}
		v.low, v.high = max(v.low, low), min(v.high, high)
		v.seen = max(v.seen, version)
		return c, false
	}
	if c.Kind != Risen {
		v.lost += missing
	}
	v.known, v.low, v.high, v.seen = true, low, high, version
	v.top, v.open, v.forgotten = min(v.top, version), nil, version-1
	return c, true
}

// fresh notes an acknowledged version; it is false when one acknowledgement has told it before.
func (v *Account) fresh(version int64) bool {
	if version > v.top {
		if version > v.top+1 {
			v.open = append(v.open, span{v.top + 1, version - 1})
		}
		if len(v.open) > maxSpans {
			v.forgotten = v.open[0].last
			v.open = v.open[1:]
		}
		v.top = version
		return true
	}
	for i, s := range v.open {
		if version < s.first || version > s.last {
			continue
		}
		var left []span
		if s.first < version {
			left = append(left, span{s.first, version - 1})
		}
		if version < s.last {
			left = append(left, span{version + 1, s.last})
		}
		v.open = slices.Replace(v.open, i, i+1, left...)
		return true
	}
	return version <= v.forgotten
}

// Desired notes the $version of desired properties that the target sent.
func (v *Account) Desired(version int64) { v.desired = max(v.desired, version) }

// State is what an account comes to.
type State struct {
	Sent      int64    // reports, answered or not
	Accepted  int64    // reports that the target acknowledged
	Lost      int64    // of those, how many are certain not to be in the twin: answers contradicted them
	Low, High int64    // bounds of $version; both are 0 when the target told none
	Open      []string // connectivity of reports that were neither acknowledged nor refused
}

// State is what the reported properties must be like if nothing is sent any more.
func (v *Account) State() State {
	x := State{Sent: v.sent, Accepted: v.accepted, Lost: v.lost}
	if v.known {
		x.Low, x.High = max(v.seen, v.low+v.accepted), v.high+v.sent-v.refused
	}
	for _, o := range v.values {
		if o.n > 0 {
			x.Open = append(x.Open, o.name)
		}
	}
	return x
}
