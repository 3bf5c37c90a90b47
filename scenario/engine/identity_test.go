package engine_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/identity/keyfile"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// authorityFiles makes a certificate authority on disk.
func authorityFiles(t testing.TB, dir string) (cert *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: der}, "ca.key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return cert
}

// load reads a scenario that stands in a directory with the files that it names.
func load(t testing.TB, dir, text string, set ...string) *scenario.Scenario {
	t.Helper()
	file := filepath.Join(dir, "test.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Load(file, scenario.Options{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func client(t testing.TB, h *hub.Hub) *service.Client {
	t.Helper()
	c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://hub", Dial: h.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

const devicesOf = `
name: identities
fleet: {groups: [{name: robots, count: 20, identity: %s, reported: {connectivity: {type: wifi}}}]}
stages: [{name: ramp, duration: 500ms, devices: 20}, {name: check, steps: [{await: {connected: 20, reported: 20}}]}]
`

func mustPass(t *testing.T, name string, run *report.Run) {
	t.Helper()
	if run.Outcome != report.Passed {
		t.Errorf("%s: the run %s: %s", name, run.Outcome, run.Reason)
	}
	for i := range run.Totals.Series {
		if x := &run.Totals.Series[i]; x.Errors() > 0 {
			t.Errorf("%s: %d errors of %s", name, x.Errors(), x.Operation)
		}
	}
}

// Devices of every kind connect to the embedded hub, over TLS where they have certificates.
func TestIdentitiesOnTheEmbeddedHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		authorityFiles(t, dir)
		var rows []byte
		for i := range 25 {
			rows = keyfile.AppendRow(rows, connstring.Device{HostName: "elsewhere", DeviceID: fmt.Sprintf("e-%d", i), Key: sas.NewKey()})
		}
		if err := os.WriteFile(filepath.Join(dir, "devices.jsonl"), rows, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{
			"{key: aHVzaC1odXNo}", "{x509: {}}", "{x509: {ca: ca.pem, key: ca.key}}", "{x509: {thumbprint: true}}", "{file: devices.jsonl}",
		} {
			run := newEngine(load(t, dir, fmt.Sprintf(devicesOf, kind)), newWatcher()).Run(t.Context())
			mustPass(t, kind, run)
		}
	})
}

// On a hub that outlives the run: identities are of the type that the scenario says, keys of a group are derived,
// and devices of a file are neither made nor removed.
func TestIdentitiesOnAHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert := authorityFiles(t, dir)
		h, set := openHub(t, hub.Options{CertDir: filepath.Join(dir, "hub"), ClientCAs: []*x509.Certificate{cert}})
		c := client(t, h)
		secure := append(set[:1:1], "target.ca="+h.CA(), "target.keep=true")
		remove := func() {
			t.Helper()
			var entries []registry.BulkEntry
			for i := range 20 {
				entries = append(entries, registry.BulkEntry{ID: fmt.Sprintf("robots-%06d", i), ImportMode: registry.ImportDelete})
			}
			if result, err := c.Bulk(t.Context(), entries); err != nil || !result.IsSuccessful {
				t.Fatalf("%v %v", result, err)
			}
		}
		for kind, check := range map[string]func(a *registry.Authentication) bool{
			"{x509: {ca: ca.pem, key: ca.key}}": func(a *registry.Authentication) bool { return a.Type == registry.AuthCertificateAuthority },
			"{x509: {thumbprint: true}}": func(a *registry.Authentication) bool {
				return a.Type == registry.AuthSelfSigned && len(a.Thumbprint.Primary) == 64
			},
			"{key: Z3JvdXAtc2VjcmV0}": func(a *registry.Authentication) bool {
				key, _ := sas.ParseKey("Z3JvdXAtc2VjcmV0")
				return a.Type == registry.AuthSAS && a.SymmetricKey.Primary == key.Derive("robots-000007")
			},
		} {
			mustPass(t, kind, atHub(load(t, dir, fmt.Sprintf(devicesOf, kind), secure...), newWatcher(), h.Dial).Run(t.Context()))
			device, err := c.Device(t.Context(), "robots-000007")
			if err != nil || !check(&device.Authentication) {
				t.Errorf("%s: %v, authentication %s", kind, err, device.Authentication.Type)
			}
			// Again, with devices that are there: all but thumbprints of certificates that are gone can be used.
			second := atHub(load(t, dir, fmt.Sprintf(devicesOf, kind), secure...), newWatcher(), h.Dial).Run(t.Context())
			if strings.Contains(kind, "thumbprint") {
				if second.Outcome != report.Failed || !strings.Contains(second.Reason, "exists already with another certificate; remove it with twinfleet deprovision") {
					t.Errorf("%s, second run: %s: %s", kind, second.Outcome, second.Reason)
				}
			} else {
				mustPass(t, kind+", second run", second)
			}
			remove()
		}

		var rows []byte
		for i := range 20 {
			made, err := c.CreateDevice(t.Context(), registry.Identity{DeviceID: fmt.Sprintf("mine-%d", i)})
			if err != nil {
				t.Fatal(err)
			}
			rows = keyfile.AppendRow(rows, connstring.Device{
				HostName: h.ConnectionString("iothubowner").HostName, DeviceID: made.DeviceID, Key: made.Authentication.SymmetricKey.Primary,
			})
		}
		if err := os.WriteFile(filepath.Join(dir, "devices.jsonl"), rows, 0o600); err != nil {
			t.Fatal(err)
		}
		run := atHub(load(t, dir, fmt.Sprintf(devicesOf, "{file: devices.jsonl}"), set[0], "target.plain=true"), newWatcher(), h.Dial).Run(t.Context())
		mustPass(t, "file", run)
		if x := run.Totals.Select(metrics.OpProvision, ""); x != nil && x.Started() > 0 {
			t.Errorf("%d calls to make or remove devices of a file", x.Started())
		}
		if s, err := c.Statistics(t.Context()); err != nil || s.Total != 20 {
			t.Errorf("%d identities after the run (%v); want the 20 of the file", s.Total, err)
		}
	})
}

// A hub of tier S1 sheds the identities of a run: it waits, says so, and goes on; at the end it removes them all.
func TestProvisioningIsThrottled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// A call of 100 takes more than the burst of 50; another is shed for the three seconds that come after it.
		h, set := openHub(t, hub.Options{Tier: "S1", Units: 20, Shape: bucket.Shape{Burst: 1500 * time.Millisecond, Backlog: -1}})
		h.Arm()
		w := newWatcher()
		const text = "fleet: {groups: [{name: robots, count: 150}]}\nstages: [{name: ramp, duration: 1s, devices: 5}]"
		run := atHub(load(t, t.TempDir(), text, set[0], "target.plain=true"), w, h.Dial).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		waited := false
		for _, e := range w.events {
			waited = waited || strings.Contains(e.Text, "the registry throttles")
		}
		x := run.Totals.Select(metrics.OpProvision, "")
		if !waited || x.Count(metrics.Throttled) == 0 || x.Errors() > 0 {
			t.Errorf("waited %t, %d calls throttled, %d errors", waited, x.Count(metrics.Throttled), x.Errors())
		}
		if n := h.Stats().Devices.Total; n != 0 {
			t.Errorf("%d identities are left", n)
		}
	})
}

// A run that is stopped at once removes nothing, and says what is left and what removes it.
func TestStoppedAtOnceSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, set := openHub(t, hub.Options{CertDir: t.TempDir()})
		c := client(t, h)
		w := newWatcher()
		eng := atHub(decode(t, small, append(set, "target.keep=false")...), w, h.Dial)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan *report.Run, 1)
		go func() { done <- eng.Run(ctx) }()
		w.until(t, "all devices connected", connected(50))
		cancel()
		run := <-done
		want := "the registry still has 50 identities of this run; twinfleet deprovision removes what is left"
		if run.Outcome != report.Interrupted || !slices.Contains(run.Notes, want) {
			t.Errorf("%s: %s; notes %q; want %q", run.Outcome, run.Reason, run.Notes, want)
		}
		if s, err := c.Statistics(t.Context()); err != nil || s.Total != 50 {
			t.Errorf("%d identities, %v", s.Total, err)
		}
	})
}
