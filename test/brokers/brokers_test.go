//go:build integration

package brokers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// short is a scenario of two sensors and a board that hears them, from several addresses and over a slow network, whatever is on the way; TARGET and
// NAME are filled in.
const short = `
target: TARGET
fleet:
  source_addresses: [127.0.0.1, 127.0.0.5]
  groups:
    - {name: s-NAME, count: 2, timeout: 3s, backoff: steep, telemetry: {topic: "NAME/{device}", every: 200ms, deliveries: 1}}
    - {name: b-NAME, count: 1, timeout: 3s, subscribe: {topics: ["NAME/+"], qos: 1}}
stages:
  - {name: ramp, duration: 500ms, devices: 3}
  - {name: hold, duration: 1s, network: {latency: 3ms}}
  - {name: rest, duration: 300ms, paused: true}
thresholds: {delivery: ["count > 2", "error_rate < 0.1%"], connect: ["error_rate < 0.1%"]}
`

// row is one way to speak to a broker.
type row struct {
	name   string
	at     way
	target string // what the target says beside hub; CA, HTTP, SOCKS and PORT are filled in
	via    string // scheme and place of another hub than the listener's, with PORT
	reason string // why no device connects; empty when all do
	says   string // what each report says
	only5  bool   // what MQTT 3.1.1 has not
	only   string // the one broker that can do it
}

// rows are the table: each is run against each broker, with each version of MQTT.
func rows() []row {
	return []row{
		{name: "clear", at: clear},
		{name: "name", at: clear, via: "mqtt://localhost:PORT", target: "addresses: each"},
		{name: "ipv6", at: six},
		{name: "password", at: locked, target: "username: fleet, password: '${PASSWORD}'"},
		{name: "wrong-password", at: locked, target: "username: fleet, password: wrong", reason: "connection refused: "},
		{name: "tls", at: secured, target: "ca: CA"},
		{name: "tls-13", at: secured, target: "ca: CA, tls: {min_version: 1.3, alpn: [mqtt]}"},
		{name: "tls-name", at: secured, target: "ca: CA, tls: {server_name: broker.test}"},
		{name: "tls-other-name", at: secured, target: "ca: CA, tls: {server_name: other.test}", reason: "the target's certificate is for another name"},
		{name: "tls-untrusted", at: secured, reason: "the target's certificate is not trusted"},
		{name: "tls-insecure", at: secured, target: "tls: {insecure: true}", says: "certificate was not checked"},
		{name: "mutual-without", at: mutual, target: "ca: CA", reason: "the target demands a client certificate"},
		{name: "ws", at: web},
		{name: "wss", at: webTLS, target: "ca: CA, tls: {server_name: broker.test, min_version: 1.3}"},
		{name: "ws-headers", at: web, via: "FRONT", target: "websocket: {headers: {Authorization: 'Bearer ${PASSWORD}', Host: front.test}}"},
		{name: "ws-no-headers", at: web, via: "FRONT", reason: "the WebSocket upgrade was refused with 401"},
		{name: "connect", at: secured, target: "ca: CA, proxy: 'http://fleet:${PASSWORD}@HTTP'"},
		{name: "connect-407", at: clear, target: "proxy: 'http://fleet:wrong@HTTP'", reason: "the proxy refused: 40"},
		{name: "socks", at: webTLS, target: "ca: CA, proxy: 'socks5://fleet:${PASSWORD}@SOCKS'"},
		{name: "socks-wrong", at: clear, target: "proxy: 'socks5://fleet:wrong@SOCKS'", reason: "the proxy refused: wrong user name or password"},
		{name: "redirect-refused", at: elsewhere, reason: "use another server", only5: true, only: "mochi"},
		{name: "redirect", at: elsewhere, target: "redirect: follow", only5: true, only: "mochi", says: "redirected to 127.0.0.1:"},
	}
}

// TestBrokers runs short scenarios against real brokers in every way that a scenario knows.
func TestBrokers(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	p := newPKI(t, dir)
	proxies := map[string]string{"HTTP": httpProxy(t, dir), "SOCKS": socksProxy(t, dir)}
	for _, b := range []*broker{mosquitto(t, p, dir), mochi(t, p)} {
		front := guarded(t, b.at[web])
		for _, version := range []string{"3.1.1", "5"} {
			t.Run(b.name+"/"+version, func(t *testing.T) {
				t.Parallel()
				for _, x := range rows() {
					if x.only5 && version != "5" || x.only != "" && x.only != b.name {
						continue
					}
					if x.at == six && b.at[six] == "" {
						continue
					}
					t.Run(x.name, func(t *testing.T) {
						t.Parallel()
						check(t, binary, b, &x, version, front, proxies)
					})
				}
			})
		}
	}
}

// guarded is a server in front of a broker's WebSockets that lets nobody through without the password.
func guarded(t *testing.T, at string) string {
	front := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: at}) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+password || r.Host != "front.test" || r.URL.RawQuery != "token=a%2Fb" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		front.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return "ws://" + server.Listener.Addr().String() + "/mqtt?token=a%2Fb"
}

// check runs one scenario, and holds what came of it to the row.
func check(t *testing.T, binary string, b *broker, x *row, version, front string, proxies map[string]string) {
	hub := b.urlOf(x.at)
	if x.via != "" {
		port := hub[strings.LastIndex(hub, ":")+1:]
		hub = strings.NewReplacer("PORT", port, "FRONT", front).Replace(x.via)
	}
	line := fmt.Sprintf("{hub: '%s', mqtt: %s", hub, version)
	if x.target != "" {
		line += ", " + strings.NewReplacer("CA", b.ca, "HTTP", proxies["HTTP"], "SOCKS", proxies["SOCKS"]).Replace(x.target)
	}
	name := x.name + strings.ReplaceAll("-v"+version, ".", "-")
	dir := t.TempDir()
	form := short
	if strings.Contains(hub, "[::1]") || strings.Contains(hub, "localhost") { // which may be ::1 too
		form = strings.Replace(form, "  source_addresses: [127.0.0.1, 127.0.0.5]\n", "", 1)
	}
	text := strings.NewReplacer("TARGET", line+"}", "NAME", name).Replace(form)
	if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := rig.Start(t, dir, []string{"PASSWORD=" + password}, binary, "run", name+".yaml", "--metrics-addr", "", "--no-ui", "--out", "runs")
	code := run.Wait(t, 50*time.Second)
	if strings.Contains(run.Output(), password) || strings.Contains(run.Output(), "a%2Fb") {
		t.Errorf("the output holds a secret:\n%s", run.Output())
	}
	if x.reason != "" {
		if code == 0 || !strings.Contains(run.Stdout(), x.reason) {
			t.Errorf("exit code %d; want a failure: %s\n%s", code, x.reason, run.Output())
		}
		return
	}
	if code != 0 {
		t.Errorf("exit code %d\n%s", code, run.Output())
	}
	if x.says != "" {
		everywhere(t, dir, run, x.says)
	}
}

// everywhere holds the output and every report of a run to say something.
func everywhere(t *testing.T, dir string, run *rig.Process, says string) {
	if !strings.Contains(run.Stdout(), says) {
		t.Errorf("the output does not say that the %s:\n%s", says, run.Output())
	}
	for _, file := range []string{"summary.json", "report.html", "report.md", "junit.xml"} {
		found, err := filepath.Glob(filepath.Join(dir, "runs", "*", file))
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %v, %v", file, found, err)
			continue
		}
		b, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if file == "summary.json" {
			var s struct{ Notes []string }
			if err := json.Unmarshal(b, &s); err != nil {
				t.Error(err)
			}
			text = strings.Join(s.Notes, "\n")
		}
		if !strings.Contains(text, says) {
			t.Errorf("%s does not say that the %s", file, says)
		}
	}
}
