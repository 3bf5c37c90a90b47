package kube_test

import (
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/configs"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/kube"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

var update = flag.Bool("update", false, "rewrite configs/kubernetes/agents and the golden file")

// nothing is an environment without variables.
func nothing(string) (string, bool) { return "", false }

// text is a scenario of so many devices with a hub from a Secret.
func text(devices int, more string) []byte {
	return []byte("target: {hub: \"${TWINFLEET_HUB}\"}\nfleet: {client: lean, groups: [{name: robots, count: " + strconv.Itoa(devices) +
		", telemetry: {every: 30s}}]}\nstages: [{name: ramp, devices: 100%, duration: 10m}, {name: hold, duration: 10m}]\n" + more)
}

// manifests makes manifests of a scenario, with nothing in the environment.
func manifests(t *testing.T, o kube.Options) *kube.Manifests {
	t.Helper()
	if o.File == "" {
		o.File = "fleet.yaml"
	}
	if o.Read.Lookup == nil {
		o.Read.Lookup = nothing
	}
	m, err := kube.Make(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// objects are what a stream has, by kind and name.
func objects(t *testing.T, m *kube.Manifests) map[string]map[string]any {
	t.Helper()
	stream, err := m.Stream()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]map[string]any)
	for _, part := range strings.Split(string(stream), "\n---\n") {
		var x map[string]any
		if err := yaml.Unmarshal([]byte(part), &x); err != nil {
			t.Fatalf("%v\n%s", err, part)
		}
		if x != nil {
			all[x["kind"].(string)+" "+at(t, x, "metadata", "name").(string)] = x
		}
	}
	return all
}

// at follows a path of keys and numbers.
func at(t *testing.T, x any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, ok := x.(map[string]any)
			if !ok {
				t.Fatalf("%v: there is no %q in %v", path, s, x)
			}
			x = m[s]
		case int:
			x = x.([]any)[s]
		}
	}
	return x
}

// configs/kubernetes/agents is what the command makes of the built-in example, and testdata has the same as one text.
func TestCommittedFolder(t *testing.T) {
	var example []byte
	for _, x := range configs.Examples() {
		if x.Name == "connectivity" {
			example = x.Text
		}
	}
	m := manifests(t, kube.Options{File: "connectivity", Text: example, Agents: 3, Read: scenario.Options{Set: []string{"target.hub=${TWINFLEET_HUB}"}}})
	want, err := m.Folder()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := m.Stream()
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "connectivity.golden")
	dir := filepath.Join("..", "..", "configs", "kubernetes", "agents")
	if *update {
		if err := os.WriteFile(golden, stream, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, b := range want {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := os.ReadFile(golden); err != nil || string(got) != string(stream) {
		t.Errorf("%s is not what is printed (%v); -update writes it anew\n%s", golden, err, stream)
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(want) {
		t.Errorf("there are %v; want %v", found, slices.Sorted(maps.Keys(want)))
	}
	for name, b := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != string(b) {
			t.Errorf("%s is not what is made (%v); -update writes it anew\n%s", name, err, b)
		}
	}
}

// What a pod asks for is enough for what its agent then says that it holds, however many there are; and the agents together hold the fleet.
func TestAgentsHoldTheirShare(t *testing.T) {
	for _, x := range []struct {
		devices int
		o       kube.Options
		agents  int // 0 for any
	}{
		{3000, kube.Options{Agents: 3}, 3},
		{1_000_000, kube.Options{Agents: 50}, 50},
		{1_000_000, kube.Options{PerAgent: 15_000}, 67},
		{1_000_000, kube.Options{PerAgent: 15_000, Redistributes: true}, 68},
		{60_000, kube.Options{Agents: 2, Redistributes: true}, 2},
		{1_000_000, kube.Options{}, 0},
		{1, kube.Options{}, 1},
	} {
		x.o.Text = text(x.devices, "")
		m := manifests(t, x.o)
		job := objects(t, m)["Job twinfleet-agents"]
		n := at(t, job, "spec", "completions").(int)
		if x.agents > 0 && n != x.agents || at(t, job, "spec", "parallelism") != n {
			t.Errorf("%d devices: %d agents, want %d", x.devices, n, x.agents)
		}
		resources := at(t, job, "spec", "template", "spec", "containers", 0, "resources")
		limit, err := strconv.Atoi(strings.TrimSuffix(at(t, resources, "limits", "memory").(string), "Mi"))
		if err != nil || at(t, resources, "requests", "memory") != at(t, resources, "limits", "memory") {
			t.Fatal(resources, err)
		}
		facts := kube.Usual()
		facts.Descriptors, facts.Cores = 1<<20, 64
		facts.MemoryAvailable = uint64(limit)<<20 - 40<<20 // the program itself is there already
		holders := n
		if x.o.Redistributes {
			holders--
		}
		if room := fit.Hold(m.Scenario, facts, 1); room.Devices*holders < x.devices {
			t.Errorf("%d devices: %d agents with %d MiB hold %d each (%s)", x.devices, holders, limit, room.Devices, room.By)
		}
		if cpu := at(t, resources, "limits", "cpu"); cpu != nil {
			t.Errorf("processors are limited to %v, which would hold the generator up", cpu)
		}
	}
}

// Variables come from a Secret by their names; those with a default may be missing. Values are nowhere, also of what is set here.
func TestVariables(t *testing.T) {
	more := "service: {tags: {robots: {plant: \"${PLANT:-none}\", site: \"${SITE}\"}}}\n# ${COMMENT} is none\n"
	// What a variable says here a Secret may say otherwise: this one is at localhost.
	const secret = "HostName=localhost:4711;SharedAccessKeyName=x;SharedAccessKey=c2VjcmV0c2VjcmV0"
	set := map[string]string{"TWINFLEET_HUB": secret, "SITE": "north-site-7"}
	for _, lookup := range []func(string) (string, bool){nothing, func(name string) (string, bool) { v, ok := set[name]; return v, ok }} {
		m := manifests(t, kube.Options{Text: text(10, more), Agents: 2, Read: scenario.Options{Lookup: lookup}})
		got := make(map[string]any)
		for _, e := range at(t, objects(t, m)["Job twinfleet-coordinator"], "spec", "template", "spec", "containers", 0, "env").([]any) {
			ref := at(t, e, "valueFrom", "secretKeyRef")
			if at(t, ref, "key") != at(t, e, "name") {
				t.Errorf("%v is %v of its Secret", at(t, e, "name"), at(t, ref, "key"))
			}
			got[at(t, e, "name").(string)+" of "+at(t, ref, "name").(string)] = at(t, ref, "optional")
		}
		want := map[string]any{
			"TWINFLEET_JOIN_TOKEN of twinfleet-tokens": nil, "TWINFLEET_NATS_TOKEN of twinfleet-tokens": nil,
			"TWINFLEET_HUB of twinfleet-variables": nil, "SITE of twinfleet-variables": nil, "PLANT of twinfleet-variables": true,
		}
		if !maps.Equal(got, want) {
			t.Errorf("variables are %v; want %v", got, want)
		}
		stream, err := m.Stream()
		if err != nil {
			t.Fatal(err)
		}
		if s := string(stream); strings.Contains(s, "4711") || strings.Contains(s, "north-site-7") || strings.Contains(s, "SharedAccessKey=") {
			t.Errorf("values are in the manifests:\n%s", s)
		}
	}
}

// Files come along beside the scenario: certificates in the ConfigMap, those of devices, which have keys, from a Secret.
func TestFiles(t *testing.T) {
	ca, err := os.ReadFile(filepath.Join("testdata", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	const keys = "HostName=h.example.net;DeviceId=one;SharedAccessKey=c2VjcmV0c2VjcmV0\n"
	there := map[string][]byte{"load/certs/ca.pem": ca, "load/de vices.csv": []byte(keys)}
	o := kube.Options{
		File: "load/my.yaml", Agents: 1,
		Text: []byte("target: {hub: \"${TWINFLEET_HUB}\", ca: certs/ca.pem}\n" +
			"fleet: {groups: [{name: robots, identity: {file: de vices.csv}, telemetry: {every: 30s}}]}\nstages: [{name: hold, duration: 1m, devices: 1}]\n"),
		Read: scenario.Options{Lookup: func(string) (string, bool) {
			return "HostName=h.example.net;SharedAccessKeyName=x;SharedAccessKey=c2VjcmV0", true
		}, ReadFile: func(name string) ([]byte, error) {
			if b, ok := there[filepath.ToSlash(name)]; ok {
				return b, nil
			}
			return nil, fs.ErrNotExist
		}},
	}
	m := manifests(t, o)
	all := objects(t, m)
	data := at(t, all["ConfigMap twinfleet-run"], "data").(map[string]any)
	if want := map[string]any{"my.yaml": string(o.Text), "certs_ca.pem": string(ca)}; !maps.Equal(data, want) {
		t.Errorf("the ConfigMap has %v", data)
	}
	var paths []string
	volumes := at(t, all["Job twinfleet-coordinator"], "spec", "template", "spec", "volumes").([]any)
	for _, source := range at(t, volumes[len(volumes)-1], "projected", "sources").([]any) {
		for kind, from := range source.(map[string]any) {
			for _, item := range at(t, from, "items").([]any) {
				paths = append(paths, kind+" "+at(t, item, "key").(string)+" "+at(t, item, "path").(string))
			}
		}
	}
	if want := []string{"configMap my.yaml my.yaml", "configMap certs_ca.pem certs/ca.pem", "secret de_vices.csv de vices.csv"}; !slices.Equal(paths, want) {
		t.Errorf("the pod has %q; want %q", paths, want)
	}
	folder, err := m.Folder()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := m.Stream()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(stream), "create secret generic twinfleet-files --from-file='de_vices.csv=de vices.csv'\n") {
		t.Errorf("nobody says how the Secret is made:\n%s", stream)
	}
	folder["stream"] = stream
	for name, b := range folder {
		if strings.Contains(string(b), "c2VjcmV0c2VjcmV0") {
			t.Errorf("%s has a device's key", name)
		}
	}
	if string(folder["certs/ca.pem"]) != string(ca) || folder["de vices.csv"] != nil {
		t.Errorf("the folder has %q", slices.Sorted(maps.Keys(folder)))
	}
}

// What cannot run in pods is refused in a line.
func TestRefused(t *testing.T) {
	embedded := []byte("fleet: {groups: [{name: robots, count: 10}]}\nstages: [{name: hold, duration: 1m}]\n")
	with := func(key string) []byte {
		return []byte(strings.Replace(string(embedded), "fleet: {", "fleet: {"+key+", ", 1))
	}
	const key = "HostName=h.example.net;SharedAccessKeyName=x;SharedAccessKey=c2VjcmV0"
	set := func(keys ...string) scenario.Options { return scenario.Options{Set: keys} }
	for _, x := range []struct {
		name, want string
		o          kube.Options
	}{
		{"embedded hub", "the target is the embedded hub", kube.Options{Text: embedded}},
		{"loopback", "another machine for each pod", kube.Options{Text: append([]byte("target: {hub: \"mqtt://127.0.0.1:1883\"}\n"), embedded...)}},
		{"a proxy on loopback", "the proxy is at 127.0.0.1, which is another machine for each pod", kube.Options{Text: text(1, ""), Read: set("target.hub=mqtt://b.example", "target.proxy=http://127.0.0.1:3128")}},
		{"this machine as any address", "another machine for each pod", kube.Options{Text: text(1, ""), Read: set("target.hub=mqtt://0.0.0.0:1883")}},
		{"loopback in capitals", "another machine for each pod", kube.Options{Text: text(1, ""), Read: set("target.hub=mqtt://LOCALHOST.:1883")}},
		{"loopback with a name", "another machine for each pod", kube.Options{Text: text(1, ""), Read: set("target.hub=mqtt://localhost:1883")}},
		{"source addresses", "fleet.source_addresses", kube.Options{Text: append([]byte("target: {hub: \"mqtt://192.0.2.1\"}\n"), with("source_addresses: [192.0.2.7]")...)}},
		{"a secret", "a secret seems to be written", kube.Options{Text: append([]byte("target: {hub: \""+key+"\"}\n"), embedded...)}},
		{"a secret that is set", "a secret seems to be written", kube.Options{Text: text(1, ""), Read: set("target.hub=" + key)}},
		{"more agents than devices", "3 agents for 2 devices", kube.Options{Text: text(2, ""), Agents: 3}},
		{"too many agents", "a run has 1,000 at the most", kube.Options{Text: text(100_000, ""), PerAgent: 10}},
		{"both", "leave one out", kube.Options{Text: text(10, ""), Agents: 1, PerAgent: 10}},
		{"too many ports", "more agents have fewer devices each", kube.Options{Text: text(200_000, ""), Agents: 2}},
		{"image", "the image \"a b\" is none", kube.Options{Text: text(1, ""), Image: "a b"}},
		{"namespace", "the namespace \"A\\nb\"", kube.Options{Text: text(1, ""), Namespace: "A\nb"}},
		{"two dots", "begins with two dots", kube.Options{Text: text(1, ""), Read: scenario.Options{
			Set:      []string{"target.ca=..ca.pem"},
			ReadFile: func(string) ([]byte, error) { return os.ReadFile(filepath.Join("testdata", "ca.pem")) },
		}}},
		{"files elsewhere", "not beside it", kube.Options{Text: text(1, ""), Read: scenario.Options{
			Set:      []string{"target.ca=/etc/ca.pem"},
			ReadFile: func(string) ([]byte, error) { return os.ReadFile(filepath.Join("testdata", "ca.pem")) },
		}}},
	} {
		x.o.File, x.o.Read.Lookup = "fleet.yaml", nothing
		_, err := kube.Make(x.o)
		if !errors.Is(err, kube.ErrOptions) || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: %v; want %q", x.name, err, x.want)
		}
	}
	_, err := kube.Make(kube.Options{File: "x.yaml", Text: text(0, ""), Read: scenario.Options{Lookup: nothing}})
	var mistakes problem.List
	if !errors.As(err, &mistakes) {
		t.Errorf("a mistake in the scenario is %v", err)
	}
	_, err = kube.Make(kube.Options{File: "x.yaml", Text: text(1, "seed: ${SEED}\n"), Read: scenario.Options{Lookup: nothing}})
	if !errors.As(err, &mistakes) || !strings.Contains(err.Error(), "SEED are not set here and taken for a connection string") {
		t.Errorf("a variable that is a number is %v", err)
	}
}

// Whatever text a scenario has, the ConfigMap has the same; and whatever --set says is the same argument.
func TestTextsStayAsTheyAre(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		odd := []string{"", " ", "\t", "# x", "  # y: {z}", "# \t", "# - a", "---", "# é \U0001F600", "# \u0085\u2028", "# \r"}
		line := rapid.OneOf(rapid.SampledFrom(odd), rapid.StringMatching(`# [ -~]{0,20}`))
		lines := rapid.SliceOfN(line, 0, 6).Draw(r, "lines")
		end := rapid.SampledFrom([]string{"", "\n", "\n\n", "\n \n"}).Draw(r, "end")
		body := string(text(1, "name: fleet"))
		whole := strings.TrimPrefix(strings.Join(lines, "\n")+"\n", "\n") + body + end
		word := rapid.SampledFrom([]string{"yes", "true", "null", "12", "a b", "$(X)", "${Y}", "'", `"\`, "a: b", "#", "n"}).Draw(r, "word")
		m, err := kube.Make(kube.Options{File: "fleet.yaml", Text: []byte(whole), Args: []string{word}, Read: scenario.Options{Lookup: nothing}})
		if err != nil {
			r.Skip(err) // what is no scenario
		}
		all := objects(t, m)
		if got := at(t, all["ConfigMap twinfleet-run"], "data", "fleet.yaml"); got != whole {
			r.Fatalf("%q became %q", whole, got)
		}
		args := at(t, all["Job twinfleet-coordinator"], "spec", "template", "spec", "containers", 0, "args").([]any)
		if !slices.Contains(args, any(strings.ReplaceAll(word, "$(", "$$("))) {
			r.Fatalf("%q is not among %q", word, args)
		}
	})
}

// The namespace is in everything, and the image in both Jobs, with the tag that it has.
func TestNamespaceAndImage(t *testing.T) {
	m := manifests(t, kube.Options{Text: text(10, ""), Namespace: "1e3", Image: "registry.example:5000/load/twinfleet:1.0", Agents: 1})
	for name, x := range objects(t, m) {
		if at(t, x, "metadata", "namespace") != "1e3" {
			t.Errorf("%s is in namespace %v", name, at(t, x, "metadata", "namespace"))
		}
		if strings.HasPrefix(name, "Job") && at(t, x, "spec", "template", "spec", "containers", 0, "image") != "registry.example:5000/load/twinfleet:1.0" {
			t.Errorf("%s has another image", name)
		}
	}
	folder, err := m.Folder()
	if err != nil {
		t.Fatal(err)
	}
	var k map[string]any
	if err := yaml.Unmarshal(folder["kustomization.yaml"], &k); err != nil {
		t.Fatal(err)
	}
	if k["namespace"] != "1e3" || at(t, k, "images", 0, "newName") != "registry.example:5000/load/twinfleet" || at(t, k, "images", 0, "newTag") != "1.0" {
		t.Errorf("the kustomization is %v", k)
	}
}

// NATS itself reads the configuration, with the token of the environment; its version is that of the module.
func TestNATS(t *testing.T) {
	t.Setenv("TWINFLEET_NATS_TOKEN", "t0123456789abcdef")
	o, err := server.ProcessConfigFile(filepath.Join("templates", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if o.Authorization != "t0123456789abcdef" || !o.JetStream || o.Port != 4222 || o.HTTPPort != 8222 || o.StoreDir != "/data" || o.JetStreamMaxStore < 1<<29 {
		t.Errorf("NATS reads %+v", o)
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`nats-server/v2 v(\S+)`).FindStringSubmatch(string(b))[1]
	m := manifests(t, kube.Options{Text: text(1, "")})
	if got := at(t, objects(t, m)["StatefulSet twinfleet-nats"], "spec", "template", "spec", "containers", 0, "image"); got != "nats:"+version {
		t.Errorf("the image of NATS is %v, the program has %s", got, version)
	}
}
