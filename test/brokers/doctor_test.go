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
		if !speaks5(t) {
			t.Skip("no client speaks MQTT 5")
		}
		line := "{hub: '" + b.urlOf(elsewhere) + "', mqtt: 5"
		if got := doctored(t, binary, line+"}"); !strings.Contains(got, "sends the first device to another server: "+b.at[clear]) {
			t.Error(got)
		}
		if got := doctored(t, binary, line+", redirect: follow}"); !strings.Contains(got, "accepted for the first device, which speaks MQTT 5") {
			t.Error(got)
		}
	})
}
