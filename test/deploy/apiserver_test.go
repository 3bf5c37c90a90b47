//go:build linux

package deploy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// apiserver is what make kube builds: it takes minutes, so that nothing else does.
var apiserver = flag.String("apiserver", "", "program kube-apiserver, which is asked what it takes of the manifests; none when empty")

// cluster is an API server on an etcd of its own, with nobody who would carry anything out.
type cluster struct {
	url    string
	token  string
	client *http.Client
}

// freePort is a port of loopback that nobody has.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// startCluster starts one; without an API server the test is skipped.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	if *apiserver == "" {
		t.Skip("no API server: make kube builds one")
	}
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		t.Fatalf("%v: Debian has it in the package etcd-server", err)
	}
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{url: "https://127.0.0.1:" + freePort(t), token: rand.Text()}
	keyFile, tokens, certs := filepath.Join(dir, "accounts.key"), filepath.Join(dir, "tokens.csv"), filepath.Join(dir, "certs")
	for name, text := range map[string][]byte{
		keyFile: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		tokens:  []byte(c.token + ",admin,admin\n"),
	} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store, peers := "http://127.0.0.1:"+freePort(t), "http://127.0.0.1:"+freePort(t)
	began := begin(t, exec.Command(etcd, "--name", "one", "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "one="+peers))
	server := begin(t, exec.Command(*apiserver, "--etcd-servers", store, "--bind-address", "127.0.0.1", "--secure-port", strings.TrimPrefix(c.url, "https://127.0.0.1:"),
		"--advertise-address", "192.0.2.1", "--endpoint-reconciler-type", "none", "--cert-dir", certs, "--service-cluster-ip-range", "10.96.0.0/16",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", keyFile, "--service-account-signing-key-file", keyFile,
		"--authorization-mode", "AlwaysAllow", "--token-auth-file", tokens, "--disable-admission-plugins", "ServiceAccount"))
	until(t, "the API server has a certificate", func() bool {
		text, err := os.ReadFile(filepath.Join(certs, "apiserver.crt"))
		roots := x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(text) {
			return false
		}
		c.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "kubernetes.default.svc"}}, Timeout: patience}
		return true
	}, began, server)
	t.Cleanup(c.client.CloseIdleConnections)
	until(t, "the API server is ready", func() bool {
		code, _, _ := c.call(t, http.MethodGet, "/readyz", "", nil)
		return code == http.StatusOK
	}, began, server)
	return c
}

// call is one request; the code is 0 when nobody answers.
func (c *cluster) call(t *testing.T, method, path, kind string, body []byte) (code int, text string, warnings []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ Message string }
	if json.Unmarshal(b, &status) != nil || status.Message == "" {
		status.Message = string(b)
	}
	return resp.StatusCode, status.Message, resp.Header.Values("Warning")
}

// namespace makes one in which pods may do no more than Kubernetes' standard "restricted" allows.
func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	const key = "pod-security.kubernetes.io/"
	text := fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {%senforce: restricted, %swarn: restricted}}}\n", name, key, key)
	if code, text, _ := c.call(t, http.MethodPost, "/api/v1/namespaces", "application/yaml", []byte(text)); code != http.StatusCreated {
		t.Fatalf("%d: %s", code, text)
	}
}

// object is what says where an object belongs.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		Template             *core.PodTemplateSpec
		VolumeClaimTemplates []core.PersistentVolumeClaim
	}
}

func parsed(t *testing.T, text []byte) *object {
	t.Helper()
	o := new(object)
	if err := yaml.Unmarshal(text, o); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return o
}

func (o *object) String() string { return o.Kind + " " + o.Metadata.Name }

// foreign reports whether a cluster without operators knows nothing of the kind.
func (o *object) foreign() bool { return strings.HasPrefix(o.APIVersion, "monitoring.coreos.com/") }

// path is where objects of its kind are.
func (o *object) path(namespace string) string {
	group := "/apis/" + o.APIVersion
	if o.APIVersion == "v1" {
		group = "/api/v1"
	}
	return group + "/namespaces/" + namespace + "/" + strings.ToLower(o.Kind) + "s"
}

// pod is one that the object makes, by itself; nil when it makes none. Claims of a StatefulSet's pods are made by its controller.
func (o *object) pod(t *testing.T) []byte {
	t.Helper()
	if o.Spec.Template == nil {
		return nil
	}
	p := &core.Pod{ObjectMeta: o.Spec.Template.ObjectMeta, Spec: o.Spec.Template.Spec}
	p.APIVersion, p.Kind, p.Name = "v1", "Pod", "one"
	for _, claim := range o.Spec.VolumeClaimTemplates {
		p.Spec.Volumes = append(p.Spec.Volumes, core.Volume{Name: claim.Name})
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// try is what the server says to an object, and to a pod of it, without keeping them; "" when it takes both without a warning.
func (c *cluster) try(t *testing.T, namespace string, text []byte) string {
	t.Helper()
	const dry = "?dryRun=All&fieldValidation=Strict"
	o := parsed(t, text)
	code, said, warnings := c.call(t, http.MethodPost, o.path(namespace)+dry, "application/yaml", text)
	if code != http.StatusCreated || len(warnings) > 0 {
		return fmt.Sprintf("%d: %s %q", code, said, warnings)
	}
	if pod := o.pod(t); pod != nil {
		code, said, warnings = c.call(t, http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods"+dry, "application/json", pod)
		if code != http.StatusCreated || len(warnings) > 0 {
			return fmt.Sprintf("a pod: %d: %s %q", code, said, warnings)
		}
	}
	return ""
}

// applied are the objects that kubectl apply -k sends.
func applied(t *testing.T, folder string) (all [][]byte) {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range made.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return all
}

// An API server takes all that the folders make and the command prints, and pods of them where Kubernetes' strictest standard for pods holds;
// what is wrong in them it does not.
func TestAPIServerTakesTheManifests(t *testing.T) {
	c := startCluster(t)
	c.namespace(t, "load")
	const hub = "target.hub=${TWINFLEET_HUB}"
	example := documents(t, printed(t, "connectivity", "--set", hub, "--agents", "3"))
	for name, texts := range map[string][][]byte{
		"configs/kubernetes": applied(t, filepath.Join(repo, "configs", "kubernetes")), "configs/kubernetes/agents": applied(t, agentsFolder), "connectivity": example,
		"storm": documents(t, printed(t, "storm", "--set", hub, "--devices", "1000000", "--namespace", "load",
			"--image", "registry.example:5000/twinfleet@sha256:"+strings.Repeat("0a", 32))),
		"gateways": documents(t, printed(t, "gateways", "--set", hub, "--per-agent", "700", "--on-agent-loss", "redistribute", "--duration", "1h")),
		"rollout":  documents(t, printed(t, "rollout", "--set", hub)),
	} {
		taken := 0
		for _, text := range texts {
			o := parsed(t, text)
			if o.foreign() {
				continue
			}
			taken++
			if said := c.try(t, "load", text); said != "" {
				t.Errorf("%s: %s: %s", name, o, said)
			}
		}
		if taken < 3 {
			t.Errorf("%s has %d objects", name, taken)
		}
	}
	for _, spoiled := range []struct{ kind, from, to, says string }{
		{"Job", "restartPolicy: Never", "restartPolicy: Always", "restartPolicy"},
		{"Job", "completions: ", "completion: ", "unknown field"},
		{"Job", "capabilities: {drop: [ALL]}", "capabilities: {add: [NET_ADMIN]}", "would violate PodSecurity"},
		{"Job", "name: net.ipv4.ip_local_port_range", "name: net.ipv4.tcp_tw_reuse", "would violate PodSecurity"},
		{"StatefulSet", "selector: {matchLabels: {app.kubernetes.io/name: twinfleet,", "selector: {matchLabels: {app.kubernetes.io/name: other,", "selector"},
	} {
		refused := false
		for _, text := range example {
			if x := strings.Replace(string(text), spoiled.from, spoiled.to, 1); x != string(text) && parsed(t, text).Kind == spoiled.kind {
				refused = refused || strings.Contains(c.try(t, "load", []byte(x)), spoiled.says)
			}
		}
		if !refused {
			t.Errorf("%q is taken for %q", spoiled.to, spoiled.from)
		}
	}
}

// A run is taken over as docs/kubernetes.md says: the coordinator's Job is made anew, and of all else nothing changes that cannot.
func TestAPIServerTakesTheRunOver(t *testing.T) {
	c := startCluster(t)
	c.namespace(t, "load")
	apply := func(args ...string) {
		t.Helper()
		for _, text := range documents(t, printed(t, append([]string{"connectivity", "--set", "target.hub=${TWINFLEET_HUB}", "--agents", "3"}, args...)...)) {
			o := parsed(t, text)
			if o.foreign() {
				continue
			}
			path := o.path("load") + "/" + o.Metadata.Name + "?fieldManager=test&fieldValidation=Strict"
			if code, said, _ := c.call(t, http.MethodPatch, path, "application/apply-patch+yaml", text); code != http.StatusOK && code != http.StatusCreated {
				t.Errorf("%s: %d: %s", o, code, said)
			}
		}
	}
	apply()
	job := "/apis/batch/v1/namespaces/load/jobs/twinfleet-coordinator"
	if code, said, _ := c.call(t, http.MethodDelete, job+"?propagationPolicy=Background", "", nil); code != http.StatusOK {
		t.Fatalf("%d: %s", code, said)
	}
	apply("--resume", "20260101-000000-connectivity")
	if _, said, _ := c.call(t, http.MethodGet, job, "", nil); !strings.Contains(said, "20260101-000000-connectivity") {
		t.Errorf("the coordinator is %s", said)
	}
}
