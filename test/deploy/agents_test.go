//go:build linux

package deploy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	kustomization "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// agentsFolder is what twinfleet kube makes of the built-in example.
var agentsFolder = filepath.Join(repo, "configs", "kubernetes", "agents")

// swarm is what a run on many machines has in a cluster.
type swarm struct {
	agents, coordinator batch.Job
	nats                apps.StatefulSet
	service             core.Service
	conf, run           core.ConfigMap
	records             core.PersistentVolumeClaim
	monitor             monitoring.PodMonitor
}

// kinds is where an object of a kind and a name belongs.
func (s *swarm) kinds() map[string]any {
	return map[string]any{
		"Job twinfleet-agents": &s.agents, "Job twinfleet-coordinator": &s.coordinator, "StatefulSet twinfleet-nats": &s.nats, "Service twinfleet-nats": &s.service,
		"ConfigMap twinfleet-nats": &s.conf, "ConfigMap twinfleet-run": &s.run, "PersistentVolumeClaim twinfleet-records": &s.records, "PodMonitor twinfleet-coordinator": &s.monitor,
	}
}

// readSwarm reads objects by Kubernetes' own types: each is there once, and a key that those do not have is an error.
func readSwarm(t *testing.T, texts [][]byte) *swarm {
	t.Helper()
	s := new(swarm)
	kinds := s.kinds()
	for _, text := range texts {
		var named struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal(text, &named); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		name := named.Kind + " " + named.Metadata.Name
		into := kinds[name]
		if into == nil {
			t.Fatalf("a second or an unknown one: %s", name)
		}
		delete(kinds, name)
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(kinds) > 0 {
		t.Fatalf("there are no %v", kinds)
	}
	return s
}

// builtSwarm is what kubectl apply -k sends to a cluster.
func builtSwarm(t *testing.T, folder string) *swarm {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	var texts [][]byte
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return readSwarm(t, texts)
}

// documents are those of a text, cut as kubectl does.
func documents(t *testing.T, text []byte) [][]byte {
	t.Helper()
	var all [][]byte
	for r := kyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text))); ; {
		b := make([]byte, len(text))
		n, err := r.Read(b)
		if err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if b = b[:n]; len(regexp.MustCompile(`(?m)^[^#\s]`).Find(b)) > 0 {
			all = append(all, b)
		}
	}
}

// printed is what the command prints.
func printed(t *testing.T, args ...string) []byte {
	t.Helper()
	i := readImage(t)
	program := filepath.Join(t.TempDir(), "twinfleet")
	if err := i.make(t, i.copied[i.entrypoint[0]], program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"kube"}, args...)...)
	cmd.Env = []string{"PATH=/"}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	return out.Bytes()
}

// The command prints what Kubernetes knows, whatever it is asked for; and what it prints of the example is what its folder makes.
func TestKubeIsReadStrictly(t *testing.T) {
	const hub = "target.hub=${TWINFLEET_HUB}"
	example := printed(t, "connectivity", "--set", hub, "--agents", "3")
	one, other := readSwarm(t, documents(t, example)), builtSwarm(t, agentsFolder)
	for name, x := range one.kinds() {
		if y := other.kinds()[name]; !reflect.DeepEqual(x, y) {
			a, _ := yaml.Marshal(x)
			b, _ := yaml.Marshal(y)
			t.Errorf("%s is printed as\n%s\nand built as\n%s", name, a, b)
		}
	}
	for _, args := range [][]string{
		{"storm", "--set", hub, "--devices", "1000000", "--namespace", "load", "--image", "registry.example:5000/twinfleet@sha256:" + strings.Repeat("0a", 32)},
		{"gateways", "--set", hub, "--per-agent", "700", "--on-agent-loss", "redistribute", "--duration", "1h"},
		{"rollout", "--set", hub},
	} {
		s := readSwarm(t, documents(t, printed(t, args...)))
		if *s.agents.Spec.Completions < 1 {
			t.Errorf("%q: %d agents", args, *s.agents.Spec.Completions)
		}
	}
	for _, spoiled := range []string{"completions:", "serviceName:", "backoffLimitPerIndex:", "secretKeyRef:", "topologyKey:"} {
		text := strings.Replace(string(example), spoiled, "x"+spoiled, 1)
		found := false
		for _, doc := range documents(t, []byte(text)) {
			found = found || yaml.UnmarshalStrict(doc, new(batch.Job)) != nil && strings.Contains(string(doc), "x"+spoiled)
		}
		if text == string(example) || !found {
			t.Errorf("a mistake in %s is not found", spoiled)
		}
	}
	text, err := os.ReadFile(filepath.Join(agentsFolder, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, new(kustomization.Kustomization)); err != nil {
		t.Errorf("kustomization.yaml: %v", err)
	}
}

// expanded is what Kubernetes makes of arguments.
func expanded(args []string, env map[string]string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		out[i] = regexp.MustCompile(`\$?\$\([^)]*\)`).ReplaceAllStringFunc(a, func(s string) string {
			if rest, ok := strings.CutPrefix(s, "$$"); ok {
				return "$" + rest
			}
			if value, ok := env[s[2:len(s)-1]]; ok {
				return value
			}
			return s
		})
	}
	return out
}

// environ is what a container has from Secrets; a key that is not there is missed unless it may be.
func environ(t *testing.T, c *core.Container, secrets map[string]map[string]string) map[string]string {
	t.Helper()
	env := make(map[string]string)
	for _, e := range c.Env {
		if e.Value != "" || e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil {
			t.Errorf("%s: %s comes from no Secret: %+v", c.Name, e.Name, e)
			continue
		}
		from := e.ValueFrom.SecretKeyRef
		value, ok := secrets[from.Name][from.Key]
		if !ok && (from.Optional == nil || !*from.Optional) {
			t.Errorf("%s: %s is in no Secret: %+v", c.Name, e.Name, from)
		}
		env[e.Name] = value
	}
	return env
}

func lines(env map[string]string) []string {
	var all []string
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

// Pods may do nothing that they need not, ask for what nobody takes from them, and find each other; who is lost is not replaced.
func TestKube(t *testing.T) {
	i, s := readImage(t), builtSwarm(t, agentsFolder)
	for name, pod := range map[string]core.PodTemplateSpec{"agents": s.agents.Spec.Template, "coordinator": s.coordinator.Spec.Template, "nats": s.nats.Spec.Template} {
		user, c := pod.Spec.SecurityContext, pod.Spec.Containers[0]
		if user == nil || !*user.RunAsNonRoot || *user.RunAsUser != int64(i.user) || *user.RunAsGroup != int64(i.group) || *user.FSGroup != int64(i.group) ||
			user.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: the user is %+v, the image's %d:%d", name, user, i.user, i.group)
		}
		may := c.SecurityContext
		if may == nil || *may.AllowPrivilegeEscalation || !*may.ReadOnlyRootFilesystem || !slices.Equal(may.Capabilities.Drop, []core.Capability{"ALL"}) ||
			*pod.Spec.AutomountServiceAccountToken || *pod.Spec.EnableServiceLinks {
			t.Errorf("%s: the container may %+v", name, may)
		}
		r := c.Resources
		if r.Requests.Cpu().IsZero() || r.Requests.Memory().IsZero() || !r.Limits.Memory().Equal(*r.Requests.Memory()) || !r.Limits.Cpu().IsZero() {
			t.Errorf("%s: resources are %+v", name, r)
		}
		if c.Image == "" || len(c.Command) > 0 || len(pod.Spec.Containers) != 1 {
			t.Errorf("%s: the containers are %+v", name, pod.Spec.Containers)
		}
	}
	if x := s.agents.Spec; *x.CompletionMode != batch.IndexedCompletion || *x.Completions != 3 || *x.Parallelism != 3 ||
		x.BackoffLimitPerIndex == nil || *x.BackoffLimitPerIndex != 0 || x.BackoffLimit != nil ||
		x.MaxFailedIndexes != nil || x.Template.Spec.RestartPolicy != core.RestartPolicyNever {
		t.Errorf("an agent that is lost ends the others, or is replaced: %+v", x)
	}
	if x := s.coordinator.Spec; *x.BackoffLimit != 0 || x.Template.Spec.RestartPolicy != core.RestartPolicyNever {
		t.Errorf("a run that failed begins again: %+v", x)
	}
	selects := func(what string, by, labels map[string]string) {
		t.Helper()
		for key, value := range by {
			if labels[key] != value {
				t.Errorf("%s selects %s=%s; the pod has %v", what, key, value, labels)
			}
		}
		if len(by) == 0 {
			t.Errorf("%s selects everything", what)
		}
	}
	selects("the PodMonitor", s.monitor.Spec.Selector.MatchLabels, s.coordinator.Spec.Template.Labels)
	selects("the Service", s.service.Spec.Selector, s.nats.Spec.Template.Labels)
	selects("the StatefulSet", s.nats.Spec.Selector.MatchLabels, s.nats.Spec.Template.Labels)
	selects("the spread of agents", s.agents.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels, s.agents.Spec.Template.Labels)
	for _, other := range []map[string]string{s.agents.Spec.Template.Labels, s.coordinator.Spec.Template.Labels} {
		if reflect.DeepEqual(other, s.nats.Spec.Template.Labels) {
			t.Errorf("NATS' labels are others' too: %v", other)
		}
	}
	c, nats := s.coordinator.Spec.Template.Spec.Containers[0], s.nats.Spec.Template.Spec.Containers[0]
	if port := portOf(t, c.Args, "--metrics-addr"); c.Ports[0].ContainerPort != int32(toPort(t, port)) || *s.monitor.Spec.PodMetricsEndpoints[0].Port != c.Ports[0].Name ||
		c.ReadinessProbe.HTTPGet.Port.StrVal != c.Ports[0].Name || !slices.Contains(i.ports, port) {
		t.Errorf("metrics are at %s, the pod's ports %+v", port, c.Ports)
	}
	if s.service.Spec.Ports[0].TargetPort.StrVal != nats.Ports[0].Name || nats.ReadinessProbe.HTTPGet.Port.StrVal != nats.Ports[1].Name {
		t.Errorf("NATS is at %+v, the Service asks %+v", nats.Ports, s.service.Spec.Ports)
	}
	for name, args := range map[string][]string{"agents": s.agents.Spec.Template.Spec.Containers[0].Args, "coordinator": c.Args} {
		if url := flagOf(t, args, "--nats"); url != fmt.Sprintf("nats://%s:%d", s.service.Name, s.service.Spec.Ports[0].Port) {
			t.Errorf("%s look for NATS at %s", name, url)
		}
	}
	if n := flagOf(t, c.Args, "--agents"); n != fmt.Sprint(*s.agents.Spec.Completions) {
		t.Errorf("%s agents are waited for", n)
	}
}

// makeNATS builds the server that the program has in itself as a program of its own, as its image has it.
func makeNATS(t *testing.T, to string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", to, "github.com/nats-io/nats-server/v2")
	cmd.Dir, cmd.Env = repo, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// What the manifests start runs as it stands there: NATS, agents and coordinator in file systems of their own that are only read but for what
// they mount, each with what it has from Secrets. The agents begin before NATS is there, and end when the run does.
func TestKubeRuns(t *testing.T) {
	t.Parallel()
	s := builtSwarm(t, agentsFolder)
	lead, agent, nats := s.coordinator.Spec.Template.Spec, s.agents.Spec.Template.Spec.Containers[0], s.nats.Spec.Template.Spec.Containers[0]

	i := readImage(t)
	mounted := make(map[string]string)
	for _, mount := range lead.Containers[0].VolumeMounts {
		v := lead.Volumes[slices.IndexFunc(lead.Volumes, func(v core.Volume) bool { return v.Name == mount.Name })]
		switch {
		case v.EmptyDir != nil:
			i.copied[mount.MountPath] = mount.MountPath
			i.owned = append(i.owned, mount.MountPath)
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				for _, item := range source.ConfigMap.Items {
					mounted[path.Join(mount.MountPath, item.Path)] = s.run.Data[item.Key]
				}
			}
		}
	}
	c := i.unpackWith(t, mounted, s.service.Name)
	agents := readImage(t).unpack(t, s.service.Name)
	agents.ports = c.ports

	server := &image{user: i.user, group: i.group, copied: map[string]string{"/data": "/data"}, owned: []string{"/data"}}
	conf := s.conf.Data["nats.conf"]
	for _, p := range nats.Ports {
		conf = strings.ReplaceAll(conf, fmt.Sprint(p.ContainerPort), c.port(t, fmt.Sprint(p.ContainerPort)))
	}
	natsRoot := server.unpackServer(t, map[string]string{flagOf(t, nats.Args, "--config"): conf})

	hub := c.start(t, i.entrypoint[0], []string{
		"hub", "--listen", "127.0.0.1:" + c.port(t, "8883"), "--cert-dir", "/hub/certs", "--connection-string-file", "/hub/connection-string",
	}, nil)
	var connection []byte
	until(t, "the hub is up", func() bool {
		connection, _ = os.ReadFile(filepath.Join(c.root, "hub", "connection-string"))
		return len(connection) > 0
	}, hub)
	secrets := map[string]map[string]string{
		"twinfleet-tokens":    {"TWINFLEET_JOIN_TOKEN": "j0123456789abcdef", "TWINFLEET_NATS_TOKEN": "n0123456789abcdef"},
		"twinfleet-variables": {"TWINFLEET_HUB": strings.TrimSpace(string(connection))},
	}
	here := func(args []string) []string {
		args = c.here(t, args)
		for n, a := range args {
			args[n] = strings.Replace(a, s.service.Name+":4222", s.service.Name+":"+c.port(t, "4222"), 1)
		}
		return args
	}
	var others []*process
	for n := range int(*s.agents.Spec.Completions) {
		env := environ(t, &agent, secrets)
		env["JOB_COMPLETION_INDEX"] = fmt.Sprint(n) // the Job gives it to each
		others = append(others, agents.start(t, i.entrypoint[0], here(expanded(agent.Args, env)), lines(env)))
	}
	broker := natsRoot.start(t, "/nats-server", expanded(nats.Args, nil), lines(environ(t, &nats, secrets)))
	until(t, "NATS is ready", func() bool {
		status, _ := c.get(t, "10.0.0.8", fmt.Sprint(nats.Ports[1].ContainerPort), nats.ReadinessProbe.HTTPGet.Path)
		return status == http.StatusOK
	}, broker)
	env := environ(t, &lead.Containers[0], secrets)
	args := append(here(expanded(lead.Containers[0].Args, env)), small...)
	run := c.start(t, i.entrypoint[0], append(args, "--set", "target.plain=true"), lines(env))
	metrics := portOf(t, lead.Containers[0].Args, "--metrics-addr")
	c.passed(t, "10.0.0.7:"+metrics, metrics, run)
	if err := run.cmd.Process.Signal(syscall.SIGTERM); err != nil { // it would linger
		t.Fatal(err)
	}
	if code := run.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	c.records(t, flagOf(t, lead.Containers[0].Args, "--out"))
	for n, a := range others {
		if code := a.wait(t); code != 0 || !strings.Contains(a.out.String(), fmt.Sprintf("agent agent-%d: run ", n)) {
			t.Errorf("agent %d: exit code %d\n%s", n, code, a.out)
		}
	}
	for _, p := range append(others, run, broker) {
		for _, secret := range []string{"j0123456789abcdef", "n0123456789abcdef"} {
			if strings.Contains(p.out.String(), secret) {
				t.Errorf("%q says a token", p.cmd.Args)
			}
		}
	}
}

// unpackServer makes the file system of the image of NATS: the program and what is mounted.
func (i *image) unpackServer(t *testing.T, mounted map[string]string) *container {
	t.Helper()
	i.entrypoint = []string{"/nats-server"}
	c := i.unpackWith(t, mounted)
	if err := os.Chmod(c.root, 0o755); err != nil {
		t.Fatal(err)
	}
	makeNATS(t, filepath.Join(c.root, "nats-server"))
	if err := os.Chmod(c.root, 0o555); err != nil {
		t.Fatal(err)
	}
	return c
}
