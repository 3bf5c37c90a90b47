package hub_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// devicesVariable makes the test binary a crowd of devices, so that the hub's process holds only the
// hub's side of their connections. It says what they connect to, as JSON.
const devicesVariable = "TWINFLEET_HUB_DEVICES"

type crowd struct {
	Address string
	Key     string // of all devices
	Devices int
	CA      []byte // in clear when empty
}

func crowdID(i int) string { return fmt.Sprintf("robot-%06d", i) }

// crowdOf connects a crowd and says so on standard output. They stay until standard input ends.
func crowdOf(text string) error {
	var c crowd
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	key, err := sas.ParseKey(c.Key)
	if err != nil {
		return err
	}
	for i := range c.Devices {
		nc, err := c.dial()
		if err != nil {
			return err
		}
		defer nc.Close()
		if err := c.enter(nc, crowdID(i), key); err != nil {
			return fmt.Errorf("device %d: %w", i, err)
		}
	}
	fmt.Println("connected")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (c crowd) dial() (net.Conn, error) {
	if len(c.CA) == 0 {
		return net.Dial("tcp", c.Address)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.CA)
	return tls.Dial("tcp", c.Address, &tls.Config{RootCAs: pool, ServerName: "localhost"})
}

// enter does what a device does when it comes: it connects, subscribes and reads its twin.
func (c crowd) enter(nc net.Conn, id string, key sas.Key) error {
	l := wiretest.Login(id, key)
	l.HasUsername, l.HasPassword = true, true
	b := mqtt.AppendConnect(nil, &l)
	b = mqtt.AppendSubscribe(b, 1, mqtt.Subscription{Filter: []byte(topics.FilterTwinResponses)}, mqtt.Subscription{Filter: []byte(topics.FilterDesired)})
	b = mqtt.AppendPublish(b, topics.TwinGet("1"), []byte(" "), 0, false, false, 0)
	if _, err := nc.Write(b); err != nil {
		return err
	}
	r := framing.NewReader(nc)
	for _, want := range []mqtt.Type{mqtt.CONNACK, mqtt.SUBACK, mqtt.PUBLISH} {
		if p, err := r.Next(); err != nil || p.Type != want {
			return fmt.Errorf("packet type %d, %w; want %d", p.Type, err, want)
		}
	}
	return nil
}

// held is the memory of this process that is in use: heap and stacks.
func held() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first leaves what had finalizers, and pools keep their content over one
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// connectionMemory connects so many devices and answers the hub's memory of each.
func connectionMemory(t testing.TB, n int, secure bool) float64 {
	t.Helper()
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Options{CertDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	key := sas.NewKey()
	for first := 0; first < n; first += registry.MaxBulk {
		var entries []registry.BulkEntry
		for i := first; i < min(n, first+registry.MaxBulk); i++ {
			e := registry.NewBulkEntry(registry.ImportCreate, crowdID(i), key, key)
			e.Tags = json.RawMessage(`{"location":{"region":"US","plant":"Redmond43"}}`)
			entries = append(entries, e)
		}
		body, err := json.Marshal(entries)
		if err != nil {
			t.Fatal(err)
		}
		must(t, h, "POST", "/devices?api-version=2021-04-12", string(body))
	}
	c := crowd{Address: h.Addr(), Key: key.Base64(), Devices: n}
	if secure {
		if c.CA, err = os.ReadFile(h.CA()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	before := held()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), devicesVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "connected" {
		t.Fatalf("the devices said %q, %v", line, err)
	}
	if got := h.Stats().Connected; got != n {
		t.Fatalf("%d devices are connected; want %d", got, n)
	}
	each := (held() - before) / float64(n)
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	return each
}

// A connected device costs the hub at most 6 KB in clear and 25 KB with TLS: heap and stack of its own
// side, the kernel's buffers apart.
func TestConnectionMemory(t *testing.T) {
	for _, tt := range []struct {
		name   string
		secure bool
		limit  float64 // bytes
	}{{"clear", false, 6 << 10}, {"TLS", true, 25 << 10}} {
		if got := connectionMemory(t, 1000, tt.secure); got > tt.limit {
			t.Errorf("%s: %.0f bytes a connection; at most %.0f are promised", tt.name, got, tt.limit)
		} else {
			t.Logf("%s: %.0f bytes a connection", tt.name, got)
		}
	}
}

func BenchmarkConnectionMemory(b *testing.B) {
	for name, secure := range map[string]bool{"clear": false, "TLS": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(connectionMemory(b, 5000, secure), "bytes/connection")
			}
		})
	}
}
