package scenario

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

// How often the audit asks when the scenario does not say: often, and on a hub with limits so that one unit
// of the smallest tier, which allows 20 queries a minute, is left some for others.
const (
	defaultProbe = 500 * time.Millisecond
	limitedProbe = 5 * time.Second
	unsetProbe   = -1

	unsetTolerance = -1
)

// Freshness is the freshness audit.
type Freshness struct {
	Probe     time.Duration // time between probes; 0 for none
	Sample    int           // devices at the most
	Query     string        // a probe of the scenario's own
	Tolerance time.Duration // how much older than what was acknowledged a result may be
	Timeout   time.Duration // after which a report that no result shows timed out
	Settle    time.Duration // how long reports are awaited after the last stage
	Verify    bool          // read the sampled twins at the end
}

// freshFreshness is the audit before anything is said of it.
func freshFreshness() Freshness { return Freshness{Probe: unsetProbe, Tolerance: unsetTolerance} }

func freshnessKeys(x *Freshness) []language.Key {
	return []language.Key{
		key("probe", timing.Duration(&x.Probe, 0), means("500ms; 5s on Azure IoT Hub or with a tier"),
			"How often the audit asks for the sampled devices; 0s leaves it to service.queries that select whole twins. It is the "+
				"resolution of freshness, and every probe is a query that the hub counts and throttles."),
		key("sample", value.Count(&x.Sample, 1, 100_000), is("200"), "Devices that are watched at the most; which ones follows from the seed."),
		key("query", value.Text(&x.Query), means("made from the sample"),
			"A probing query of your own, such as SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'. It must select "+
				"whole twins, or deviceId and properties.reported.$version."),
		key("tolerance", timing.Duration(&x.Tolerance, 0), means("0s on the embedded hub, a second more than its query_lag with one; 5s on other hubs"),
			"How much older than what was acknowledged a result may be before a device counts as missing, extra or stale. Such rows "+
				"fail the run, unless a threshold on correct_rate judges them."),
		key("timeout", timing.Duration(&x.Timeout, timing.Shortest), is("1m"),
			"After how long an acknowledged report that no result has shown counts as timed out."),
		key("settle", timing.Duration(&x.Settle, 0), is("5s"),
			"How long the audit asks on after the last stage for reports that no result has shown."),
		key("verify", value.Bool(&x.Verify), is("true"), "Read the sampled twins at the end: an acknowledged report that is missing fails the run."),
	}
}
