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
		{"name", formName, "the file's name", "What reports and metrics call the run.", name(&s.Name), nil},
		{"description", formText, "", "What the scenario shows, in a line.", text(&s.Description), nil},
		{"seed", formCount, "1", "Every random choice follows from it: two runs with one seed send the same.", seed(&s.Seed), nil},
		{"target", formObject, "the embedded hub", "What the fleet and the service side are pointed at.", object(targetFields(&s.Target)), targetFields(&s.Target)},
		{"fleet", formObject, "", "The devices.", object(fleetFields(&s.Fleet)), fleetFields(&s.Fleet)},
		{"stages", formList, "", "What happens when, one stage after the other.", list(&s.Stages, freshStage, stageFields, func(t *Stage, p place) { t.place = p }), stageFields(new(Stage))},
		{"service", formObject, "none", "The service side: tags, queries, rollouts, methods, twin reads, jobs, and the freshness audit.", object(serviceFields(&s.Service)), serviceFields(&s.Service)},
		{"thresholds", formBounds, "none", "Conditions that the run must meet, by operation: a list such as [\"p(95) < 250ms\", \"error_rate < 0.1%\"], or of objects with more to say. A key is an operation, or one series of it: twin_report{group=robots}, query{name=redmond}; devices; or recovery, the time from the loss of connections until 99 % of the devices are back.", readThresholds(s), thresholdFields(new(longThreshold))},
		{"generator", formObject, "judged", "What the run makes of the generator's own health.", object(generatorFields(&s.Generator)), generatorFields(&s.Generator)},
	}
}

func targetFields(t *Target) []field {
	return []field{
		{"hub", formText, "embedded", "embedded; a service connection string of an IoT Hub, best as ${TWINFLEET_HUB}; or mqtt://, mqtts://, ws://, wss:// of a plain broker.", text(&t.Hub), nil},
		{"ca", formText, "the system's", "File with the certificates to trust, in PEM, for a hub or broker of your own; its path is relative to the scenario.", text(&t.CA), nil},
		{"plain", formSwitch, "false", "Speak to the hub in clear: for twinfleet hub on this machine, never for Azure.", boolean(&t.Plain), nil},
		{"keep", formSwitch, "false", "Leave the identities that the run made, for the next one.", boolean(&t.Keep), nil},
		{"tier", formText, "no limits", "Embedded hub: behave like a tier, F1, B1 to B3 or S1 to S3.", oneOf(&t.Tier, "F1", "B1", "B2", "B3", "S1", "S2", "S3"), nil},
		{"units", formCount, "1", "Embedded hub: units of the tier.", count(&t.Units, 1, 200), nil},
		{"burst", formTime, "1m", "Embedded hub: so much of the tier's rate may come at once.", duration(&t.Burst, moment), nil},
		{"query_lag", formTimes, "none", "Embedded hub: how long a change stays hidden from queries, 2s or 500ms..3s.", text(&t.QueryLag), nil},
		{"topic", formText, "devices/{device}/messages/events/", "Broker: where devices send; {device}, {group} and {index} are replaced.", text(&t.Topic), nil},
		{"username", formText, "none", "Broker: user name; {device}, {group} and {index} are replaced.", text(&t.Username), nil},
		{"password", formText, "none", "Broker: password, best from the environment; {device}, {group} and {index} are replaced.", text(&t.Password), nil},
	}
}

func fleetFields(f *Fleet) []field {
	return []field{
		{"client", formText, drivers.Default, "The MQTT client that drives the devices.", oneOf(&f.Client, drivers.Names()...), nil},
		{"source_addresses", formTexts, "the system's choice", "Local addresses that devices connect from, in turn: each has some 28,000 ports.", texts(&f.SourceAddresses), nil},
		{"groups", formList, "", "Devices that share a profile.", list(&f.Groups, freshGroup, groupFields, func(g *Group, p place) { g.place = p }), groupFields(new(Group))},
	}
}

func freshGroup() Group {
	return Group{
		Count: 1, ID: "{group}-{index}", Backoff: "exponential", KeepAlive: 3 * time.Minute, Timeout: 30 * time.Second, InFlight: 64, Overflow: "drop",
		Subscribe: Subscribe{QoS: 1}, Answer: true, Method: Method{Status: 200}, Telemetry: Telemetry{QoS: 1},
	}
}

func groupFields(g *Group) []field {
	reported, telemetry := reportFields(&g.Report), telemetryFields(&g.Telemetry)
	session := []field{
		{"online", formTimes, "", "How long a device stays: 20m, 5m..30m, exp(20m), normal(20m, 5m).", distribution(&g.Online), nil},
		{"offline", formTimes, "", "How long it stays away.", distribution(&g.Offline), nil},
	}
	tokens := []field{
		{"life", formTime, "1h", "How long a token lives.", duration(&g.Tokens.Life, time.Second), nil},
		{"margin", formTime, "15m, or a quarter of life when that is shorter", "How long before the end the device connects anew.", duration(&g.Tokens.Margin, 0), nil},
		{"spread", formTime, "0s", "Renewals come up to so much earlier, by chance; 0s renews all devices at once.", duration(&g.Tokens.Spread, 0), nil},
	}
	desired := []field{{"answer", formSwitch, "true", "Answer desired properties in reported, as IoT Plug and Play does.", boolean(&g.Answer), nil}}
	methods := []field{
		{"delay", formTimes, "0s", "How long a device takes to answer a direct method.", distribution(&g.Method.Delay), nil},
		{"status", formCount, "200", "The status of its answer.", count(&g.Method.Status, 1, 999), nil},
	}
	return append([]field{
		{"name", formName, "", "The group's name, in metrics and device ids.", name(&g.Name), nil},
		{"count", formCount, "1", "How many devices.", count(&g.Count, 1, mostDevices), nil},
		{"id", formText, "{group}-{index}", "Device ids; {group} and {index} are replaced, the index with six digits. They stand in topics, so that + and # are none of their characters.", text(&g.ID), nil},
		{"identity", formObject, "made by the run, with keys of their own", "How devices get to be known by the hub, and prove who they are.", object(identityFields(&g.Identity)), identityFields(&g.Identity)},
		{"reported", formObject, "nothing is reported", "What devices report into their twins.", object(reported), reported},
		{"telemetry", formObject, "none", "Messages that devices send.", present(&g.Telemetry.Present, telemetry), telemetry},
		{"session", formObject, "always online", "Churn: devices come and go.", object(session), session},
		{"tokens", formObject, "no renewal", "SAS tokens that end and are renewed by connecting anew.", present(&g.Tokens.Present, tokens), tokens},
		{"backoff", formText, "exponential", "How devices come back after a loss: exponential (100 ms to 10 s, as the Node SDK, and 10 s to a minute after the hub said that it is busy), steep (100 ms, doubled, to 10 s, as the .NET and Java SDKs), fixed (10 s, as the Python SDK), none.", oneOf(&g.Backoff, "exponential", "steep", "fixed", "none"), nil},
		{"keepalive", formTime, "3m", "MQTT keep-alive, in whole seconds, 65535s at most.", keepAlive(&g.KeepAlive), nil},
		{"timeout", formTime, "30s", "How long a device waits for an answer.", duration(&g.Timeout, moment), nil},
		{"desired", formObject, "answered", "What devices do with desired properties.", object(desired), desired},
		{"methods", formObject, "answered at once", "How devices answer direct methods.", object(methods), methods},
	}, loadFields(g)...)
}

func reportFields(p *Report) []field {
	connectivity := []field{
		{"type", formWeights, "", "The type by weight, {cellular: 60, wifi: 40}, or one name.", weights(&p.Types), nil},
		{"next", formMap, "drawn anew", "The type after another, by weight: {cellular: {cellular: 90, wifi: 10}}. A type without an entry stays.", readNext(p), nil},
	}
	return []field{
		{"connectivity", formObject, "", "The network that a device is on.", object(connectivity), connectivity},
		{"properties", formAny, "none", "Further reported properties, with templates; sent in the order of the file.", template(&p.Properties), nil},
		{"every", formGaps, "once a connection", "How often a device reports: 15s; 10s..20s, after gaps between the two; ~15s, at random and independently, after exponential gaps with that mean.", gaps(&p.Every, &p.Gaps), nil},
		{"sync", formSwitch, "false", "All devices report in the same instant, instead of spread over every.", boolean(&p.Sync), nil},
	}
}

func telemetryFields(t *Telemetry) []field {
	return []field{
		{"every", formGaps, "only what telemetry_rate asks for", "How often a device sends, likewise: 15s, 10s..20s or ~15s.", gaps(&t.Every, &t.Gaps), nil},
		{"payload", formAny, "{}", "The message, with templates such as {{ normal 21 3 }}, {{ seq }}, {{ now }}, {{ device }}, {{ pick \"a\" \"b\" }}; sent in the order of the file.", template(&t.Payload), nil},
		{"qos", formCount, "1", "Quality of service; IoT Hub takes 0 and 1.", count(&t.QoS, 0, 2), nil},
		{"retain", formSwitch, "false", "Set the retain flag.", boolean(&t.Retain), nil},
		{"sync", formSwitch, "false", "All devices send in the same instant.", boolean(&t.Sync), nil},
		{"payload_file", formText, "none", "File with a message a row, instead of payload; its path is relative to the scenario. The first line of a .csv or .tsv names the members, separated by commas, semicolons, tabs or |; of a .jsonl each line is sent as it is. In UTF-8, or UTF-16 with a byte-order mark. Message n of a device, counted from 0, is row (index of the device in the fleet + n) modulo rows.", rows(&t.Rows), nil},
		{"topic", formText, "target.topic", "Broker: where the group's devices send; {device}, {group} and {index} are replaced.", text(&t.Topic), nil},
		{"deliveries", formCount, "not measured", "Broker: how many subscribers of this run get each message. Measures the time until each has it, as the operation delivery; the payload carries a mark for that, the member _delivery.", count(&t.Deliveries, 0, 10_000), nil},
	}
}

func freshStage() Stage { return Stage{Devices: anything, Arrivals: "even"} }

func stageFields(t *Stage) []field {
	storm := func(s *Storm) []field {
		return []field{
			{"drop", formShare, "", "Share of the active devices whose connections are cut.", share(&s.Drop), nil},
			{"within", formTime, "0s", "The cuts are spread over so long.", duration(&s.Within, 0), nil},
			{"groups", formTexts, "all", "Whose devices; drop is the share of theirs.", texts(&s.Groups), nil},
		}
	}
	hub := func(h *HubFault) []field {
		return []field{
			{"refuse", formTime, "", "Close new connections for so long.", duration(&h.Refuse, 0), nil},
			{"stall", formTime, "", "Read and answer nothing for so long.", duration(&h.Stall, 0), nil},
			{"restart", formTime, "", "Close all connections and refuse new ones for so long.", duration(&h.Restart, 0), nil},
			{"drop_acks", formShare, "", "Share of the answers to devices that are not sent, until the stage ends.", share(&h.DropAcks), nil},
			{"service", formObject, "at once", "Let twin operations of devices, reports and reads, wait in one queue for servers that take a time for each, until the stage ends.", optional(&h.Service, freshServiceModel, serviceModelFields), serviceModelFields(new(ServiceModel))},
		}
	}
	return []field{
		{"name", formName, "", "The stage's name.", name(&t.Name), nil},
		{"duration", formTime, "ends with its last step", "How long the stage lasts.", duration(&t.Duration, moment), nil},
		{"devices", formGoals, "as before", "Active devices at the end of the stage, or a share of all, 100%; the number changes linearly: of n that come or go each has an n-th of the stage and is due in its middle. By group, {robots: 100, gates: 50%}, each goes to its own number, or share of its devices, and the others stay as they are.", goals(t), nil},
		{"connect_rate", formRate, "spread over the duration", "Devices that come, or go, a second until there are as many as devices says: 100/s. The stage then ends, or goes on for its duration.", rate(&t.ConnectRate), nil},
		{"paused", formSwitch, "false", "Devices stay connected and start nothing on their own; what is due meanwhile is dropped and counted.", boolean(&t.Paused), nil},
		{"report_rate", formRate, "none", "Reports a second of the whole fleet, beside what devices do on their own: 100/s, or 0/s..100/s.", rate(&t.ReportRate), nil},
		{"telemetry_rate", formRate, "none", "Messages a second of the whole fleet.", rate(&t.TelemetryRate), nil},
		{"arrivals", formText, "even", "When operations of report_rate and telemetry_rate are due: even, at equal distances, or poisson, at random and independently of each other, as in queueing theory.", oneOf(&t.Arrivals, "even", "poisson"), nil},
		{"storm", formObject, "none", "Cut connections at the start of the stage, to see the fleet come back.", optional(&t.Storm, func() Storm { return Storm{} }, storm), storm(new(Storm))},
		{"hub", formObject, "none", "Make the embedded hub misbehave from the start of the stage.", optional(&t.Hub, func() HubFault { return HubFault{} }, hub), hub(new(HubFault))},
		{"network", formObject, "good", "Make the network between devices and their target misbehave. Whom it hits follows from the seed.", optional(&t.Network, func() Network { return Network{} }, networkFields), networkFields(new(Network))},
		{"steps", formList, "none", "What the service side does once, in order, at the start of the stage. A step that does not end as expected fails the run.", list(&t.Steps, func() Step { return Step{} }, stepFields, nil), stepFields(new(Step))},
	}
}

func freshServiceModel() ServiceModel { return ServiceModel{Servers: 1, Distribution: "exponential"} }

func serviceModelFields(m *ServiceModel) []field {
	return []field{
		{"servers", formCount, "1", "How many operations are served at once.", count(&m.Servers, 1, 10_000), nil},
		{"time", formTime, "", "How long one takes, in the mean.", duration(&m.Time, time.Microsecond), nil},
		{"distribution", formText, "exponential", "exponential, or fixed: each takes the same.", oneOf(&m.Distribution, "exponential", "fixed"), nil},
	}
}

func stepFields(s *Step) []field {
	statistics := func(x *StatisticsStep) []field {
		return []field{{"expect", formDevices, "any", "Identities that there must be.", expected(&x.Expect), nil}}
	}
	tag := func(x *TagStep) []field {
		return []field{
			{"group", formName, "", "Whose devices.", name(&x.Group), nil},
			{"tags", formAny, "", "The tags.", document(&x.Tags), nil},
		}
	}
	query := func(x *QueryStep) []field {
		return []field{
			{"name", formName, "", "One of service.queries; or", name(&x.Name), nil},
			{"sql", formText, "", "a query of its own.", text(&x.SQL), nil},
			{"expect", formDevices, "any", "Items that the result must have.", expected(&x.Expect), nil},
			{"within", formTime, "5s", "How long to ask again until it has.", duration(&x.Within, 0), nil},
		}
	}
	desired := func(x *DesiredStep) []field {
		return []field{
			{"group", formName, "", "Whose devices.", name(&x.Group), nil},
			{"properties", formAny, "", "The desired properties.", document(&x.Properties), nil},
			{"within", formTime, "does not wait", "How long to wait until every connected device of the group has been told.", duration(&x.Within, 0), nil},
		}
	}
	await := func(x *AwaitStep) []field {
		return []field{
			{"connected", formDevices, "any", "Devices that must be connected.", devices(&x.Connected), nil},
			{"reported", formDevices, "any", "Devices that must have an acknowledged report.", devices(&x.Reported), nil},
			{"within", formTime, "30s", "How long to wait.", duration(&x.Within, 0), nil},
		}
	}
	return []field{
		{"statistics", formObject, "", "Read the registry's statistics.", optional(&s.Statistics, func() StatisticsStep { return StatisticsStep{anything} }, statistics), statistics(new(StatisticsStep))},
		{"tag", formObject, "", "Set tags on a group's devices.", optional(&s.Tag, func() TagStep { return TagStep{} }, tag), tag(new(TagStep))},
		{"query", formObject, "", "Run a query.", optional(&s.Query, func() QueryStep { return QueryStep{Expect: anything, Within: 5 * time.Second} }, query), query(new(QueryStep))},
		{"desired", formObject, "", "Write desired properties.", optional(&s.Desired, func() DesiredStep { return DesiredStep{} }, desired), desired(new(DesiredStep))},
		{"await", formObject, "", "Wait for the devices.", optional(&s.Await, func() AwaitStep { return AwaitStep{anything, anything, 30 * time.Second} }, await), await(new(AwaitStep))},
	}
}

// readNext reads weights by type.
func readNext(p *Report) func(*reader, string, *yaml.Node) {
	return func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.fail(path, n, "expected weights by type, found %s", kindName(n))
			return
		}
		p.Next = make(map[string][]Weight)
		r.pairs(path, n, func(key string, _, v *yaml.Node) {
			var w []Weight
			weights(&w)(r, join(path, key), v)
			p.Next[key] = w
		})
	}
}
