//go:build linux

package deploy

import (
	"context"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

// compose reads a compose file as docker compose does: against the schema of the Compose Specification, with its consistency checked.
func compose(ctx context.Context, text []byte, environ types.Mapping) (*types.Project, error) {
	dir, err := filepath.Abs(filepath.Join(repo, "configs"))
	if err != nil {
		return nil, err
	}
	return loader.LoadWithContext(ctx, types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml"), Content: text}},
		Environment: environ,
	})
}

func readCompose(t *testing.T) *types.Project {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repo, "configs", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := compose(t.Context(), text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The reading is strict, or it would say nothing.
func TestComposeIsReadStrictly(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repo, "configs", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for right, wrong := range map[string]string{
		"stop_grace_period:": "stop_grace:", "condition: service_healthy": "condition: healthy", "grafana:/var/lib": "grafanas:/var/lib",
		"hub: {condition": "hubs: {condition", "interval: 2s": "interval: often",
	} {
		if !strings.Contains(string(text), right) {
			t.Errorf("there is no %q to spoil", right)
		}
		if _, err := compose(t.Context(), []byte(strings.ReplaceAll(string(text), right, wrong)), nil); err == nil {
			t.Errorf("%q for %q is not found", wrong, right)
		}
	}
}

// Each service is asked whether it is up, and begins when those are that it needs; what it keeps is in volumes; only this machine
// reaches it; its image has a version.
func TestCompose(t *testing.T) {
	i, p := readImage(t), readCompose(t)
	if got, want := p.ServiceNames(), []string{"grafana", "hub", "prometheus", "twinfleet"}; !slices.Equal(got, want) {
		t.Fatalf("services are %v", got)
	}
	needs := map[string][]string{"grafana": {"prometheus"}, "twinfleet": {"grafana", "hub", "prometheus"}}
	keeps := map[string][]string{"hub": {"/hub"}, "twinfleet": {"/hub", "/runs"}, "prometheus": {"/prometheus"}, "grafana": {"/var/lib/grafana"}}
	for name, s := range p.Services {
		if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD" {
			t.Errorf("%s is not asked whether it is up without a shell", name)
		}
		if got := s.GetDependencies(); !slices.Equal(slices.Sorted(slices.Values(got)), needs[name]) {
			t.Errorf("%s needs %v; want %v", name, got, needs[name])
		}
		for of, d := range s.DependsOn {
			if d.Condition != types.ServiceConditionHealthy {
				t.Errorf("%s does not wait until %s is up: %s", name, of, d.Condition)
			}
		}
		var kept []string
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeVolume:
				kept = append(kept, v.Target)
				if s.Build != nil && !slices.Contains(i.owned, v.Target) {
					t.Errorf("%s: the volume on %s would not be the user's: %q", name, v.Target, i.owned)
				}
			case types.VolumeTypeBind:
				if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
					t.Errorf("%s: %s on %s: %v, read-only %v", name, v.Source, v.Target, err, v.ReadOnly)
				}
			}
		}
		slices.Sort(kept)
		if !slices.Equal(kept, keeps[name]) {
			t.Errorf("%s keeps %v; want %v", name, kept, keeps[name])
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %d is open to other machines", name, port.Target)
			}
		}
		if s.Build == nil && !regexp.MustCompile(`:v?\d+\.\d+\.\d+$`).MatchString(s.Image) {
			t.Errorf("%s: the image %s has no version", name, s.Image)
		}
	}
	for name, flags := range map[string][]string{"hub": {"--listen"}, "twinfleet": {"--ui-addr"}} {
		s := p.Services[name]
		for _, flag := range flags {
			port := portOf(t, s.Command, flag)
			if !slices.Contains(i.ports, port) || len(s.Ports) != 1 || s.Ports[0].Published != port || s.Ports[0].Target != toPort(t, port) {
				t.Errorf("%s: %s is %s; published %+v; the image exposes %q", name, flag, port, s.Ports, i.ports)
			}
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s may write to its image, or more", name)
		}
	}
	home := p.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	for _, v := range p.Services["grafana"].Volumes {
		if rest, ok := strings.CutPrefix(*home, v.Target+"/"); ok {
			if _, err := os.Stat(filepath.Join(v.Source, rest)); err != nil {
				t.Errorf("Grafana's first board: %v", err)
			}
		}
	}
}

// Prometheus is told of every service that has figures, by its name and port, and of a run on the host, whose name it knows.
func TestPrometheusScrapesTheServices(t *testing.T) {
	p := readCompose(t)
	text, err := os.ReadFile(filepath.Join(repo, "configs", "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Jobs []struct {
			Static []struct{ Targets []string } `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, job := range config.Jobs {
		for _, s := range job.Static {
			targets = append(targets, s.Targets...)
		}
	}
	for _, name := range []string{"twinfleet", "hub"} {
		if want := name + ":" + portOf(t, p.Services[name].Command, "--metrics-addr"); !slices.Contains(targets, want) {
			t.Errorf("%q are scraped, %s is not", targets, want)
		}
	}
	hosts := p.Services["prometheus"].ExtraHosts
	if !slices.Contains(targets, "host.docker.internal:9464") || len(hosts["host.docker.internal"]) != 1 {
		t.Errorf("a run on the host is not scraped: %q, %v", targets, hosts)
	}
}

// The commands of the services run against each other in the order of the file, in the image's file system.
func TestComposeRuns(t *testing.T) {
	t.Parallel()
	i, p := readImage(t), readCompose(t)
	c := i.unpack(t, "hub", "twinfleet")
	service := func(name string, more ...string) *process {
		var env []string
		for key, value := range p.Services[name].Environment {
			env = append(env, key+"="+*value)
		}
		return c.start(t, i.entrypoint[0], append(c.here(t, p.Services[name].Command), more...), env)
	}
	healthy := func(name string) bool {
		test := c.here(t, p.Services[name].HealthCheck.Test)
		return c.start(t, test[1], test[2:], nil).wait(t) == 0
	}
	if healthy("hub") {
		t.Fatal("the hub is up before it is started")
	}
	hub := service("hub")
	until(t, "the hub is up", func() bool { return healthy("hub") }, hub)
	run := service("twinfleet", small...)
	until(t, "the run is up", func() bool { return healthy("twinfleet") }, run)

	metrics, page := portOf(t, p.Services["twinfleet"].Command, "--metrics-addr"), portOf(t, p.Services["twinfleet"].Command, "--ui-addr")
	c.passed(t, "twinfleet:"+metrics, metrics, run)
	if status, text := c.get(t, "127.0.0.1:"+page, page, "/"); status != http.StatusOK || !strings.Contains(text, "<html") {
		t.Errorf("the live page answers %d", status)
	}
	if !strings.Contains(run.out.String(), "http://127.0.0.1:"+c.port(t, page)+"/#") {
		t.Errorf("the run does not say how its page is opened on the host")
	}
	of := portOf(t, p.Services["hub"].Command, "--metrics-addr")
	if status, text := c.get(t, "hub:"+of, of, "/metrics"); status != http.StatusOK || !strings.Contains(text, "twinfleet_hub_") {
		t.Errorf("the hub's /metrics answers %d", status)
	}
	listen := portOf(t, p.Services["hub"].Command, "--listen")
	if status, text := c.get(t, "127.0.0.1:"+listen, listen, "/"); status != http.StatusOK || !strings.Contains(text, "<html") {
		t.Errorf("the hub's page answers %d", status)
	}

	if err := run.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := run.wait(t); code != 0 {
		t.Errorf("the run ends with exit code %d", code)
	}
	c.records(t, flagOf(t, p.Services["twinfleet"].Command, "--out"))

	secret, err := os.ReadFile(filepath.Join(c.root, flagOf(t, p.Services["hub"].Command, "--connection-string-file")))
	if err != nil {
		t.Fatal(err)
	}
	_, key, found := strings.Cut(strings.TrimSpace(string(secret)), "SharedAccessKey=")
	if !found || strings.Contains(hub.out.String()+run.out.String(), key) {
		t.Errorf("the key is not in the file alone")
	}

	// After a restart the hub is the same one: its keys and its authority are in the volume.
	before := authority(t, c, p)
	if err := hub.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hub.wait(t)
	hub = service("hub")
	until(t, "the hub is up again", func() bool { return healthy("hub") }, hub)
	again, err := os.ReadFile(filepath.Join(c.root, flagOf(t, p.Services["hub"].Command, "--connection-string-file")))
	if err != nil || string(again) != string(secret) || authority(t, c, p) != before {
		t.Errorf("another hub after a restart: %v", err)
	}
}

// authority is the certificate that the run trusts.
func authority(t *testing.T, c *container, p *types.Project) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.root, path.Join(flagOf(t, p.Services["hub"].Command, "--cert-dir"), "ca.pem")))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
