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
)

// What makes a guess: connections that live no longer than another's back-off, cut again and again, of some devices. A server that
// restarts ends many connections at once, which is no takeover's way, and is reached in vain meanwhile; one that ends connections by a
// rule of its own does so after the same time, which is another than the first back-off of a run like this one.
const (
	longestLife = 15 * time.Second       // the longest back-off is 10 s
	longestGap  = 30 * time.Second       // between two connections of a device
	cycles      = 3                      // short lives in a row
	devices     = 3                      // that have had so many
	together    = 20 * time.Millisecond  // nine tenths of the devices, and three at the least
	spread      = 0.25                   // of the lives' middle, between the longest and the shortest tenth
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
	cut     int          // devices in of that have had enough cycles
	guessed bool         // nothing more is guessed
	lives   []time.Duration
}

// account is what a device has come to.
type account struct {
	cycles int
	lost   time.Time
	lives  [cycles]time.Duration // the last ones
}

type loss struct {
	index int
	at    time.Time
}

// Lost takes that the connection of a device of an index, which began at a time, was lost at another. A finding is told once: of each device when it is
// certain, and once at all when it is likely.
func (d *Detector) Lost(index int, connected, lost time.Time, why Why) Kind {
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
	a.lives[a.cycles%cycles], a.lost = lost.Sub(connected), lost
	if a.cycles++; a.cycles == cycles {
		d.cut++
	}
	if d.cut < devices || !d.differ() {
		return None
	}
	d.guessed = true
	return Likely
}

// Failed takes that a device could not connect: the server is not there, which ends connections as well.
func (d *Detector) Failed(index int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(index)
}

// forget begins a device's account anew.
func (d *Detector) forget(index int) {
	if a := d.of[index]; a != nil && a.cycles >= cycles {
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

// differ reports whether the connections that were cut lived as differently as the back-offs of another client are, or until the other run's first one
// was over: two runs that end each other's connections as soon as they may never come to a longer one.
func (d *Detector) differ() bool {
	d.lives = d.lives[:0]
	for _, a := range d.of {
		if a.cycles >= cycles {
			d.lives = append(d.lives, a.lives[:]...)
		}
	}
	slices.Sort(d.lives)
	n := len(d.lives)
	shortest, middle, longest := d.lives[n/10], d.lives[n/2], d.lives[n-1-n/10]
	return float64(longest-shortest) >= spread*float64(middle) || shortest >= pause-punctual && middle <= pause+punctual
}
