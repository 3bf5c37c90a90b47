//go:build linux

package deploy

import (
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func toPort(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// manifests are what kubectl apply -k sends to a cluster.
type manifests struct {
	job      batch.Job
	monitor  monitoring.PodMonitor
	scenario core.ConfigMap
	records  core.PersistentVolumeClaim
}

// kustomize builds the manifests, and reads them by Kubernetes' own types: a key that those do not have is an error.
func kustomize(t *testing.T) *manifests {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(repo, "configs", "kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	m := new(manifests)
	kinds := map[string]any{"Job": &m.job, "PodMonitor": &m.monitor, "ConfigMap": &m.scenario, "PersistentVolumeClaim": &m.records}
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		into := kinds[r.GetKind()]
		if into == nil {
			t.Fatalf("a second or an unknown one: %s", r.CurId())
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Errorf("%s: %v", r.CurId(), err)
		}
		delete(kinds, r.GetKind())
	}
	if len(kinds) > 0 {
		t.Fatalf("there are no %v", kinds)
	}
	return m
}

// A key that nobody knows, or that stands twice, is found in each file.
func TestKubernetesIsReadStrictly(t *testing.T) {
	for file, into := range map[string]any{"job.yaml": new(batch.Job), "podmonitor.yaml": new(monitoring.PodMonitor), "records.yaml": new(core.PersistentVolumeClaim)} {
		text, err := os.ReadFile(filepath.Join(repo, "configs", "kubernetes", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, spoiled := range []string{strings.Replace(string(text), "\nspec:", "\nspec:\n  sepc: 1", 1), string(text) + "kind: Twice\n"} {
			if err := yaml.UnmarshalStrict([]byte(spoiled), into); err == nil {
				t.Errorf("%s: a mistake is not found", file)
			}
		}
	}
}

// The Job's pod is the image's: its user, its volume, its port. It is not tried again after a verdict, may do nothing that it need
// not, and is found by the PodMonitor.
func TestKubernetes(t *testing.T) {
	i, m := readImage(t), kustomize(t)
	spec, pod := m.job.Spec, m.job.Spec.Template.Spec
	if pod.RestartPolicy != core.RestartPolicyNever || spec.BackoffLimit == nil || *spec.BackoffLimit != 0 {
		t.Errorf("a run that failed begins again: %v, %v", pod.RestartPolicy, spec.BackoffLimit)
	}
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	c := pod.Containers[0]
	var final []int32
	for _, rule := range spec.PodFailurePolicy.Rules {
		if on := rule.OnExitCodes; rule.Action == batch.PodFailurePolicyActionFailJob && on != nil && on.Operator == batch.PodFailurePolicyOnExitCodesOpIn && *on.ContainerName == c.Name {
			final = append(final, on.Values...)
		}
	}
	if !slices.Equal(final, []int32{2, 98, 99}) {
		t.Errorf("exit codes %v end the Job for good", final)
	}
	user := pod.SecurityContext
	if user == nil || !*user.RunAsNonRoot || *user.RunAsUser != int64(i.user) || *user.RunAsGroup != int64(i.group) || *user.FSGroup != int64(i.group) ||
		user.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod's user is %+v, the image's %d:%d", user, i.user, i.group)
	}
	may := c.SecurityContext
	if may == nil || *may.AllowPrivilegeEscalation || !*may.ReadOnlyRootFilesystem || !slices.Equal(may.Capabilities.Drop, []core.Capability{"ALL"}) || *pod.AutomountServiceAccountToken {
		t.Errorf("the container may %+v", may)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() || !c.Resources.Limits.Cpu().IsZero() {
		t.Errorf("resources are %+v", c.Resources)
	}
	if len(c.Command) > 0 || !strings.HasPrefix(c.Image, "twinfleet:") {
		t.Errorf("the image is %s, the command %q; want the image's own", c.Image, c.Command)
	}

	port := portOf(t, c.Args, "--metrics-addr")
	if len(c.Ports) != 1 || c.Ports[0].ContainerPort != int32(toPort(t, port)) || !slices.Contains(i.ports, port) {
		t.Errorf("ports are %+v, metrics are at %s, the image exposes %q", c.Ports, port, i.ports)
	}
	if c.ReadinessProbe.HTTPGet.Port.StrVal != c.Ports[0].Name {
		t.Errorf("the probe asks %v", c.ReadinessProbe.HTTPGet.Port)
	}
	ends := m.monitor.Spec.PodMetricsEndpoints
	if len(ends) != 1 || ends[0].Port == nil || *ends[0].Port != c.Ports[0].Name || ends[0].Path != "/metrics" {
		t.Errorf("the PodMonitor asks %+v", ends)
	}
	if len(m.monitor.Spec.Selector.MatchLabels) == 0 {
		t.Error("the PodMonitor selects every pod")
	}
	for key, value := range m.monitor.Spec.Selector.MatchLabels {
		if m.job.Spec.Template.Labels[key] != value {
			t.Errorf("the PodMonitor selects %s=%s; the pod has %v", key, value, m.job.Spec.Template.Labels)
		}
	}

	mounted := make(map[string]core.VolumeSource)
	for _, mount := range c.VolumeMounts {
		for _, v := range pod.Volumes {
			if v.Name == mount.Name {
				mounted[mount.MountPath] = v.VolumeSource
			}
		}
	}
	if claim := mounted[flagOf(t, c.Args, "--out")].PersistentVolumeClaim; claim == nil || claim.ClaimName != m.records.Name || !slices.Contains(i.owned, flagOf(t, c.Args, "--out")) {
		t.Errorf("the records are lost with the pod: %+v", mounted)
	}
	dir, file := path.Split(c.Args[1])
	if from := mounted[path.Clean(dir)].ConfigMap; from == nil || from.Name != m.scenario.Name || m.scenario.Data[file] == "" {
		t.Errorf("%s is in no ConfigMap: %+v", c.Args[1], mounted)
	}
	for _, e := range c.Env {
		if e.Value != "" || e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil || e.ValueFrom.SecretKeyRef.Optional == nil || !*e.ValueFrom.SecretKeyRef.Optional {
			t.Errorf("%s comes from no Secret that may be missing: %+v", e.Name, e)
		}
	}
}

// The Job's command runs in the image's file system: without the Secret on a hub in the pod, with it on what that says.
func TestKubernetesRuns(t *testing.T) {
	t.Parallel()
	i, m := readImage(t), kustomize(t)
	args := m.job.Spec.Template.Spec.Containers[0].Args
	c := i.unpackWith(t, map[string]string{args[1]: m.scenario.Data[path.Base(args[1])]}, "elsewhere")
	metrics, page := portOf(t, args, "--metrics-addr"), portOf(t, args, "--ui-addr")
	run := c.start(t, i.entrypoint[0], append(c.here(t, args), small...), nil)
	until(t, "the pod is ready", func() bool {
		status, _ := c.get(t, "10.0.0.7:"+metrics, metrics, m.job.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Path)
		return status == http.StatusOK
	}, run)
	c.passed(t, "10.0.0.7:"+metrics, metrics, run)
	if status, text := c.get(t, "localhost:"+page, page, "/"); status != http.StatusOK || !strings.Contains(text, "<html") {
		t.Errorf("the live page answers %d", status)
	}
	if err := run.cmd.Process.Signal(syscall.SIGTERM); err != nil { // it would linger
		t.Fatal(err)
	}
	if code := run.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	c.records(t, flagOf(t, args, "--out"))

	other := c.start(t, i.entrypoint[0], append(c.here(t, args), small...), []string{"TWINFLEET_HUB=HostName=elsewhere;SharedAccessKey=c2VjcmV0"})
	if code := other.wait(t); code != 2 || !strings.Contains(other.out.String(), "target.hub") || strings.Contains(other.out.String(), "c2VjcmV0") {
		t.Errorf("with a Secret that is no connection string of a service: exit code %d\n%s", code, other.out)
	}
}
