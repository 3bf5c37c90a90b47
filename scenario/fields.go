package scenario

import (
	"math"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/document"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

const (
	most     = math.MaxInt32
	anything = -1  // of an expected number: none is expected
	maxRate  = 1e6 // per second: more than one process starts of anything
)

// key is a row of the table.
func key(name string, v language.Value, d language.Default, doc string) language.Key {
	return language.Key{Name: name, Value: v, Default: d, Doc: doc}
}

// is is a default that is a value, as one would write it, and means one in words.
func is(value string) language.Default { return language.Is(value) }

func means(words string) language.Default { return language.Means(words) }

const none = language.None

// rate reads a rate.
func rate(into **Range) language.Value {
	return value.Rate(func(from, to float64) { *into = &Range{from, to} }, maxRate)
}

// weights reads weights.
func weights(into *[]Weight) language.Value {
	return value.Weights(func(names []string, weights []float64) {
		all := make([]Weight, len(names))
		for i := range all {
			all[i] = Weight{names[i], weights[i]}
		}
		*into = all
	})
}

// scenarioKeys is the whole language: one row a key.
func (r *reader) scenarioKeys(s *Scenario) []language.Key {
	return []language.Key{
		key("name", value.Name(&s.Name), means("the file's name"), "What reports and metrics call the run."),
		key("description", value.Text(&s.Description), none, "What the scenario shows, in a line."),
		key("seed", value.Seed(&s.Seed), is("1"), "Every random choice follows from it: two runs with one seed send the same."),
		key("target", value.Object(targetKeys(&s.Target)), means("the embedded hub"), "What the fleet and the service side are pointed at."),
		key("fleet", value.Object(fleetKeys(&s.Fleet)).Required(), none, "The devices."),
		key("stages", value.List(&s.Stages, freshStage, r.stageKeys, func(t *Stage, p problem.Place) { t.place = p }).Required(), none,
			"What happens when, one stage after the other."),
		key("service", value.Object(r.serviceKeys(&s.Service)), means("none"),
			"The service side: tags, queries, rollouts, methods, twin reads, jobs, and the freshness audit."),
		key("thresholds", r.readThresholds(s), means("none"),
			"Conditions that the run must meet, by operation: a list such as [\"p(95) < 250ms\", \"error_rate < 0.1%\"], or of "+
				"objects with more to say. A key is an operation, or one series of it: twin_report{group=robots}, query{name=redmond}; "+
				"devices; or recovery, the time from the loss of connections until 99 % of the devices are back."),
		key("generator", value.Object(generatorKeys(&s.Generator)), means("judged"), "What the run makes of the generator's own health."),
	}
}

func targetKeys(t *target.Target) []language.Key {
	return []language.Key{
		key("hub", value.Text(&t.Hub), is("embedded"),
			"embedded; a service connection string of an IoT Hub, best as ${TWINFLEET_HUB}; or mqtt://, mqtts://, ws://, wss:// of a "+
				"plain broker."),
		key("ca", value.Text(&t.CA), means("the system's"),
			"File with the certificates to trust, in PEM, for a hub or broker of your own; its path is relative to the scenario."),
		key("plain", value.Bool(&t.Plain), is("false"), "Speak to the hub in clear: for twinfleet hub on this machine, never for Azure."),
		key("keep", value.Bool(&t.Keep), is("false"), "Leave the identities that the run made, for the next one."),
		key("tier", value.OneOf(&t.Tier, "F1", "B1", "B2", "B3", "S1", "S2", "S3"), means("no limits"),
			"Embedded hub: behave like a tier, F1, B1 to B3 or S1 to S3."),
		key("units", value.Count(&t.Units, 1, 200), is("1"), "Embedded hub: units of the tier."),
		key("burst", timing.Duration(&t.Burst, timing.Shortest), is("1m"), "Embedded hub: so much of the tier's rate may come at once."),
		key("query_lag", value.Text(&t.QueryLag).As(form.Times), means("none"),
			"Embedded hub: how long a change stays hidden from queries, 2s or 500ms..3s."),
		key("topic", value.Text(&t.Topic), means("devices/{device}/messages/events/"),
			"Broker: where devices send; {device}, {group} and {index} are replaced."),
		key("username", value.Text(&t.Username), means("none"), "Broker: user name; {device}, {group} and {index} are replaced."),
		key("password", value.Text(&t.Password), means("none"),
			"Broker: password, best from the environment; {device}, {group} and {index} are replaced."),
	}
}

func fleetKeys(f *Fleet) []language.Key {
	return []language.Key{
		key("client", value.OneOf(&f.Client, drivers.Names()...), is(drivers.Default), "The MQTT client that drives the devices."),
		key("source_addresses", value.Texts(&f.SourceAddresses), means("the system's choice"),
			"Local addresses that devices connect from, in turn: each has some 28,000 ports."),
		key("groups", value.List(&f.Groups, value.Empty, groupKeys, func(g *Group, p problem.Place) { g.place = p }).Required(), none,
			"Devices that share a profile."),
	}
}

func groupKeys(g *Group) []language.Key {
	reported, telemetry := reportKeys(&g.Report), telemetryKeys(&g.Telemetry)
	session := []language.Key{
		key("online", timing.Random(&g.Online), none, "How long a device stays: 20m, 5m..30m, exp(20m), normal(20m, 5m)."),
		key("offline", timing.Random(&g.Offline), none, "How long it stays away."),
	}
	tokens := []language.Key{
		key("life", timing.Duration(&g.Tokens.Life, time.Second), is("1h"), "How long a token lives."),
		key("margin", timing.Duration(&g.Tokens.Margin, 0), means("15m, or a quarter of life when that is shorter"),
			"How long before the end the device connects anew."),
		key("spread", timing.Duration(&g.Tokens.Spread, 0), is("0s"),
			"Renewals come up to so much earlier, by chance; 0s renews all devices at once."),
	}
	desired := []language.Key{key("answer", value.Bool(&g.Answer), is("true"), "Answer desired properties in reported, as IoT Plug and Play does.")}
	methods := []language.Key{
		key("delay", timing.Random(&g.Method.Delay), means("0s"), "How long a device takes to answer a direct method."),
		key("status", value.Count(&g.Method.Status, 1, 999), is("200"), "The status of its answer."),
	}
	return append([]language.Key{
		key("name", value.Name(&g.Name).Required(), none, "The group's name, in metrics and device ids."),
		key("count", value.Count(&g.Count, 1, mostDevices), is("1"), "How many devices."),
		key("id", value.Text(&g.ID), is("{group}-{index}"),
			"Device ids; {group} and {index} are replaced, the index with six digits. They stand in topics, so that + and # are none "+
				"of their characters."),
		key("identity", value.Object(identityKeys(&g.Identity)), means("made by the run, with keys of their own"),
			"How devices get to be known by the hub, and prove who they are."),
		key("reported", value.Object(reported), means("nothing is reported"), "What devices report into their twins."),
		key("telemetry", value.Present(&g.Telemetry.Present, telemetry).Part(), means("none"), "Messages that devices send."),
		key("session", value.Object(session), means("always online"), "Churn: devices come and go."),
		key("tokens", value.Present(&g.Tokens.Present, tokens), means("no renewal"), "SAS tokens that end and are renewed by connecting anew."),
		key("backoff", value.OneOf(&g.Backoff, "exponential", "steep", "fixed", "none"), is("exponential"),
			"How devices come back after a loss: exponential (100 ms to 10 s, as the Node SDK, and 10 s to a minute after the hub "+
				"said that it is busy), steep (100 ms, doubled, to 10 s, as the .NET and Java SDKs), fixed (10 s, as the Python SDK), "+
				"none."),
		key("keepalive", timing.KeepAlive(&g.KeepAlive), is("3m"), "MQTT keep-alive, in whole seconds, 65535s at most."),
		key("timeout", timing.Duration(&g.Timeout, timing.Shortest), is("30s"), "How long a device waits for an answer."),
		key("desired", value.Object(desired), means("answered"), "What devices do with desired properties."),
		key("methods", value.Object(methods), means("answered at once"), "How devices answer direct methods."),
	}, loadKeys(g)...)
}

func reportKeys(p *Report) []language.Key {
	connectivity := []language.Key{
		key("type", weights(&p.Types).Required(), none, "The type by weight, {cellular: 60, wifi: 40}, or one name."),
		key("next", readNext(p), means("drawn anew"),
			"The type after another, by weight: {cellular: {cellular: 90, wifi: 10}}. A type without an entry stays."),
	}
	return []language.Key{
		key("connectivity", value.Object(connectivity), none, "The network that a device is on."),
		key("properties", document.Template(&p.Properties), means("none"),
			"Further reported properties, with templates; sent in the order of the file."),
		key("every", timing.Gaps(&p.Every, &p.Gaps), means("once a connection"),
			"How often a device reports: 15s; 10s..20s, after gaps between the two; ~15s, at random and independently, after "+
				"exponential gaps with that mean."),
		key("sync", value.Bool(&p.Sync), is("false"), "All devices report in the same instant, instead of spread over every."),
	}
}

func telemetryKeys(t *Telemetry) []language.Key {
	return []language.Key{
		key("every", timing.Gaps(&t.Every, &t.Gaps), means("only what telemetry_rate asks for"),
			"How often a device sends, likewise: 15s, 10s..20s or ~15s."),
		key("payload", document.Template(&t.Payload), means("{}"),
			"The message, with templates such as {{ normal 21 3 }}, {{ seq }}, {{ now }}, {{ device }}, {{ pick \"a\" \"b\" }}; sent "+
				"in the order of the file."),
		key("qos", value.Count(&t.QoS, 0, 2), is("1"), "Quality of service; IoT Hub takes 0 and 1."),
		key("retain", value.Bool(&t.Retain), is("false"), "Set the retain flag."),
		key("sync", value.Bool(&t.Sync), is("false"), "All devices send in the same instant."),
		key("payload_file", document.Rows(&t.Rows), means("none"),
			"File with a message a row, instead of payload; its path is relative to the scenario. The first line of a .csv or .tsv "+
				"names the members, separated by commas, semicolons, tabs or |; of a .jsonl each line is sent as it is. In UTF-8, or "+
				"UTF-16 with a byte-order mark. Message n of a device, counted from 0, is row (index of the device in the fleet + n) "+
				"modulo rows."),
		key("topic", value.Text(&t.Topic), means("target.topic"),
			"Broker: where the group's devices send; {device}, {group} and {index} are replaced."),
		key("deliveries", value.Count(&t.Deliveries, 0, 10_000), means("not measured"),
			"Broker: how many subscribers of this run get each message. Measures the time until each has it, as the operation "+
				"delivery; the payload carries a mark for that, the member _delivery."),
	}
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
		}
	}
	return []language.Key{
		key("name", value.Name(&t.Name).Required(), none, "The stage's name."),
		key("duration", timing.Duration(&t.Duration, timing.Shortest), means("ends with its last step"), "How long the stage lasts."),
		key("devices", r.goals(t), means("as before"),
			"Active devices at the end of the stage, or a share of all, 100%; the number changes linearly: of n that come or go each "+
				"has an n-th of the stage and is due in its middle. By group, {robots: 100, gates: 50%}, each goes to its own number, or "+
				"share of its devices, and the others stay as they are."),
		key("connect_rate", rate(&t.ConnectRate), means("spread over the duration"),
			"Devices that come, or go, a second until there are as many as devices says: 100/s. The stage then ends, or goes on for "+
				"its duration."),
		key("paused", value.Bool(&t.Paused), is("false"),
			"Devices stay connected and start nothing on their own; what is due meanwhile is dropped and counted."),
		key("report_rate", rate(&t.ReportRate), means("none"),
			"Reports a second of the whole fleet, beside what devices do on their own: 100/s, or 0/s..100/s."),
		key("telemetry_rate", rate(&t.TelemetryRate), means("none"), "Messages a second of the whole fleet."),
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

func serviceModelKeys(m *ServiceModel) []language.Key {
	return []language.Key{
		key("servers", value.Count(&m.Servers, 1, 10_000), is("1"), "How many operations are served at once."),
		key("time", timing.Duration(&m.Time, time.Microsecond).Required(), none, "How long one takes, in the mean."),
		key("distribution", value.OneOf(&m.Distribution, "exponential", "fixed"), is("exponential"), "exponential, or fixed: each takes the same."),
	}
}

func (r *reader) stepKeys(s *Step) []language.Key {
	statistics := func(x *StatisticsStep) []language.Key {
		return []language.Key{key("expect", r.expected(&x.Expect), means("any"), "Identities that there must be.")}
	}
	tag := func(x *TagStep) []language.Key {
		return []language.Key{
			key("group", value.Name(&x.Group).Required(), none, "Whose devices."),
			key("tags", document.Constant(&x.Tags).Required(), none, "The tags."),
		}
	}
	query := func(x *QueryStep) []language.Key {
		return []language.Key{
			key("name", value.Name(&x.Name), none, "One of service.queries; or"),
			key("sql", value.Text(&x.SQL), none, "a query of its own."),
			key("expect", r.expected(&x.Expect), means("any"), "Items that the result must have."),
			key("within", timing.Duration(&x.Within, 0), is("5s"), "How long to ask again until it has."),
		}
	}
	desired := func(x *DesiredStep) []language.Key {
		return []language.Key{
			key("group", value.Name(&x.Group).Required(), none, "Whose devices."),
			key("properties", document.Constant(&x.Properties).Required(), none, "The desired properties."),
			key("within", timing.Duration(&x.Within, 0), means("does not wait"),
				"How long to wait until every connected device of the group has been told."),
		}
	}
	await := func(x *AwaitStep) []language.Key {
		return []language.Key{
			key("connected", r.devices(&x.Connected), means("any"), "Devices that must be connected."),
			key("reported", r.devices(&x.Reported), means("any"), "Devices that must have an acknowledged report."),
			key("within", timing.Duration(&x.Within, 0), is("30s"), "How long to wait."),
		}
	}
	return []language.Key{
		key("statistics", value.Optional(&s.Statistics, func() StatisticsStep { return StatisticsStep{anything} }, statistics), none,
			"Read the registry's statistics."),
		key("tag", value.Optional(&s.Tag, value.Empty, tag), none, "Set tags on a group's devices."),
		key("query", value.Optional(&s.Query, func() QueryStep { return QueryStep{Expect: anything} }, query), none, "Run a query."),
		key("desired", value.Optional(&s.Desired, value.Empty, desired), none, "Write desired properties."),
		key("await", value.Optional(&s.Await, func() AwaitStep { return AwaitStep{Connected: anything, Reported: anything} }, await), none,
			"Wait for the devices."),
	}
}

// readNext reads weights by type.
func readNext(p *Report) language.Value {
	return language.Value{Form: form.Map, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.Fail(path, n, "expected weights by type, found %s", language.KindName(n))
			return
		}
		p.Next = make(map[string][]Weight)
		r.Pairs(path, n, func(key string, _, v *yaml.Node) {
			var w []Weight
			weights(&w).Read(r, language.Join(path, key), v)
			p.Next[key] = w
		})
	}}
}
