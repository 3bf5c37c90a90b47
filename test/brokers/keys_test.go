//go:build integration

package brokers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// usual are the stages of a key, unless it has others.
const usual = `[{name: ramp, duration: 200ms, devices: 100%}, {name: hold, duration: 900ms}]`

// cut are stages in which each device loses its connection once.
const cut = `[{name: ramp, duration: 200ms, devices: 100%}, {name: cut, duration: 1500ms, storm: {drop: 100%}}]`

// slow are stages in which each device loses its connection once, and those that come back after 10 s do.
const slow = `[{name: ramp, duration: 200ms, devices: 100%}, {name: cut, duration: 13s, storm: {drop: 100%}}]`

// key is a key of the language, or some, and what a broker sees of it. NAME is the row's; regular expressions hold lines.
type key struct {
	name   string
	at     way
	groups string // a list in YAML
	stages string // usual when empty
	kept   string // a retained message is there of this topic before
	heard  []string
	never  []string // nobody heard it, nor is it in the log
	logged []string
	once   []string // heard, or logged, once
	none   bool     // no session is left of the first device
	only5  bool
	only   string // the one broker that shows it
	check  func(t *testing.T, heard []string)
}

func keys() []key {
	send := `telemetry: {topic: "NAME/{device}", every: 200ms}`
	return []key{
		{
			name: "first-index", groups: `[{name: NAME, count: 2, first_index: 41, index_width: 3, telemetry: {topic: "NAME/{index}", every: 200ms}}]`,
			heard: []string{`^NAME/041 `, `^NAME/042 `}, logged: []string{`as NAME-041 \(p\d, c1, k180`, `as NAME-042 \(`},
		},
		{
			name: "client-id", groups: `[{name: NAME, count: 2, client_id: "c-{index}-{group}", ` + send + `}]`,
			heard: []string{`^NAME/NAME-000000 `}, logged: []string{`as c-000000-NAME \(`, `as c-000001-NAME \(`},
		},
		{
			name: "unnamed", groups: `[{name: NAME, count: 2, client_id: "", ` + send + `}]`,
			heard: []string{`^NAME/NAME-000000 `, `^NAME/NAME-000001 `}, never: []string{`as NAME-`},
		},
		{
			name: "login", at: locked, groups: `[{name: NAME, count: 2, username: "d-{index}", password: "p-{index}", ` + send + `}]`,
			logged: []string{`as NAME-000000 \(.*u'd-000000'`, `as NAME-000001 \(.*u'd-000001'`},
		},
		{
			name: "csv", at: locked, groups: `[{name: NAME, client_id: "{device}", identity: {credentials: NAME.csv}, ` + send + `}]`,
			logged: []string{`as NAME-x \(.*u'd-000001'`, `as NAME-000001 \(.*u'd-000000'`},
		},
		{
			name: "jsonl", at: locked, groups: `[{name: NAME, identity: {credentials: NAME.jsonl}, ` + send + `}]`,
			logged: []string{`as NAME-x \(.*u'd-000001'`, `as NAME-000001 \(.*u'd-000000'`},
		},
		{
			name: "authority", at: mutual, groups: `[{name: NAME, count: 2, identity: {x509: {ca: CA, key: AUTHORITY, common_name: "cn-{device}"}}, ` + send + `}]`,
			logged: []string{`as NAME-000000 \(.*u'cn-NAME-000000'`, `as NAME-000001 \(.*u'cn-NAME-000001'`},
		},
		{
			name: "files", at: mutual, groups: `[{name: NAME, count: 2, identity: {x509: {certificate: "FILES/{index}.pem", key: "FILES/{index}.key", key_password: "${PASSWORD}"}}, ` + send + `}]`,
			logged: []string{`as NAME-000000 \(.*u'file-000000'`, `as NAME-000001 \(.*u'file-000001'`},
		},
		{
			name: "rows-of-files", at: mutual, groups: `[{name: NAME, identity: {credentials: NAME-files.csv}, ` + send + `}]`,
			logged: []string{`as NAME-x \(.*u'file-000001'`, `as NAME-y \(.*u'file-000000'`},
		},
		{name: "keepalive", groups: `[{name: NAME, keepalive: 7s, ` + send + `}]`, logged: []string{`as NAME-000000 \(p\d, c1, k7[,)]`}},
		{
			name: "kept", stages: cut, none: true, groups: `[{name: NAME, session: {clean: false}, subscribe: {topics: ["NAME/#"]}, ` + send + `}]`,
			logged: []string{`as NAME-000000 \(p\d, c0, `, `Sending CONNACK to NAME-000000 \(1, 0\)`},
		},
		{
			name: "expiry", stages: cut, none: true, only5: true, groups: `[{name: NAME, session: {clean: false, expiry: 1m}, subscribe: {topics: ["NAME/#"]}, ` + send + `}]`,
			logged: []string{`as NAME-000000 \(p5, c0, `, `Sending CONNACK to NAME-000000 \(1, 0\)`},
		},
		{name: "expiry-told", only5: true, only: "mochi", groups: `[{name: NAME, session: {clean: false, expiry: 1m}, ` + send + `}]`, logged: []string{`Asks NAME-000000 expiry 60 `}},
		{
			name: "clean", stages: cut, none: true, groups: `[{name: NAME, subscribe: {topics: ["NAME/#"]}, ` + send + `}]`,
			logged: []string{`as NAME-000000 \(p\d, c1, `}, never: []string{`Sending CONNACK to NAME-000000 \(1, 0\)`},
		},
		{
			name: "will", stages: cut, groups: `[{name: NAME, count: 2, will: {topic: "NAME/gone/{device}", payload: "{index} left", qos: 1, retain: true}, ` + send + `}]`,
			once: []string{`^NAME/gone/NAME-000000 q1 r1 .* "000000 left"`, `^NAME/gone/NAME-000001 q1 r1 .* "000001 left"`},
		},
		{
			name: "will-delay", stages: cut, only5: true, groups: `[{name: NAME, count: 2, session: {clean: false, expiry: 1m}, will: {topic: "NAME/gone", payload: gone, delay: 30s}, ` + send + `}]`,
			heard: []string{`^NAME/NAME-000000 `}, never: []string{`^NAME/gone`},
		},
		{ // the first comes back after 10 s, when its will is out; the second within its delay
			name: "will-delayed", stages: slow, only5: true, groups: `[{name: NAME, backoff: fixed, session: {clean: false, expiry: 1m}, will: {topic: "NAME/gone/{device}", payload: "{index} left", qos: 1, delay: 2s}, ` + send + `}, ` +
				`{name: s-NAME, session: {clean: false, expiry: 1m}, will: {topic: "NAME/gone/{device}", payload: gone, delay: 5s}, telemetry: {topic: "NAME/still", every: 100ms}}]`,
			once: []string{`^NAME/gone/NAME-000000 q1 r0 .* "000000 left"`}, never: []string{`^NAME/gone/s-NAME`}, check: delayed,
		},
		{
			name: "messages", groups: `[{name: NAME, telemetry: {topic: "NAME/a", every: 200ms, qos: 0}, messages: [{name: b, topic: "NAME/{device}/b", every: 200ms, qos: 2, payload: b}, ` +
				`{name: c, topic: "NAME/{index}/c", every: 200ms, retain: true, payload: c}]}]`,
			heard: []string{`^NAME/a q0 r0 `, `^NAME/NAME-000000/b q2 r0 .* "b"`, `^NAME/000000/c q1 r1 .* "c"`},
		},
		{
			name: "payloads", groups: `[{name: NAME, telemetry: {topic: "NAME/text", every: 300ms, payload: "{{ device }} {{ seq }}"}, messages: [` +
				`{name: list, topic: NAME/list, every: 300ms, payload: [1, a, null]}, {name: sized, topic: NAME/sized, every: 300ms, payload: {a: 1}, payload_size: 64B}, ` +
				`{name: zero, topic: NAME/zero, every: 300ms, payload_bytes: {zero: 5B}}, {name: random, topic: NAME/random, every: 300ms, payload_bytes: {random: 33B}}, ` +
				`{name: file, topic: NAME/file, every: 300ms, payload_bytes: {file: bytes.bin}, payload_size: 6B}, ` +
				`{name: data, topic: NAME/data, every: 300ms, payload: {site: '{{ data "site" }}'}, data: sites.csv}]}]`,
			heard: []string{
				`^NAME/text .* "NAME-000000 \d+"`, `^NAME/list .* "\[1,\\"a\\",null\]"`, `^NAME/sized q1 r0 64 .*"\{\\"a\\":1,\\"_filler\\":`, `^NAME/zero q1 r0 5 .*"(\\x00){5}"`,
				`^NAME/random q1 r0 33 `, `^NAME/file q1 r0 6 .*"\\x00\\xff\\n\\x00\\x00\\x00"`, `^NAME/data .*\{\\"site\\":\\"(north|south)\\"\}`,
			},
		},
		{
			name: "heard-back", groups: `[{name: NAME, subscribe: {topics: ["NAME/#"]}, ` + send + `}]`,
			logged: []string{`Sending PUBLISH to NAME-000000 \(d0, q1, r0, `},
		},
		{
			name: "no-local", only5: true, groups: `[{name: NAME, subscribe: {topics: ["NAME/#"], no_local: true}, ` + send + `}]`,
			heard: []string{`^NAME/NAME-000000 `}, never: []string{`Sending PUBLISH to NAME-000000 `},
		},
		{
			name: "retain-as-published", only5: true, groups: `[{name: NAME, subscribe: {topics: ["NAME/#"], retain_as_published: true}, ` +
				`telemetry: {topic: NAME/t, every: 200ms, retain: true}}]`,
			logged: []string{`Sending PUBLISH to NAME-000000 \(d0, q1, r1, `}, never: []string{`Sending PUBLISH to NAME-000000 \(d0, q1, r0, `},
		},
		{
			name: "kept-message", kept: "NAME/kept", groups: `[{name: NAME, subscribe: {topics: ["NAME/#"]}, telemetry: {topic: "n/NAME", every: 200ms}}]`,
			logged: []string{`Sending PUBLISH to NAME-000000 \(d0, q\d, r1, m\d+, 'NAME/kept'`},
		},
		{
			name: "retain-none", kept: "NAME/kept", only5: true, groups: `[{name: NAME, subscribe: {topics: ["NAME/#"], retain_handling: none}, telemetry: {topic: "n/NAME", every: 200ms}}]`,
			never: []string{`Sending PUBLISH to NAME-000000 `},
		},
		{
			name: "retain-new", kept: "NAME/kept", only5: true, stages: cut,
			groups: `[{name: NAME, session: {clean: false}, subscribe: {topics: ["NAME/#"], retain_handling: new}, telemetry: {topic: "n/NAME", every: 200ms}}]`,
			once:   []string{`Sending PUBLISH to NAME-000000 \(d0, q\d, r1, m\d+, 'NAME/kept'`},
		},
		{
			name: "identifier", only5: true, only: "mochi", groups: `[{name: NAME, subscribe: {topics: ["NAME/#"], identifier: 77}, ` + send + `}]`,
			logged: []string{`Filter NAME-000000 NAME/# identifier 77`},
		},
		{
			name: "shared", groups: `[{name: NAME, count: 2, subscribe: {topics: ["$share/s/NAME/#"], qos: 0}, ` + send + `}]`,
			logged: []string{`\$share/s/NAME/# \(QoS 0\)|Filter NAME-000000 \$share/s/NAME/# `, `Sending PUBLISH to NAME-00000\d \(d0, q0, r0, `},
		},
		{
			name: "properties", only5: true, groups: `[{name: NAME, telemetry: {topic: NAME/t, every: 200ms, mqtt5: {user_properties: {plant: "of {device}"}, content_type: application/json, ` +
				`expiry: 1m, text: true}}}]`,
			heard: []string{`^NAME/t q1 r0 \d+ C=application/json E=(60|59) F=1 P=plant:of NAME-000000 R= `},
		},
		{
			name: "respond", only5: true, groups: `[{name: NAME, telemetry: {topic: NAME/ask, every: 200ms, payload: "what", mqtt5: {reply_to: "NAME/answer/{device}"}}}, ` +
				`{name: r-NAME, subscribe: {topics: [NAME/ask], respond: true}}]`,
			heard: []string{`^NAME/ask .* R=NAME/answer/NAME-000000 "what"`, `^NAME/answer/NAME-000000 .* "what"`},
		},
		{
			name: "asked", only5: true, only: "mochi", groups: `[{name: NAME, mqtt5: {receive_maximum: 12, maximum_packet: 4096, topic_aliases: 3, user_properties: {plant: "of {device}"}}, ` + send + `}]`,
			logged: []string{`Asks NAME-000000 expiry 0 receive 12 packet 4096 aliases 3 plant=of NAME-000000`},
		},
		{
			name: "aliases", only5: true, groups: `[{name: NAME, mqtt5: {topic_aliases: 3, receive_maximum: 1, maximum_packet: 2048}, subscribe: {topics: ["NAME/#"]}, telemetry: {topic: NAME/t, every: 100ms, deliveries: 1}}]`,
			heard: []string{`^NAME/t q1 r0 `},
		},
		{
			name: "aliases-of-the-broker", only5: true, only: "mochi", groups: `[{name: NAME, mqtt5: {topic_aliases: 3}, subscribe: {topics: ["NAME/#"]}, telemetry: {topic: NAME/t, every: 100ms, deliveries: 1}}]`,
			logged: []string{`Alias to NAME-000000 1 'NAME/t'`, `Alias to NAME-000000 1 ''`},
		},
	}
}

// TestKeys holds what a broker sees of each key of the language to what the key says.
func TestKeys(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	p := newPKI(t, dir)
	files := p.devices(t, dir)
	for _, b := range []*broker{mosquitto(t, p, dir), mochi(t, p)} {
		ear := listener(t, b)
		for _, version := range []string{"3.1.1", "5"} {
			t.Run(b.name+"/"+version, func(t *testing.T) {
				t.Parallel()
				for _, x := range keys() {
					if x.only5 && version != "5" || x.only != "" && x.only != b.name {
						continue
					}
					t.Run(x.name, func(t *testing.T) {
						t.Parallel()
						seen(t, binary, b, ear, &x, version, strings.NewReplacer("CA,", p.ca+",", "AUTHORITY", p.caKey, "FILES", files))
					})
				}
			})
		}
	}
}

// listener is a client of Mosquitto's that prints what it hears at a broker: topic, QoS, retain, bytes, properties, and the payload in hexadecimal.
func listener(t *testing.T, b *broker) *rig.Process {
	t.Helper()
	host, port, _ := strings.Cut(b.at[clear], ":")
	ear := rig.Start(t, t.TempDir(), nil, rig.Program(t, "stdbuf"), "-oL", rig.Program(t, "mosquitto_sub"), "-d", "-h", host, "-p", port, "-V", "5", "-q", "2", "-t", "#", "--retain-as-published",
		"-F", "%t q%q r%r %l C=%C E=%E F=%F P=%P R=%R =%x=")
	ear.Line(t, "Subscribed", 10*time.Second)
	return ear
}

// seen runs a scenario with a key, and holds what the broker saw to it.
func seen(t *testing.T, binary string, b *broker, ear *rig.Process, x *key, version string, fill *strings.Replacer) {
	name := "k-" + x.name + strings.ReplaceAll("-v"+version, ".", "")
	named := func(s string) string { return fill.Replace(strings.ReplaceAll(s, "NAME", name)) }
	at := x.at
	if at == "" {
		at = clear
	}
	if x.stages == "" {
		x.stages = usual
	}
	host, port, _ := strings.Cut(b.at[clear], ":")
	other := func(program string, args ...string) {
		t.Helper()
		p := rig.Start(t, t.TempDir(), nil, rig.Program(t, program), append([]string{"-h", host, "-p", port, "-V", "5"}, args...)...)
		if code := p.Wait(t, 20*time.Second); code != 0 {
			t.Errorf("%s: %s", program, p.Output())
		}
	}
	if x.kept != "" {
		other("mosquitto_pub", "-r", "-q", "1", "-t", named(x.kept), "-m", "kept")
	}
	dir := t.TempDir()
	target := "{hub: '" + b.urlOf(at) + "', mqtt: " + version
	if at == mutual {
		target += ", ca: CA,"
	}
	for file, text := range map[string]string{
		name + ".yaml":      "target: " + target + "}\nfleet: {groups: " + x.groups + "}\nstages: " + x.stages + "\nthresholds: {connect: [error_rate < 0.1%]}\n",
		name + ".csv":       "client_id,username,password\nNAME-x,d-000001,p-000001\n,d-000000,p-000000\n",
		name + ".jsonl":     `{"client_id":"NAME-x","username":"d-000001","password":"p-000001"}` + "\n" + `{"username":"d-000000","password":"p-000000"}` + "\n",
		name + "-files.csv": "client_id,certificate,key,key_password\nNAME-x,FILES/000001.pem,FILES/000001.key," + password + "\nNAME-y,FILES/000000.pem,FILES/000000.key," + password + "\n",
		"bytes.bin":         "\x00\xff\n", "sites.csv": "site\nnorth\nsouth\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(named(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := rig.Start(t, dir, []string{"PASSWORD=" + password}, binary, "run", name+".yaml", "--metrics-addr", "", "--no-ui", "--out", "runs")
	if code := run.Wait(t, 50*time.Second); code != 0 {
		t.Fatalf("exit code %d\n%s", code, run.Output())
	}
	if x.none {
		other("mosquitto_sub", "-i", name+"-000000", "-c", "-x", "0", "-E", "-t", "n/"+name)
	}
	// What the broker says after the run comes after all that it said during it.
	other("mosquitto_pub", "-q", "1", "-t", "end/"+name, "-m", "x")
	within(t, ear.Output, "end/"+name+" ", 10*time.Second)
	within(t, b.log, "end/"+name, 10*time.Second)
	heard, log := lines(ear.Output(), name), lines(b.log(), name)
	find := func(all []string, want string) (n int) {
		is := regexp.MustCompile(named(want))
		for _, line := range all {
			if is.MatchString(line) {
				n++
			}
		}
		return n
	}
	for _, want := range x.heard {
		if find(heard, want) == 0 {
			t.Errorf("nobody heard %s:\n%s", named(want), strings.Join(heard, "\n"))
		}
	}
	for _, want := range x.logged {
		if find(log, want) == 0 {
			t.Errorf("the broker did not log %s:\n%s", named(want), strings.Join(log, "\n"))
		}
	}
	for _, want := range x.once {
		if n := find(heard, want) + find(log, want); n != 1 {
			t.Errorf("%d times %s; want one:\n%s\n%s", n, named(want), strings.Join(heard, "\n"), strings.Join(log, "\n"))
		}
	}
	for _, want := range x.never {
		if n := find(heard, want) + find(log, want); n != 0 {
			t.Errorf("%d times %s; want none:\n%s\n%s", n, named(want), strings.Join(heard, "\n"), strings.Join(log, "\n"))
		}
	}
	if x.check != nil {
		x.check(t, heard)
	}
	if x.none {
		var last string
		for _, line := range log {
			if strings.Contains(line, "Sending CONNACK to "+name+"-000000 (") {
				last = line
			}
		}
		if !strings.Contains(last, "(0, 0)") {
			t.Errorf("a session is left: %s\n%s", last, strings.Join(log, "\n"))
		}
	}
}

// delayed holds a will to its delay of 2 s: others say something every 100 ms between the last word of a device that is gone for 10 s and its will.
func delayed(t *testing.T, heard []string) {
	between := 0
	for _, line := range heard {
		switch {
		case strings.HasPrefix(line, "Client "): // of its own doing
		case strings.Contains(line, "/gone/"):
			if between < 15 || between > 60 {
				t.Errorf("%d messages of others came before the will; want some 20 to 30:\n%s", between, strings.Join(heard, "\n"))
			}
			return
		case strings.Contains(line, "/still "):
			between++
		default:
			between = 0
		}
	}
}

// within waits until a text is in what a program says.
func within(t *testing.T, says func() string, text string, long time.Duration) {
	t.Helper()
	for end := time.Now().Add(long); !strings.Contains(says(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q has not come within %s:\n%s", text, long, says())
		}
	}
}

// lines are those of a row; the payload of a message is quoted, as Go does it.
func lines(all, name string) (of []string) {
	for line := range strings.Lines(all) {
		if strings.Contains(line, name) {
			of = append(of, plainPayload(strings.TrimSuffix(line, "\n")))
		}
	}
	return of
}
