package scenario

import (
	"math"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/fleet/link/drivers"
)

const (
	most     = math.MaxInt32
	anything = -1 // of an expected number: none is expected
	moment   = time.Millisecond
	second   = time.Second
)

// scenarioFields is the whole language: one row a key.
func scenarioFields(s *Scenario) []field {
	return []field{
		{"name", name(&s.Name), means("the file's name"), "What reports and metrics call the run."},
		{"description", text(&s.Description), none, "What the scenario shows, in a line."},
		{"seed", seed(&s.Seed), is("1"), "Every random choice follows from it: two runs with one seed send the same."},
		{"target", object(targetFields(&s.Target)), means("the embedded hub"), "What the fleet and the service side are pointed at."},
		{"fleet", object(fleetFields(&s.Fleet)).required(), none, "The devices."},
		{"stages", list(&s.Stages, freshStage, stageFields, func(t *Stage, p place) { t.place = p }).required(), none, "What happens when, one stage after the other."},
		{"service", object(serviceFields(&s.Service)), means("none"), "The service side: tags, queries, rollouts, methods, twin reads, jobs, and the freshness audit."},
		{"thresholds", readThresholds(s), means("none"), "Conditions that the run must meet, by operation: a list such as [\"p(95) < 250ms\", \"error_rate < 0.1%\"], or of objects with more to say. A key is an operation, or one series of it: twin_report{group=robots}, query{name=redmond}; devices; or recovery, the time from the loss of connections until 99 % of the devices are back."},
		{"generator", object(generatorFields(&s.Generator)), means("judged"), "What the run makes of the generator's own health."},
	}
}

func targetFields(t *Target) []field {
	return []field{
		{"hub", text(&t.Hub), is("embedded"), "embedded; a service connection string of an IoT Hub, best as ${TWINFLEET_HUB}; or mqtt://, mqtts://, ws://, wss:// of a plain broker."},
		{"ca", text(&t.CA), means("the system's"), "File with the certificates to trust, in PEM, for a hub or broker of your own; its path is relative to the scenario."},
		{"plain", boolean(&t.Plain), is("false"), "Speak to the hub in clear: for twinfleet hub on this machine, never for Azure."},
		{"keep", boolean(&t.Keep), is("false"), "Leave the identities that the run made, for the next one."},
		{"tier", oneOf(&t.Tier, "F1", "B1", "B2", "B3", "S1", "S2", "S3"), means("no limits"), "Embedded hub: behave like a tier, F1, B1 to B3 or S1 to S3."},
		{"units", count(&t.Units, 1, 200), is("1"), "Embedded hub: units of the tier."},
		{"burst", duration(&t.Burst, moment), is("1m"), "Embedded hub: so much of the tier's rate may come at once."},
		{"query_lag", text(&t.QueryLag).as(formTimes), means("none"), "Embedded hub: how long a change stays hidden from queries, 2s or 500ms..3s."},
		{"topic", text(&t.Topic), means("devices/{device}/messages/events/"), "Broker: where devices send; {device}, {group} and {index} are replaced."},
		{"username", text(&t.Username), means("none"), "Broker: user name; {device}, {group} and {index} are replaced."},
		{"password", text(&t.Password), means("none"), "Broker: password, best from the environment; {device}, {group} and {index} are replaced."},
	}
}

func fleetFields(f *Fleet) []field {
	return []field{
		{"client", oneOf(&f.Client, drivers.Names()...), is(drivers.Default), "The MQTT client that drives the devices."},
		{"source_addresses", texts(&f.SourceAddresses), means("the system's choice"), "Local addresses that devices connect from, in turn: each has some 28,000 ports."},
		{"groups", list(&f.Groups, empty, groupFields, func(g *Group, p place) { g.place = p }).required(), none, "Devices that share a profile."},
	}
}

func groupFields(g *Group) []field {
	reported, telemetry := reportFields(&g.Report), telemetryFields(&g.Telemetry)
	session := []field{
		{"online", distribution(&g.Online), none, "How long a device stays: 20m, 5m..30m, exp(20m), normal(20m, 5m)."},
		{"offline", distribution(&g.Offline), none, "How long it stays away."},
	}
	tokens := []field{
		{"life", duration(&g.Tokens.Life, time.Second), is("1h"), "How long a token lives."},
		{"margin", duration(&g.Tokens.Margin, 0), means("15m, or a quarter of life when that is shorter"), "How long before the end the device connects anew."},
		{"spread", duration(&g.Tokens.Spread, 0), is("0s"), "Renewals come up to so much earlier, by chance; 0s renews all devices at once."},
	}
	desired := []field{{"answer", boolean(&g.Answer), is("true"), "Answer desired properties in reported, as IoT Plug and Play does."}}
	methods := []field{
		{"delay", distribution(&g.Method.Delay), means("0s"), "How long a device takes to answer a direct method."},
		{"status", count(&g.Method.Status, 1, 999), is("200"), "The status of its answer."},
	}
	return append([]field{
		{"name", name(&g.Name).required(), none, "The group's name, in metrics and device ids."},
		{"count", count(&g.Count, 1, mostDevices), is("1"), "How many devices."},
		{"id", text(&g.ID), is("{group}-{index}"), "Device ids; {group} and {index} are replaced, the index with six digits. They stand in topics, so that + and # are none of their characters."},
		{"identity", object(identityFields(&g.Identity)), means("made by the run, with keys of their own"), "How devices get to be known by the hub, and prove who they are."},
		{"reported", object(reported), means("nothing is reported"), "What devices report into their twins."},
		{"telemetry", present(&g.Telemetry.Present, telemetry).part(), means("none"), "Messages that devices send."},
		{"session", object(session), means("always online"), "Churn: devices come and go."},
		{"tokens", present(&g.Tokens.Present, tokens), means("no renewal"), "SAS tokens that end and are renewed by connecting anew."},
		{"backoff", oneOf(&g.Backoff, "exponential", "steep", "fixed", "none"), is("exponential"), "How devices come back after a loss: exponential (100 ms to 10 s, as the Node SDK, and 10 s to a minute after the hub said that it is busy), steep (100 ms, doubled, to 10 s, as the .NET and Java SDKs), fixed (10 s, as the Python SDK), none."},
		{"keepalive", keepAlive(&g.KeepAlive), is("3m"), "MQTT keep-alive, in whole seconds, 65535s at most."},
		{"timeout", duration(&g.Timeout, moment), is("30s"), "How long a device waits for an answer."},
		{"desired", object(desired), means("answered"), "What devices do with desired properties."},
		{"methods", object(methods), means("answered at once"), "How devices answer direct methods."},
	}, loadFields(g)...)
}

func reportFields(p *Report) []field {
	connectivity := []field{
		{"type", weights(&p.Types).required(), none, "The type by weight, {cellular: 60, wifi: 40}, or one name."},
		{"next", readNext(p), means("drawn anew"), "The type after another, by weight: {cellular: {cellular: 90, wifi: 10}}. A type without an entry stays."},
	}
	return []field{
		{"connectivity", object(connectivity), none, "The network that a device is on."},
		{"properties", template(&p.Properties), means("none"), "Further reported properties, with templates; sent in the order of the file."},
		{"every", gaps(&p.Every, &p.Gaps), means("once a connection"), "How often a device reports: 15s; 10s..20s, after gaps between the two; ~15s, at random and independently, after exponential gaps with that mean."},
		{"sync", boolean(&p.Sync), is("false"), "All devices report in the same instant, instead of spread over every."},
	}
}

func telemetryFields(t *Telemetry) []field {
	return []field{
		{"every", gaps(&t.Every, &t.Gaps), means("only what telemetry_rate asks for"), "How often a device sends, likewise: 15s, 10s..20s or ~15s."},
		{"payload", template(&t.Payload), means("{}"), "The message, with templates such as {{ normal 21 3 }}, {{ seq }}, {{ now }}, {{ device }}, {{ pick \"a\" \"b\" }}; sent in the order of the file."},
		{"qos", count(&t.QoS, 0, 2), is("1"), "Quality of service; IoT Hub takes 0 and 1."},
		{"retain", boolean(&t.Retain), is("false"), "Set the retain flag."},
		{"sync", boolean(&t.Sync), is("false"), "All devices send in the same instant."},
		{"payload_file", rows(&t.Rows), means("none"), "File with a message a row, instead of payload; its path is relative to the scenario. The first line of a .csv or .tsv names the members, separated by commas, semicolons, tabs or |; of a .jsonl each line is sent as it is. In UTF-8, or UTF-16 with a byte-order mark. Message n of a device, counted from 0, is row (index of the device in the fleet + n) modulo rows."},
		{"topic", text(&t.Topic), means("target.topic"), "Broker: where the group's devices send; {device}, {group} and {index} are replaced."},
		{"deliveries", count(&t.Deliveries, 0, 10_000), means("not measured"), "Broker: how many subscribers of this run get each message. Measures the time until each has it, as the operation delivery; the payload carries a mark for that, the member _delivery."},
	}
}

func freshStage() Stage { return Stage{Devices: anything} }

func stageFields(t *Stage) []field {
	storm := func(s *Storm) []field {
		return []field{
			{"drop", share(&s.Drop).required(), none, "Share of the active devices whose connections are cut."},
			{"within", duration(&s.Within, 0), is("0s"), "The cuts are spread over so long."},
			{"groups", texts(&s.Groups), means("all"), "Whose devices; drop is the share of theirs."},
		}
	}
	hub := func(h *HubFault) []field {
		return []field{
			{"refuse", duration(&h.Refuse, 0), none, "Close new connections for so long."},
			{"stall", duration(&h.Stall, 0), none, "Read and answer nothing for so long."},
			{"restart", duration(&h.Restart, 0), none, "Close all connections and refuse new ones for so long."},
			{"drop_acks", share(&h.DropAcks), none, "Share of the answers to devices that are not sent, until the stage ends."},
			{"service", optional(&h.Service, empty, serviceModelFields), means("at once"), "Let twin operations of devices, reports and reads, wait in one queue for servers that take a time for each, until the stage ends."},
		}
	}
	return []field{
		{"name", name(&t.Name).required(), none, "The stage's name."},
		{"duration", duration(&t.Duration, moment), means("ends with its last step"), "How long the stage lasts."},
		{"devices", goals(t), means("as before"), "Active devices at the end of the stage, or a share of all, 100%; the number changes linearly: of n that come or go each has an n-th of the stage and is due in its middle. By group, {robots: 100, gates: 50%}, each goes to its own number, or share of its devices, and the others stay as they are."},
		{"connect_rate", rate(&t.ConnectRate), means("spread over the duration"), "Devices that come, or go, a second until there are as many as devices says: 100/s. The stage then ends, or goes on for its duration."},
		{"paused", boolean(&t.Paused), is("false"), "Devices stay connected and start nothing on their own; what is due meanwhile is dropped and counted."},
		{"report_rate", rate(&t.ReportRate), means("none"), "Reports a second of the whole fleet, beside what devices do on their own: 100/s, or 0/s..100/s."},
		{"telemetry_rate", rate(&t.TelemetryRate), means("none"), "Messages a second of the whole fleet."},
		{"arrivals", oneOf(&t.Arrivals, "even", "poisson"), is("even"), "When operations of report_rate and telemetry_rate are due: even, at equal distances, or poisson, at random and independently of each other, as in queueing theory."},
		{"storm", optional(&t.Storm, empty, storm), means("none"), "Cut connections at the start of the stage, to see the fleet come back."},
		{"hub", optional(&t.Hub, empty, hub), means("none"), "Make the embedded hub misbehave from the start of the stage."},
		{"network", optional(&t.Network, empty, networkFields), means("good"), "Make the network between devices and their target misbehave. Whom it hits follows from the seed."},
		{"steps", list(&t.Steps, empty, stepFields, nil), means("none"), "What the service side does once, in order, at the start of the stage. A step that does not end as expected fails the run."},
	}
}

func serviceModelFields(m *ServiceModel) []field {
	return []field{
		{"servers", count(&m.Servers, 1, 10_000), is("1"), "How many operations are served at once."},
		{"time", duration(&m.Time, time.Microsecond).required(), none, "How long one takes, in the mean."},
		{"distribution", oneOf(&m.Distribution, "exponential", "fixed"), is("exponential"), "exponential, or fixed: each takes the same."},
	}
}

func stepFields(s *Step) []field {
	statistics := func(x *StatisticsStep) []field {
		return []field{{"expect", expected(&x.Expect), means("any"), "Identities that there must be."}}
	}
	tag := func(x *TagStep) []field {
		return []field{
			{"group", name(&x.Group).required(), none, "Whose devices."},
			{"tags", document(&x.Tags).required(), none, "The tags."},
		}
	}
	query := func(x *QueryStep) []field {
		return []field{
			{"name", name(&x.Name), none, "One of service.queries; or"},
			{"sql", text(&x.SQL), none, "a query of its own."},
			{"expect", expected(&x.Expect), means("any"), "Items that the result must have."},
			{"within", duration(&x.Within, 0), is("5s"), "How long to ask again until it has."},
		}
	}
	desired := func(x *DesiredStep) []field {
		return []field{
			{"group", name(&x.Group).required(), none, "Whose devices."},
			{"properties", document(&x.Properties).required(), none, "The desired properties."},
			{"within", duration(&x.Within, 0), means("does not wait"), "How long to wait until every connected device of the group has been told."},
		}
	}
	await := func(x *AwaitStep) []field {
		return []field{
			{"connected", devices(&x.Connected), means("any"), "Devices that must be connected."},
			{"reported", devices(&x.Reported), means("any"), "Devices that must have an acknowledged report."},
			{"within", duration(&x.Within, 0), is("30s"), "How long to wait."},
		}
	}
	return []field{
		{"statistics", optional(&s.Statistics, func() StatisticsStep { return StatisticsStep{anything} }, statistics), none, "Read the registry's statistics."},
		{"tag", optional(&s.Tag, empty, tag), none, "Set tags on a group's devices."},
		{"query", optional(&s.Query, func() QueryStep { return QueryStep{Expect: anything} }, query), none, "Run a query."},
		{"desired", optional(&s.Desired, empty, desired), none, "Write desired properties."},
		{"await", optional(&s.Await, func() AwaitStep { return AwaitStep{Connected: anything, Reported: anything} }, await), none, "Wait for the devices."},
	}
}

// readNext reads weights by type.
func readNext(p *Report) value {
	return value{form: formMap, read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.fail(path, n, "expected weights by type, found %s", kindName(n))
			return
		}
		p.Next = make(map[string][]Weight)
		r.pairs(path, n, func(key string, _, v *yaml.Node) {
			var w []Weight
			weights(&w).read(r, join(path, key), v)
			p.Next[key] = w
		})
	}}
}
