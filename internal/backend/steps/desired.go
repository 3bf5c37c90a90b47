package steps

import (
	"fmt"
	"sync"

	"github.com/twinfleet/twinfleet/fleet"
)

// desiredWatch counts desired properties that reach devices, for the step that waits for them.
type desiredWatch struct {
	mu       sync.Mutex // protects the following fields
	seen     map[int]fleet.DesiredUpdate
	complete int
	partial  int
}

func (w *desiredWatch) arrived(u fleet.DesiredUpdate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = make(map[int]fleet.DesiredUpdate)
	}
	if before, ok := w.seen[u.Index]; !ok || before.Version <= u.Version { // a change may be told of after the whole that holds it
		w.seen[u.Index] = u
	}
	if u.Complete {
		w.complete++
	} else {
		w.partial++
	}
}

// missing is how many devices have not been told of the versions, and what those that were told saw.
func (w *desiredWatch) missing(versions map[int]int64) (n int, told string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var one fleet.DesiredUpdate
	for index, version := range versions {
		u, ok := w.seen[index]
		if !ok || u.Version < version {
			n++
			continue
		}
		one = u
	}
	if one.Device == "" {
		return n, ""
	}
	return n, fmt.Sprintf("%s was told of %s: %s", one.Device, kindOf(one), one.JSON)
}

func kindOf(u fleet.DesiredUpdate) string {
	if u.Complete {
		return "the complete properties"
	}
	return "a partial update"
}

// summary says what devices were told at connecting.
func (w *desiredWatch) summary() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) != 1 {
		return ""
	}
	for _, u := range w.seen {
		return fmt.Sprintf("; %s was told of %s: %s", u.Device, kindOf(u), u.JSON)
	}
	return ""
}
