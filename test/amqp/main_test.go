package amqp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hub is the hub that all tests share.
var hub struct {
	Port     int               `json:"port"`
	CA       string            `json:"ca"`
	Policies map[string]string `json:"policies"`
	EventHub string            `json:"eventHub"`
	host     string            // with the port
	tls      *tls.Config
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "twinfleet-amqp-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := os.Getenv("TWINFLEET_BINARY")
	if binary == "" {
		binary = filepath.Join(dir, "twinfleet")
		build := exec.Command("go", "build", "-o", binary, "./cmd/twinfleet")
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("building the hub: %w\n%s", err, out)
		}
	}
	cmd := exec.Command(binary, "hub", "--json", "--listen", "127.0.0.1:0", "--cert-dir", filepath.Join(dir, "certs"), "--token-grace", "1s", "--telemetry-always")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("starting the hub: %w", err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if e := cmd.Wait(); e != nil && err == nil {
			code, err = 1, fmt.Errorf("the hub ended with: %w", e)
		}
	}()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return 1, fmt.Errorf("the hub ended at once: %w", err)
	}
	if err := json.Unmarshal(line, &hub); err != nil {
		return 1, fmt.Errorf("what the hub said: %w", err)
	}
	if hub.EventHub == "" {
		hub.EventHub = "localhost" // its short name
	}
	ca, err := os.ReadFile(hub.CA)
	if err != nil {
		return 1, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	hub.host = fmt.Sprintf("localhost:%d", hub.Port)
	hub.tls = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	return m.Run(), nil
}

// within is the longest that a case may take.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// token is a shared access signature: of a device, or of a policy when its name is given.
func token(resource, policy, key string, lasts time.Duration) string {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		raw = []byte(key)
	}
	resource, ends := url.QueryEscape(resource), time.Now().Add(lasts).Unix()
	mac := hmac.New(sha256.New, raw)
	fmt.Fprintf(mac, "%s\n%d", resource, ends)
	text := fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d", resource, url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))), ends)
	if policy != "" {
		text += "&skn=" + policy
	}
	return text
}

func policyToken(policy string) string {
	return token(hub.host, policy, hub.Policies[policy], time.Hour)
}

// rest asks the hub by REST, and returns the status and what it answered.
func rest(t *testing.T, method, path string, body any, headers ...string) (int, map[string]any) {
	t.Helper()
	text := must[[]byte](t)(json.Marshal(body))
	if body == nil {
		text = nil
	}
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	req := must[*http.Request](t)(http.NewRequestWithContext(within(t), method, "https://"+hub.host+path+separator+"api-version=2021-04-12", bytes.NewReader(text)))
	req.Header.Set("Authorization", policyToken("iothubowner"))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: hub.tls.Clone()}}
	defer client.CloseIdleConnections()
	res := must[*http.Response](t)(client.Do(req))
	defer func() { _ = res.Body.Close() }()
	answer := must[[]byte](t)(io.ReadAll(res.Body))
	var out map[string]any
	_ = json.Unmarshal(answer, &out)
	return res.StatusCode, out
}

// identity is a device that the hub knows.
type identity struct{ id, key string }

func (d identity) address(of string) string { return "/devices/" + d.id + "/" + of }

func (d identity) token(lasts time.Duration) string {
	return token("localhost/devices/"+d.id, "", d.key, lasts)
}

func newDevice(t *testing.T) identity {
	t.Helper()
	id := "amqp-" + strings.ToLower(rand.Text()[:10])
	status, made := rest(t, "PUT", "/devices/"+id, map[string]any{"deviceId": id})
	if status != http.StatusOK {
		t.Fatal(status, made)
	}
	return identity{id, made["authentication"].(map[string]any)["symmetricKey"].(map[string]any)["primaryKey"].(string)}
}

func twinOf(t *testing.T, d identity) map[string]any {
	t.Helper()
	_, twin := rest(t, "GET", "/twins/"+d.id, nil)
	return twin
}

func waiting(t *testing.T, d identity) float64 {
	t.Helper()
	return twinOf(t, d)["cloudToDeviceMessageCount"].(float64)
}

// sendTo sends a message to a device by REST.
func sendTo(t *testing.T, d identity, body any, headers ...string) {
	t.Helper()
	if status, answer := rest(t, "POST", "/devices/"+d.id+"/messages/deviceBound", body, headers...); status/100 != 2 {
		t.Fatal(status, answer)
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ask(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain: " + what)
		}
	}
}
