package target

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/scenario"
)

// ofBroker is a scenario whose devices prove themselves to a broker in every way, with the files that it names.
const ofBroker = `
target: {hub: "mqtts://127.0.0.1:1", username: all, password: shared}
fleet:
  groups:
    - {name: robots, count: 2}
    - {name: gates, identity: {credentials: gates.csv}}
    - {name: doors, count: 2, identity: {x509: {ca: ca.pem, key: ca.key, common_name: "cn-{device}"}}}
    - {name: homes, count: 1, first_index: 7, index_width: 2, identity: {x509: {certificate: "{device}.pem", key: "{device}.key"}}}
stages: [{name: s, devices: 1, duration: 1s}]
`

// brokerFiles are those of ofBroker.
func brokerFiles(t *testing.T) map[string][]byte {
	t.Helper()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	made, err := a.Device("homes-07")
	if err != nil {
		t.Fatal(err)
	}
	key := func(private any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	cert := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }
	return map[string][]byte{
		"gates.csv": []byte("client_id;password\nc-1;hush1\n;hush2\n"), "ca.pem": cert(a.Certificate().Raw), "ca.key": key(a.TLS().PrivateKey),
		"homes-07.pem": cert(made.Certificate[0]), "homes-07.key": key(made.PrivateKey),
	}
}

// What devices say and present to a broker is the same in the process of an agent, which has no file of the scenario's, and nothing of the others' devices.
func TestBrokerDevicesOfAgents(t *testing.T) {
	files := brokerFiles(t)
	sc, p, err := parcel.Pack("x.yaml", []byte(ofBroker), scenario.Options{ReadFile: func(name string) ([]byte, error) {
		if b, ok := files[path.Base(name)]; ok {
			return b, nil
		}
		return nil, fs.ErrNotExist
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Files) > 0 {
		t.Errorf("%d files go to every agent", len(p.Files))
	}
	open := func(sc *scenario.Scenario) *Target {
		aim, err := Open(t.Context(), Options{Scenario: sc, Devices: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { aim.Close() })
		return aim
	}
	whole := open(sc)
	ids, err := whole.Identities()
	if err != nil {
		t.Fatal(err)
	}
	there, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	if there.Devices() != sc.Devices() {
		t.Fatalf("%d devices there, %d here", there.Devices(), sc.Devices())
	}
	export, err := ids.Export([]int{0, 2, 3, 5, 6})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(export.Reveal()), "hush2") {
		t.Error("the password of a device that is exported is not")
	}
	one, err := ids.Export([]int{0, 3})
	if err != nil || strings.Contains(string(one.Reveal()), "hush1") {
		t.Errorf("%v, or an agent has the password of another's device", err)
	}
	here, err := ImportIdentities(there, export.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	agent := open(there)
	agent.Use(here)
	for index, want := range map[int]string{
		0: "robots-000000 all shared", 2: "c-1 all hush1", 3: "gates-000001 all hush2", 5: "doors-000001 all shared cn-doors-000001", 6: "homes-07 all shared homes-07",
	} {
		for where, x := range map[string]*Target{"whole": whole, "agent": agent} {
			o := x.Link(index, ids.IDs[index])
			got := o.ClientID + " " + o.Username + " " + o.Password()
			if name := presented(t, x, index); name != "" {
				got += " " + name
			}
			if got != want {
				t.Errorf("device %d, %s: %s; want %s", index, where, got, want)
			}
		}
	}
}

// presented is the common name of what a device presents; "" for nothing.
func presented(t *testing.T, x *Target, index int) string {
	t.Helper()
	_, _ = x.Link(index, "").Dial(t.Context()) // has the certificate made that an authority signs
	if p := x.devices.proof(index); p.cert != nil {
		return commonName(t, p.cert.Certificate[0])
	}
	if x.devices.here != nil {
		return ""
	}
	g, i := x.groupOf(index)
	cert, err := g.Certificate(i)
	if err != nil {
		t.Fatal(err)
	}
	if cert == nil {
		return ""
	}
	return commonName(t, cert.Certificate[0])
}

func commonName(t *testing.T, der []byte) string {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.Subject.CommonName
}

// No file is read while a connection is measured, however many devices there are: that would be counted as the target's time.
func TestCertificatesAreReadBefore(t *testing.T) {
	const devices = 10_100
	files, reads := brokerFiles(t), 0
	text := fmt.Sprintf(`
target: {hub: "mqtts://127.0.0.1:1"}
fleet: {groups: [{name: homes, count: %d, identity: {x509: {certificate: "{device}.pem", key: "{device}.key"}}}]}
stages: [{name: s, devices: 1, duration: 1s}]
`, devices)
	sc, err := scenario.Decode("x.yaml", []byte(text), scenario.Options{ReadFile: func(name string) ([]byte, error) {
		reads++
		return files["homes-07"+path.Ext(name)], nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	aim, err := Open(t.Context(), Options{Scenario: sc, Devices: true})
	if err != nil {
		t.Fatal(err)
	}
	defer aim.Close()
	if _, err := aim.Identities(); err != nil {
		t.Fatal(err)
	}
	for _, index := range []int{0, devices - 1} {
		o := aim.Link(index, sc.Fleet.Groups[0].DeviceID(index))
		before := reads
		if _, err := o.Dial(t.Context()); err == nil {
			t.Error("somebody is at port 1")
		}
		if reads != before {
			t.Errorf("device %d read %d files while it connected", index, reads-before)
		}
	}
}

// A file that is there when the run begins and not when a device connects is the device's failure, with a reason of its own.
func TestCertificateThatVanishes(t *testing.T) {
	err := error(&certificateError{fs.ErrNotExist})
	if own, ok := err.(interface{ Reason() string }); !ok || own.Reason() == "" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
