// Package takeover finds out that another client has the client ids of a fleet, by how its connections end. A server ends the older of two connections
// with one client id (MQTT 3.1.1 section 3.1.4, MQTT 5 section 3.1.4): two runs with the same ids take them from each other in turn.
package takeover

import (
	"slices"
	"sync"
	"time"
)

// Why is how a connection ended that this side did not end.
type Why uint8

// The ways.
const (
	Other Why = iota // anything else: a network that fails, a server that breaks the protocol
	Ended            // the server closed it without a word
	Taken            // the server said that another client took the session over (MQTT 5, reason code 142)
)

// Kind is how sure a finding is.
type Kind uint8

// The kinds of findings.
const (
	None    Kind = iota
	Certain      // the server said so
	Likely       // connections end as if it were so
	Alone        // those of one device do
)

// What makes a guess: connections that live no longer than another's back-off, cut again and again, of some devices, or more often of one or two. A
// server that restarts ends many connections at once, which is no takeover's way, and is reached in vain meanwhile; one that ends connections
// by a rule of its own does so after the same time, which is another than the first back-off of a run like this one, or because of what it was
// sent: what ends while that is not answered is evidence of nothing.
const (
	longestLife = 15 * time.Second       // the longest back-off is 10 s
	longestGap  = 30 * time.Second       // between two connections of a device
	cycles      = 3                      // short lives in a row
	devices     = 3                      // that have had so many
	alone       = 10                     // short lives in a row of a device that is the only one, or has one beside it
	together    = 20 * time.Millisecond  // nine tenths of the devices, and three at the least
	asOne       = 5 * time.Millisecond   // two devices
	spread      = 0.25                   // of the lives' middle, between the longest and the shortest tenth
	leastSpread = 20 * time.Millisecond  // and no less, which is chance
	pause       = 100 * time.Millisecond // the first back-off of exponential and steep
	punctual    = 20 * time.Millisecond  // with which a device is back after it, as a rule
)

// most bounds the devices that are kept account of.
const most = 4096

// Detector finds takeovers in the losses of a fleet. The zero value is ready. It is safe for concurrent use.
type Detector struct {
	mu      sync.Mutex // protects the following fields
	of      map[int]*account
	told    map[int]bool // devices of which the server said it
	recent  []loss       // of the last moment
	cut     int          // devices in of that are cut
	guessed bool         // nothing more is guessed
	lives   []time.Duration
}

// account is what a device has come to.
type account struct {
	cycles   int // connections that ended of nothing that was sent
	busy     int // that may have ended of it
	together int // of either, as one with another device's
	lost     time.Time
	lives    [alone]time.Duration // the last ones of cycles
}

// isCut reports whether connections of the device end again and again, and of nothing that is sent.
func (a *account) isCut() bool { return a != nil && a.cycles >= cycles && a.cycles >= a.busy }

// last are the last lives, in no order.
func (a *account) last() []time.Duration { return a.lives[:min(a.cycles, alone)] }

type loss struct {
	index int
	at    time.Time
}

// Loss is how a connection was lost.
type Loss struct {
	Index     int       // of the device
	Connected time.Time // when it began
	At        time.Time // when it was lost
	Why       Why       // how it ended
	Busy      bool      // something was sent on it just before, or is not acknowledged
	Others    int       // devices that are connected beside
}

// Lost takes that a connection was lost. A finding is told once: of each device when it is certain, and once at all when it is likely.
func (d *Detector) Lost(x Loss) Kind {
	index, connected, lost, why, busy := x.Index, x.Connected, x.At, x.Why, x.Busy
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of, d.told = make(map[int]*account), make(map[int]bool)
	}
	switch {
	case why == Taken && !d.told[index] && len(d.told) < most:
		d.told[index], d.guessed = true, true
		return Certain
	case d.guessed:
		return None
	case why == Other, lost.Sub(connected) > longestLife:
		d.forget(index)
		return None
	}
	if d.atOnce(index, lost) {
		return None
	}
	a := d.of[index]
	switch {
	case a == nil && len(d.of) >= most:
		return None
	case a == nil:
		a = new(account)
		d.of[index] = a
	case connected.Sub(a.lost) > longestGap:
		d.forget(index)
		a = new(account)
		d.of[index] = a
	}
	was := a.isCut()
	a.lost = lost
	d.meets(index, lost, a)
	if busy {
		a.busy++
	} else {
		a.lives[a.cycles%alone] = lost.Sub(connected)
		a.cycles++
	}
	switch is := a.isCut(); {
	case is && !was:
		d.cut++
	case was && !is:
		d.cut--
	}
	switch {
	case busy:
		return None
	case d.cut >= devices && d.differ():
		d.guessed = true
		return Likely
	case a.cycles >= alone && a.isAlone(x.Others) && d.few(lost) && differ(slices.Sorted(slices.Values(a.last()))):
		d.guessed = true
		return Alone
	}
	return None
}

// isAlone reports whether connections of the device end for no reason that is known: not of what it sends, nor, unless enough others stay, as one with
// another's, as when the network between fails.
func (a *account) isAlone(others int) bool {
	shared := a.together
	if others >= devices {
		shared = 0
	}
	return 2*(a.busy+shared) <= a.cycles
}

// meets notes whose connections ended as one with that of a device.
func (d *Detector) meets(index int, lost time.Time, a *account) {
	for _, x := range d.recent {
		if other := d.of[x.index]; x.index != index && other != nil && lost.Sub(x.at) <= asOne {
			other.together++
			a.together++
		}
	}
}

// few reports whether fewer devices than make a guess of their own have lost connections again and again of late.
func (d *Detector) few(now time.Time) bool {
	n := 0
	for _, a := range d.of {
		if a.cycles+a.busy >= cycles && now.Sub(a.lost) <= longestGap {
			n++
		}
	}
	return n < devices
}

// Failed takes that a device could not connect: the server is not there, which ends connections as well.
func (d *Detector) Failed(index int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(index)
}

// forget begins a device's account anew.
func (d *Detector) forget(index int) {
	if d.of[index].isCut() {
		d.cut--
	}
	delete(d.of, index)
}

// atOnce reports whether connections end together, as when the server or the network between fails: then all that was counted is worth nothing.
func (d *Detector) atOnce(index int, lost time.Time) bool {
	d.recent = slices.DeleteFunc(d.recent, func(x loss) bool { return lost.Sub(x.at) > together })
	if len(d.recent) < most {
		d.recent = append(d.recent, loss{index, lost})
	}
	if n := len(d.recent); n < devices || n*10 < len(d.of)*9 {
		return false
	}
	clear(d.of)
	d.cut = 0
	return true
}

// differ reports whether the connections that were cut lived as differently as another client's back-offs make them.
func (d *Detector) differ() bool {
	d.lives = d.lives[:0]
	for _, a := range d.of {
		if a.isCut() {
			d.lives = append(d.lives, a.last()...)
		}
	}
	slices.Sort(d.lives)
	return differ(d.lives)
}

// differ reports whether lives, in their order, are as different as the back-offs of another client are, or lasted until the other run's first one
// was over: two runs that end each other's connections as soon as they may never come to a longer one.
func differ(lives []time.Duration) bool {
	n := len(lives)
	shortest, middle, longest := lives[n/10], lives[n/2], lives[n-1-n/10]
	return longest-shortest >= max(leastSpread, time.Duration(spread*float64(middle))) || shortest >= pause-punctual && middle <= pause+punctual
}
