package cut

import (
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/report/human"
)

// TooSmall is the error that agents cannot hold the devices they are to hold.
type TooSmall struct {
	Devices int      // that are to be placed
	Fit     int      // of them, how many have a place
	Agents  int      // how many agents there are, of a fleet that was to be cut
	Needed  int      // how many of the mean capacity would hold it; 0 for not known
	Largest int      // devices on one connection when no agent holds so many; 0 otherwise
	Lost    []string // whose devices they were, by name, when agents were lost
}

// Error says how many devices fit and what would help, in a line.
func (e *TooSmall) Error() string {
	if len(e.Lost) > 0 {
		return fmt.Sprintf("of the %s of %s, which was lost, %s have no place: the other agents have room for %s",
			human.Number(e.Devices, "device"), strings.Join(e.Lost, " and "), human.Count(e.Devices-e.Fit), human.Count(e.Fit))
	}
	text := fmt.Sprintf("%s of %s fit %s", human.Count(e.Fit), human.Number(e.Devices, "device"), human.Number(e.Agents, "agent"))
	switch {
	case e.Largest > 0:
		text += "; no agent holds " + human.Number(e.Largest, "device")
		if e.Largest > 1 {
			text += ", as many as share one connection"
		}
	case e.Needed > 0:
		text += fmt.Sprintf("; %s of that size would hold them", human.Number(e.Needed, "agent"))
	}
	return text
}
