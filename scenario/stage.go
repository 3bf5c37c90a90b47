package scenario

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Stage is a stretch of the run.
type Stage struct {
	Name          string        // differs from those of other stages
	Duration      time.Duration // 0 ends the stage with its last step
	Devices       int           // active devices at the end of the stage; below 0 leaves them as they are
	ByGroup       []int         // active devices of each group at the end of the stage, below 0 for as before; nil when the stage says nothing of groups
	Course        *Shape        // how the number of devices goes to Devices, when that is no straight line; nil when it is
	ConnectRate   *Range        // devices that come or go a second, until there are Devices; nil spreads them over Duration
	Paused        bool          // devices stay connected and start nothing on their own
	ReportRate    *Range        // of the whole fleet
	TelemetryRate *Range        // of the whole fleet
	Arrivals      string        // of those two rates: even or poisson
	Storm         *Storm        // nil cuts nothing
	Hub           *HubFault     // nil for a hub that behaves
	Network       *Network      // nil for a good network
	Steps         []Step        // in this order
	slowed        bool          // ConnectRate is what a provisioning service takes: the file says none
	goals         []goal        // what the file says by group
	active        []int         // active devices of each group at the end of the stage; nil when no stage tells them apart
	place         problem.Place
}

// Storm cuts connections at the start of a stage.
type Storm struct {
	Drop   float64       // share of the connected devices
	Within time.Duration // the cuts are spread over so long; 0 for all at once
	Groups []string      // whose devices; empty for all
}

// HubFault makes the embedded hub misbehave from the start of a stage.
type HubFault struct {
	Refuse   time.Duration // for how long to close new connections; 0 for not at all
	Stall    time.Duration // for how long to read and answer nothing; likewise
	Restart  time.Duration // close all connections and refuse new ones for so long; likewise
	DropAcks float64       // share of the answers that are not sent, until the stage ends
	Service  *ServiceModel // the time that twin operations of devices take, until the stage ends
	DPS      *DPSFault     // what its provisioning service does wrong, until the stage ends; nil for nothing
}

// DPSFault makes the provisioning service of the embedded hub misbehave.
type DPSFault struct {
	Registrations int           // that it takes in a minute, 1 to 1,000,000; 0 for all
	Polls         int           // that it answers in a minute; likewise
	Delay         time.Duration // that a registration is assigning, on top of the time that it takes
	Fail          float64       // share of registrations that end as failed
}

// ServiceModel is a queue before servers: the embedded hub's time for a twin operation of a device.
type ServiceModel struct {
	Servers      int           // operations served at once, 1 to 10,000
	Time         time.Duration // mean of one operation
	Distribution string        // exponential or fixed
}

func freshStage() Stage { return Stage{Devices: anything} }

func (r *reader) stageKeys(t *Stage) []language.Key {
	storm := func(s *Storm) []language.Key {
		return []language.Key{
			key("drop", value.Share(&s.Drop).Required(), none, "Share of the active devices whose connections are cut."),
			key("within", timing.Duration(&s.Within, 0), is("0s"), "The cuts are spread over so long."),
			key("groups", value.Texts(&s.Groups), means("all"), "Whose devices; drop is the share of theirs."),
		}
	}
	hub := func(h *HubFault) []language.Key {
		return []language.Key{
			key("refuse", timing.Duration(&h.Refuse, 0), none, "Close new connections for so long."),
			key("stall", timing.Duration(&h.Stall, 0), none, "Read and answer nothing for so long."),
			key("restart", timing.Duration(&h.Restart, 0), none, "Close all connections and refuse new ones for so long."),
			key("drop_acks", value.Share(&h.DropAcks), none, "Share of the answers to devices that are not sent, until the stage ends."),
			key("service", value.Optional(&h.Service, value.Empty, serviceModelKeys), means("at once"),
				"Let twin operations of devices, reports and reads, wait in one queue for servers that take a time for each, until the "+
					"stage ends."),
			key("dps", value.Optional(&h.DPS, value.Empty, dpsFaultKeys), means("as it should"),
				"Make the embedded hub's provisioning service misbehave, until the stage ends."),
		}
	}
	return []language.Key{
		key("name", value.Name(&t.Name).Required(), none, "The stage's name."),
		key("duration", timing.Duration(&t.Duration, timing.Shortest), means("ends with its last step"), "How long the stage lasts."),
		key("devices", r.goals(t), means("as before"),
			"Active devices at the end of the stage, or a share of all, 100%; the number changes linearly: of n that come or go each "+
				"has an n-th of the stage and is due in its middle. By group, {robots: 100, gates: 50%}, each goes to its own number, or "+
				"share of its devices, and the others stay as they are. points and sine say how the number of all changes when that is no straight line."),
		key("connect_rate", r.shaped(&t.ConnectRate), means("spread over the duration"),
			"Devices that come, or go, a second until there are as many as devices says: 100/s. The stage then ends, or goes on for "+
				"its duration. Devices that provision at Azure come at 15/s at most unless it is given: its service takes 1,000 registrations a minute."),
		key("paused", value.Bool(&t.Paused), is("false"),
			"Devices stay connected and start nothing on their own; what is due meanwhile is dropped and counted."),
		key("report_rate", r.shaped(&t.ReportRate), means("none"),
			"Reports a second of the whole fleet, beside what devices do on their own: 100/s, 0/s..100/s for a ramp, or by points or a sine."),
		key("telemetry_rate", r.shaped(&t.TelemetryRate), means("none"), "Messages a second of the whole fleet, likewise."),
		key("arrivals", value.OneOf(&t.Arrivals, "even", "poisson"), is("even"),
			"When operations of report_rate and telemetry_rate are due: even, at equal distances, or poisson, at random and "+
				"independently of each other, as in queueing theory."),
		key("storm", value.Optional(&t.Storm, value.Empty, storm), means("none"),
			"Cut connections at the start of the stage, to see the fleet come back."),
		key("hub", value.Optional(&t.Hub, value.Empty, hub), means("none"), "Make the embedded hub misbehave from the start of the stage."),
		key("network", value.Optional(&t.Network, value.Empty, networkKeys), means("good"),
			"Make the network between devices and their target misbehave. Whom it hits follows from the seed."),
		key("steps", value.List(&t.Steps, value.Empty, r.stepKeys, nil), means("none"),
			"What the service side does once, in order, at the start of the stage. A step that does not end as expected fails the "+
				"run."),
	}
}

func dpsFaultKeys(f *DPSFault) []language.Key {
	return []language.Key{
		key("registrations_per_minute", value.Count(&f.Registrations, 1, 1_000_000), means("all"),
			"Registrations that it takes in a minute, at once when the minute before was quiet; 429 answers those on top. Azure's takes 1,000."),
		key("polls_per_minute", value.Count(&f.Polls, 1, 1_000_000), means("all"), "Polls that it answers in a minute, likewise."),
		key("delay", timing.Duration(&f.Delay, 0), is("0s"), "How much longer a registration is assigning."),
		key("fail", value.Share(&f.Fail), is("0%"), "Share of registrations that end as failed, as when a custom allocation says no."),
	}
}

func serviceModelKeys(m *ServiceModel) []language.Key {
	return []language.Key{
		key("servers", value.Count(&m.Servers, 1, 10_000), is("1"), "How many operations are served at once."),
		key("time", timing.Duration(&m.Time, time.Microsecond).Required(), none, "How long one takes, in the mean."),
		key("distribution", value.OneOf(&m.Distribution, "exponential", "fixed"), is("exponential"), "exponential, or fixed: each takes the same."),
	}
}
