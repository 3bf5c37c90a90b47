package threshold

import (
	"fmt"
	"time"
)

// Scope says over what a threshold is judged, and what follows when it does not hold. The zero value
// judges the whole run once, at its end.
type Scope struct {
	// Stage is the one stage whose operations count; empty for the whole run. A whole-run figure
	// hides an outage at the end of a ramp.
	Stage string
	// Window, when it is not 0, judges every stretch of this length instead of all at once, a second after the other. A stretch in which work
	// was due and none ended is missed; one in which nothing was due is passed over. At most MaxWindow.
	Window time.Duration
	// For is how long windows must go on missing before that counts, as in an alerting rule; 0 counts the first.
	For time.Duration
	// Abort ends the run as soon as the threshold is missed.
	Abort bool
	// Delay is how much of the scope must have passed before Abort ends the run; 0 ends it at once.
	Delay time.Duration
}

// MaxWindow is the longest Scope.Window: so many seconds of snapshots are kept.
const MaxWindow = 10 * time.Minute

// String is the scope as verdicts write it; empty for the whole run.
func (s Scope) String() string {
	text := ""
	add := func(format string, a ...any) {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf(format, a...)
	}
	if s.Stage != "" {
		add("stage %s", s.Stage)
	}
	if s.Window > 0 {
		add("every %v", s.Window)
	}
	if s.For > 0 {
		add("for %v", s.For)
	}
	return text
}
