package scenario

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// everyObject is a scenario that has every object of the language and leaves out whatever it can.
const everyObject = `
target: {hub: embedded}
fleet:
  groups:
    - {name: robots, reported: {connectivity: {type: wifi}}, telemetry: {payload_bytes: {zero: 1B}}, session: {online: 1m, offline: 1m}, tokens: {}, desired: {}, methods: {}}
    - {name: gates}
    - {name: doors, identity: {x509: {}}}
    - {name: homes, identity: {dps: {x509: {}}}}
stages:
  - name: ramp
    devices: 1
    duration: 1h
    storm: {drop: 1%}
    hub: {}
    network: {half_open: 1%, partition: {share: 1%}}
    steps: [{statistics: {}}, {tag: {group: robots, tags: {a: 1}}}, {query: {name: all}}, {desired: {group: robots, properties: {a: 1}}}, {await: {}}]
  - {name: more, duration: 1h, network: {latency: 1s}}
  - name: waves
    duration: 1h
    devices: {sine: {mean: 1, amplitude: 1, period: 1m}}
    report_rate: {sine: {mean: 1/s, amplitude: 1/s, period: 1m}}
    telemetry_rate: {sine: {mean: 1/s, amplitude: 1/s, period: 1m}}
  - {name: come, duration: 1h, devices: 2, connect_rate: {sine: {mean: 1/s, amplitude: 1/s, period: 1m}}}
  - {name: serve, duration: 1h, hub: {service: {time: 1ms}, dps: {}}}
service:
  queries: [{name: all, sql: SELECT * FROM devices}]
  rollouts: [{name: r, group: robots, properties: {a: 1}}, {name: s, group: robots, properties: {a: 1}, waves: [{percent: 100}]},
    {name: t, group: robots, properties: {a: 1}, by: configuration, condition: "tags.a = 1"}]
  methods: [{name: m, group: robots, method: ping, rate: 1/s}]
  twin_reads: [{group: robots, rate: 1/s}]
  jobs: [{name: j, type: twin, tags: {a: 1}}, {name: k, type: method, method: {name: ping}}]
  freshness: {}
thresholds: {connect: {threshold: "p(99) < 1s"}}
generator: {}
`

// decodeDefaults decodes a scenario as a file named defaults.yaml.
func decodeDefaults(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := Decode("defaults.yaml", []byte(text), Options{Lookup: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// said is the text of a default that is no value when what it says holds.
func said(holds bool) string {
	if holds {
		return ""
	}
	return "something else"
}

// effective is what acts by path when a key is left out: its value, or nothing when what the reference says in words
// holds.
func effective(t *testing.T, s *Scenario) map[string]any {
	g, gate, door := &s.Fleet.Groups[0], &s.Fleet.Groups[1], &s.Fleet.Groups[2]
	stage, more, v := &s.Stages[0], &s.Stages[1], &s.Service
	query, method, job := &v.Queries[0], &v.Methods[0], &v.Jobs[0]
	bare := decodeDefaults(t, "fleet: {groups: [{name: robots}]}\nstages: [{name: s, devices: 1}]\n")
	tier := decodeDefaults(t, "target: {tier: S1}\nfleet: {groups: [{name: robots, reported: {connectivity: {type: wifi}}}]}\nstages: [{name: s, devices: "+
		"1}]\nthresholds: {freshness: \"p(99) < 5s\"}\n")
	broker := decodeDefaults(t, "target: {hub: \"mqtt://127.0.0.1\"}\nfleet: {groups: [{name: robots}]}\nstages: [{name: s, devices: 1}]\n")
	short := decodeDefaults(t, "fleet: {groups: [{name: robots, tokens: {life: 10m}}]}\nstages: [{name: s, devices: 1}]\n")
	scope, served, faulty := s.Thresholds[0].Scope, s.Stages[4].Hub.Service, s.Stages[4].Hub.DPS
	tolerance := func(target string) time.Duration {
		return decodeDefaults(t, "target: "+target+"\nfleet: {groups: [{name: robots, reported: {connectivity: {type: wifi}}}]}\nstages: [{name: s, devices: "+
			"1}]\nservice: {freshness: {}}\n").Service.Freshness.Tolerance
	}
	elsewhere := decodeDefaults(t, "target: {hub: \"HostName=h.azure-devices.net;SharedAccessKeyName=o;SharedAccessKey=a2V5\"}\n"+
		"fleet: {groups: [{name: robots, identity: {dps: {id_scope: 0ne1, group_key: MDEyMzQ1Njc4OWFiY2RlZg==}}}]}\nstages: [{name: s, devices: 1, duration: 1s}]\n")
	provisions := s.Fleet.Groups[3].Identity.DPS
	other := "{hub: \"HostName=h.azure-devices.net;SharedAccessKeyName=o;SharedAccessKey=a2V5\"}"
	return map[string]any{
		"name": said(s.Name == "defaults"), "seed": s.Seed,
		"target": said(bare.Target.Kind == target.Embedded), "target.hub": bare.Target.Hub, "target.hubs": said(len(bare.Target.Hubs) == 0), "target.ca": said(s.Target.CA == ""),
		"target.plain": s.Target.Plain, "target.transport": s.Target.Transport, "target.keep": s.Target.Keep, "target.tier": said(s.Target.Tier == ""), "target.units": s.Target.Units,
		"target.burst": s.Target.Burst, "target.query_lag": said(s.Target.QueryLag == ""), "target.consumer_group": said(s.Target.ConsumerGroup == ""), "target.topic": broker.Target.Topic,
		"target.username": said(broker.Target.Username == ""), "target.password": said(broker.Target.Password == ""),
		"target.mqtt": broker.Target.MQTT, "target.tls": said(!broker.Target.TLS.Insecure), "target.tls.server_name": said(broker.Target.TLS.ServerName == ""),
		"target.tls.min_version": broker.Target.TLS.MinVersion, "target.tls.alpn": said(broker.Target.TLS.ALPN == nil), "target.tls.insecure": broker.Target.TLS.Insecure,
		"target.websocket": said(broker.Target.WebSocket.SubProtocol == "mqtt"), "target.websocket.headers": said(broker.Target.WebSocket.Headers == nil),
		"target.websocket.subprotocol": broker.Target.WebSocket.SubProtocol, "target.addresses": broker.Target.Addresses, "target.proxy": said(broker.Target.Proxy == ""),
		"target.redirect": broker.Target.Redirect,
		"fleet.client":    bare.Fleet.Client, "fleet.source_addresses": said(len(s.Fleet.SourceAddresses) == 0),

		"fleet.groups.count": g.Count, "fleet.groups.id": g.ID, "fleet.groups.transport": g.Transport, "fleet.groups.devices_per_connection": g.Shared,
		"fleet.groups.client_id": g.ClientID, "fleet.groups.username": said(g.Username == "" && !g.Unnamed), "fleet.groups.password": said(g.Password.IsZero()),
		"fleet.groups.identity.x509.common_name": said(s.Group("doors").CommonName(0) == "doors-000000"),
		"fleet.groups.first_index":               g.FirstIndex, "fleet.groups.index_width": g.IndexWidth,
		"fleet.groups.identity":                       said(gate.Identity.Made() && gate.Identity.Key.IsZero() && gate.Identity.X509 == nil),
		"fleet.groups.identity.x509.ca":               said(door.Identity.X509.CA == "" && door.Identity.X509.Authority == nil),
		"fleet.groups.identity.x509.key_password":     said(door.Identity.X509.KeyPassword.IsZero()),
		"fleet.groups.identity.x509.thumbprint":       door.Identity.X509.Thumbprint,
		"fleet.groups.identity.dps.endpoint":          said(elsewhere.Fleet.Groups[0].Identity.DPS.Address() == "global.azure-devices-provisioning.net:8883" && provisions.Endpoint == ""),
		"fleet.groups.identity.dps.timeout":           provisions.Timeout,
		"fleet.groups.identity.dps.x509.ca":           said(provisions.X509.CA == "" && provisions.X509.Authority == nil),
		"fleet.groups.identity.dps.x509.key_password": said(provisions.X509.KeyPassword.IsZero()),
		"fleet.groups.reported":                       said(len(gate.Report.Types) == 0), "fleet.groups.reported.connectivity.next": said(g.Report.Next == nil),
		"fleet.groups.reported.properties": said(g.Report.Properties == nil), "fleet.groups.reported.every": said(g.Report.Every == 0),
		"fleet.groups.reported.sync": g.Report.Sync,
		"fleet.groups.telemetry":     said(!gate.Telemetry.Present && gate.Telemetry.Every == 0), "fleet.groups.telemetry.every": said(g.Telemetry.Every == 0),
		"fleet.groups.telemetry.payload": said(g.Telemetry.Payload == nil), "fleet.groups.telemetry.qos": g.Telemetry.QoS,
		"fleet.groups.telemetry.retain": g.Telemetry.Retain,
		"fleet.groups.telemetry.sync":   g.Telemetry.Sync, "fleet.groups.telemetry.payload_file": said(g.Telemetry.Rows == nil),
		"fleet.groups.telemetry.payload_bytes": said(gate.Telemetry.Source() == nil), "fleet.groups.telemetry.payload_size": said(g.Telemetry.Size == 0),
		"fleet.groups.telemetry.data":       said(g.Telemetry.Data == nil),
		"fleet.groups.telemetry.topic":      said(g.Telemetry.Topic == ""),
		"fleet.groups.telemetry.deliveries": said(g.Telemetry.Deliveries == 0), "fleet.groups.session": said(gate.Online.IsZero() && gate.Offline.IsZero()),
		"fleet.groups.tokens": said(gate.Tokens == Tokens{}), "fleet.groups.tokens.life": g.Tokens.Life,
		"fleet.groups.tokens.margin": said(g.Tokens.Margin == 15*time.Minute && short.Fleet.Groups[0].Tokens.Margin == 150*time.Second),
		"fleet.groups.tokens.spread": g.Tokens.Spread,
		"fleet.groups.backoff":       g.Backoff, "fleet.groups.keepalive": g.KeepAlive, "fleet.groups.timeout": g.Timeout,
		"fleet.groups.desired": said(gate.Answer), "fleet.groups.desired.answer": g.Answer, "fleet.groups.methods": said(gate.Method.Delay.IsZero()),
		"fleet.groups.methods.delay": g.Method.Delay.Mean(), "fleet.groups.methods.status": g.Method.Status,
		"fleet.groups.subscribe":     said(len(g.Subscribe.Topics) == 0),
		"fleet.groups.subscribe.qos": g.Subscribe.QoS, "fleet.groups.in_flight": g.InFlight, "fleet.groups.overflow": g.Overflow,

		"stages.duration": said(bare.Stages[0].Duration == 0), "stages.devices": said(more.Devices < 0), "stages.connect_rate": said(stage.ConnectRate == nil),
		"stages.paused": stage.Paused, "stages.report_rate": said(stage.ReportRate == nil), "stages.telemetry_rate": said(stage.TelemetryRate == nil),
		"stages.devices.sine.phase": percent(s.Stages[2].Course.wave.phase), "stages.connect_rate.sine.phase": percent(s.Stages[3].ConnectRate.Shape.wave.phase),
		"stages.report_rate.sine.phase": percent(s.Stages[2].ReportRate.Shape.wave.phase), "stages.telemetry_rate.sine.phase": percent(s.Stages[2].TelemetryRate.Shape.wave.phase),
		"stages.arrivals": stage.Arrivals, "stages.hub.service": said(stage.Hub.Service == nil), "stages.hub.service.servers": served.Servers,
		"stages.hub.service.distribution": served.Distribution, "stages.hub.dps": said(stage.Hub.DPS == nil),
		"stages.hub.dps.registrations_per_minute": said(faulty.Registrations == 0), "stages.hub.dps.polls_per_minute": said(faulty.Polls == 0),
		"stages.hub.dps.delay": faulty.Delay, "stages.hub.dps.fail": percent(faulty.Fail),
		"stages.storm": said(more.Storm == nil), "stages.storm.within": stage.Storm.Within,
		"stages.storm.groups": said(len(stage.Storm.Groups) == 0),
		"stages.hub":          said(more.Hub == nil), "stages.network": said(bare.Stages[0].Network == nil),
		"stages.network.groups": said(len(stage.Network.Groups) == 0), "stages.network.latency": stage.Network.Latency, "stages.network.jitter": stage.Network.Jitter,
		"stages.network.loss": percent(stage.Network.Loss), "stages.network.bandwidth": said(stage.Network.Bandwidth == 0),
		"stages.network.half_open": percent(more.Network.HalfOpen),
		"stages.network.partition": said(more.Network.Partition == nil), "stages.network.partition.for": said(stage.Network.Partition.For == 0),
		"stages.network.for": said(stage.Network.For == 0),
		"stages.steps":       said(len(more.Steps) == 0), "stages.steps.statistics.expect": said(stage.Steps[0].Statistics.Expect < 0),
		"stages.steps.query.expect": said(stage.Steps[2].Query.Expect < 0),
		"stages.steps.query.within": stage.Steps[2].Query.Within, "stages.steps.desired.within": said(stage.Steps[3].Desired.Within == 0),
		"stages.steps.await.connected": said(stage.Steps[4].Await.Connected < 0), "stages.steps.await.reported": said(stage.Steps[4].Await.Reported < 0),
		"stages.steps.await.within": stage.Steps[4].Await.Within,

		"service": said(len(bare.Service.Queries) == 0 && bare.Service.Freshness == nil), "service.tags": said(len(v.Tags) == 0), "service.tag_mode": v.TagMode,
		"service.tag_concurrency": v.TagConcurrency,
		"service.queries":         said(len(bare.Service.Queries) == 0), "service.queries.every": query.Every, "service.queries.cron": said(query.Cron == nil),
		"service.queries.expect":    said(query.Expect == nil),
		"service.queries.page_size": query.PageSize, "service.queries.timeout": query.Timeout, "service.queries.stages": said(len(query.Stages) == 0),
		"service.rollouts": said(len(bare.Service.Rollouts) == 0), "service.rollouts.at": v.Rollouts[0].At, "service.rollouts.stage": said(v.Rollouts[0].Stage == ""),
		"service.rollouts.waves":     said(len(v.Rollouts[0].Waves) == 1 && v.Rollouts[0].Waves[0] == Wave{Percent: 100}),
		"service.rollouts.waves.for": v.Rollouts[1].Waves[0].For, "service.rollouts.rate": fmt.Sprintf("%v/s", v.Rollouts[0].Rate.To),
		"service.rollouts.timeout":   v.Rollouts[0].Timeout,
		"service.rollouts.stop_over": percent(v.Rollouts[0].StopOver),
		"service.rollouts.by":        v.Rollouts[0].By, "service.rollouts.priority": v.Rollouts[0].Priority,
		"service.rollouts.shares": said(slices.Equal(v.Rollouts[2].Shares, []int{50, 95, 100})),
		"service.methods":         said(len(bare.Service.Methods) == 0), "service.methods.payload": said(method.Payload == nil),
		"service.methods.timeout": method.Timeout, "service.methods.stages": said(len(method.Stages) == 0),
		"service.twin_reads": said(len(bare.Service.TwinReads) == 0), "service.twin_reads.stages": said(len(v.TwinReads[0].Stages) == 0),
		"service.jobs": said(len(bare.Service.Jobs) == 0), "service.jobs.query": said(job.Query == ""), "service.jobs.tags": said(v.Jobs[1].Tags == nil),
		"service.jobs.desired": said(job.Desired == nil),
		"service.jobs.method":  said(job.Method == nil), "service.jobs.method.payload": said(v.Jobs[1].Method.Payload == nil),
		"service.jobs.method.timeout": v.Jobs[1].Method.Timeout,
		"service.jobs.at":             job.At, "service.jobs.stage": said(job.Stage == ""), "service.jobs.max_time": job.MaxTime,
		"service.freshness":        said(bare.Service.Freshness == nil && tier.Service.Freshness != nil),
		"service.freshness.probe":  said(v.Freshness.Probe == 500*time.Millisecond && tier.Service.Freshness.Probe == 5*time.Second),
		"service.freshness.sample": v.Freshness.Sample,
		"service.freshness.query":  said(v.Freshness.Query == ""),
		"service.freshness.tolerance": said(v.Freshness.Tolerance == 0 && tolerance("{query_lag: 2s}") == 3*time.Second &&
			tolerance("{query_lag: 500ms..3s}") == 4*time.Second && tolerance(other) == 5*time.Second),
		"service.freshness.timeout": v.Freshness.Timeout,
		"service.freshness.settle":  v.Freshness.Settle, "service.freshness.verify": v.Freshness.Verify,

		"thresholds": said(len(bare.Thresholds) == 0), "thresholds.stage": said(scope.Stage == ""), "thresholds.window": said(scope == threshold.Scope{}),
		"thresholds.for":           scope.For,
		"thresholds.abort_on_fail": scope.Abort, "thresholds.delay_abort": scope.Delay,
		"generator": said(!bare.Generator.AllowSaturated), "generator.saturated": map[bool]string{true: "warn", false: "fail"}[s.Generator.AllowSaturated],
	}
}

func percent(share float64) string { return fmt.Sprintf("%v%%", share*100) }

// A default that is documented is the default that acts, for every key of the reference.
func TestDefaultsAreWhatTheReferenceSays(t *testing.T) {
	acts := effective(t, decodeDefaults(t, everyObject))
	maps.Copy(acts, brokerEffective(t))
	known := 0
	var walk func(path string, keys []language.Key)
	walk = func(path string, keys []language.Key) {
		for _, f := range keys {
			at := language.Join(path, f.Name)
			walk(at, f.Value.Keys)
			if f.Default == none {
				continue
			}
			known++
			got, is := acts[at]
			d, isTime := got.(time.Duration)
			def := f.Default.Text()
			want, err := time.ParseDuration(def)
			switch {
			case !is:
				t.Errorf("%s: nothing says what acts when it is left out; the reference says %s", at, def)
			case got == "":
			case isTime && (err != nil || want != d):
				t.Errorf("%s: %s acts; the reference says %s", at, d, def)
			case !isTime && fmt.Sprint(got) != def:
				t.Errorf("%s: %v acts; the reference says %s", at, got, def)
			}
		}
	}
	walk("", new(reader).scenarioKeys(&Scenario{}))
	if known != len(acts) {
		t.Errorf("the reference has %d defaults, the test %d", known, len(acts))
	}
}

// A margin that is said is the one that acts, 0s too.
func TestTokensMargin(t *testing.T) {
	for text, want := range map[string]Tokens{
		"{margin: 5m}":             {true, time.Hour, 5 * time.Minute, 0},
		"{}":                       {true, time.Hour, 15 * time.Minute, 0},
		"{spread: 1m}":             {true, time.Hour, 15 * time.Minute, time.Minute},
		"{life: 20m}":              {true, 20 * time.Minute, 5 * time.Minute, 0},
		"{life: 20m, margin: 0s}":  {true, 20 * time.Minute, 0, 0},
		"{life: 10s, margin: 1ms}": {true, 10 * time.Second, time.Millisecond, 0},
	} {
		s := decodeDefaults(t, "fleet: {groups: [{name: robots, tokens: "+text+"}]}\nstages: [{name: s, devices: 1}]\n")
		if got := s.Fleet.Groups[0].Tokens; got != want {
			t.Errorf("tokens: %s = %+v; want %+v", text, got, want)
		}
	}
}
