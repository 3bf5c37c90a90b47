//go:build integration

package brokers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// doctored is what doctor says of a target.
func doctored(t *testing.T, binary, line string) string {
	t.Helper()
	dir := t.TempDir()
	text := strings.NewReplacer("TARGET", line, "NAME", "x", "  source_addresses: [127.0.0.1, 127.0.0.5]\n", "").Replace(short)
	if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := rig.Start(t, dir, []string{"PASSWORD=" + password}, binary, "doctor", "x.yaml")
	p.Wait(t, 50*time.Second)
	if strings.Contains(p.Output(), password) {
		t.Errorf("the output holds the password:\n%s", p.Output())
	}
	return p.Output()
}

// Doctor tries all that lies between the devices and a broker, and says what it found.
func TestDoctor(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	p := newPKI(t, dir)
	b, http, socks := mochi(t, p), httpProxy(t, dir), socksProxy(t, dir)
	for name, tt := range map[string]struct{ target, want string }{
		"TLS":                   {"hub: '" + b.urlOf(secured) + "', ca: CA, tls: {alpn: [mqtt]}", "trusted; TLS 1.3, ALPN mqtt"},
		"TLS below a WebSocket": {"hub: '" + b.urlOf(webTLS) + "', ca: CA", "trusted; TLS 1.3"},
		"unchecked":             {"hub: '" + b.urlOf(secured) + "', tls: {insecure: true}", "! certificate       not checked, as target.tls.insecure says"},
		"another ALPN":          {"hub: '" + b.urlOf(secured) + "', ca: CA, tls: {alpn: [x]}", "→ check target.tls: min_version, alpn and server_name"},
		"TLS to a port in clear": {
			"hub: '" + strings.Replace(b.urlOf(clear), "mqtt:", "mqtts:", 1) + "', ca: CA", "✗ certificate       the handshake failed",
		},
		"version":          {"hub: '" + b.urlOf(clear) + "'", "accepted for the first device, which speaks MQTT 3.1.1"},
		"CONNECT":          {"hub: '" + b.urlOf(clear) + "', proxy: 'http://fleet:${PASSWORD}@" + http + "'", "✓ proxy             it connects to " + b.at[clear]},
		"CONNECT, refused": {"hub: '" + b.urlOf(clear) + "', proxy: 'http://" + http + "'", "✗ proxy             no connection to " + b.at[clear] + ": the proxy refused: 40"},
		"SOCKS":            {"hub: '" + b.urlOf(clear) + "', proxy: 'socks5://fleet:${PASSWORD}@" + socks + "'", "✓ proxy             it connects to " + b.at[clear]},
		"SOCKS, nobody behind it": {
			"hub: 'mqtt://127.0.0.1:1', proxy: 'socks5://fleet:${PASSWORD}@" + socks + "'", "the proxy does not reach the target: connection refused",
		},
		"CONNECT, nobody behind it": {
			"hub: 'mqtt://127.0.0.1:1', proxy: 'http://fleet:${PASSWORD}@" + http + "'", "✗ proxy             no connection to 127.0.0.1:1: the proxy ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := doctored(t, binary, "{"+strings.ReplaceAll(tt.target, "CA", p.ca)+"}"); !strings.Contains(got, tt.want) {
				t.Errorf("want %s\n%s", tt.want, got)
			}
		})
	}
	t.Run("redirect", func(t *testing.T) {
		t.Parallel()
		line := "{hub: '" + b.urlOf(elsewhere) + "', mqtt: 5"
		if got := doctored(t, binary, line+"}"); !strings.Contains(got, "sends the first device to another server: "+b.at[clear]) {
			t.Error(got)
		}
		if got := doctored(t, binary, line+", redirect: follow}"); !strings.Contains(got, "accepted for the first device, which speaks MQTT 5, by "+b.at[clear]+", to which the broker sends it") {
			t.Error(got)
		}
	})
}

// Doctor connects as the first device, with what that proves itself with.
func TestDoctorOfDevices(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	p := newPKI(t, dir)
	files := p.devices(t, dir)
	rows := filepath.Join(dir, "rows.csv")
	if err := os.WriteFile(rows, []byte("client_id,username,password\nx,d-000001,p-000001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := "→ give devices certificates that the broker trusts"
	// A broker that closes with something unread resets the connection, and the alert that says why is lost where the reset comes first.
	reset := "→ check target.tls: min_version, alpn and server_name, and whether the broker wants certificates of devices"
	for _, b := range []*broker{mosquitto(t, p, dir), mochi(t, p)} {
		for _, version := range []string{"3.1.1", "5"} {
			for name, tt := range map[string]struct {
				at          way
				group, want string
			}{
				"authority":            {mutual, "identity: {x509: {ca: CA, key: AUTHORITY}}", ""},
				"files":                {mutual, `identity: {x509: {certificate: "FILES/{index}.pem", key: "FILES/{index}.key", key_password: "${PASSWORD}"}}`, ""},
				"without":              {mutual, "timeout: 5s", refused},
				"another's":            {mutual, "identity: {x509: {ca: OTHER, key: KEY}}", refused},
				"credentials":          {locked, "identity: {credentials: " + rows + "}", ""},
				"a template":           {locked, `username: "d-{index}", password: "p-{index}"`, ""},
				"a wrong password":     {locked, `username: "d-{index}", password: "q-{index}"`, "→ check what the group and target have as username and password"},
				"a session to be kept": {locked, `username: "d-{index}", password: "p-{index}", session: {clean: false}`, ""},
			} {
				t.Run(b.name+"/"+version+"/"+name, func(t *testing.T) {
					t.Parallel()
					dir := t.TempDir()
					other := newPKI(t, dir)
					target := "{hub: '" + b.urlOf(tt.at) + "', mqtt: " + version
					if tt.at == mutual {
						target += ", ca: CA"
					}
					text := "target: " + target + "}\nfleet: {groups: [{name: x-" + strings.NewReplacer(" ", "-", "'", "", ".", "-").Replace(name+version) + ", " + tt.group + ", telemetry: {every: 1s}}]}\nstages: [{name: hold, duration: 1s, devices: 1}]\n"
					text = strings.NewReplacer("CA", p.ca, "AUTHORITY", p.caKey, "FILES", files, "OTHER", other.ca, "KEY", other.caKey).Replace(text)
					if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
					d := rig.Start(t, dir, []string{"PASSWORD=" + password}, binary, "doctor", "x.yaml")
					d.Wait(t, 50*time.Second)
					want := tt.want
					if want == "" {
						want = "accepted for the first device, which speaks MQTT " + version
					}
					if out := d.Output(); !strings.Contains(out, want) && (want != refused || !strings.Contains(out, "connection reset") || !strings.Contains(out, reset)) {
						t.Errorf("want %s\n%s", want, out)
					}
				})
			}
		}
	}
}
