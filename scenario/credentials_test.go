package scenario_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/scenario"
)

// files are read in place of the system's, by their names without folders.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	if text, ok := f[filepath.ToSlash(name)]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "open", Path: "/private/" + name, Err: fs.ErrNotExist}
}

func (f files) decode(target, group string) (*scenario.Scenario, error) {
	text := fmt.Sprintf("target: {%s}\nfleet: {groups: [{name: a, %s}]}\nstages: [{name: s, devices: 1}]\n", target, group)
	return scenario.Decode("x.yaml", []byte(text), scenario.Options{ReadFile: f.read})
}

// pair is a certificate and its key in PEM, that an authority signed.
func pair(t *testing.T, a *authority.Authority, id string) (cert, key string) {
	t.Helper()
	made, err := a.Device(id)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// What a group says goes before what the target says, and what a row says before both; what nobody says is filled in by templates.
func TestLogins(t *testing.T) {
	f := files{"d.csv": "client_id;username;password\nc-1;;hush1\n;u2;\nc-3;u3;hush3\n"}
	const broker = `hub: "mqtt://b", username: "t-{index}", password: "tp-{device}"`
	for name, tt := range map[string]struct {
		target, group, want string
	}{
		"the target's":          {broker, "count: 2", "a-000000 t-000000 tp-a-000000, a-000001 t-000001 tp-a-000001"},
		"the group's":           {broker, `count: 2, client_id: "{group}/{index}", username: "{device}", password: "p{index}", first_index: 7, index_width: 2`, "a/07 a-07 p07, a/08 a-08 p08"},
		"none":                  {broker, `username: "", password: ""`, "a-000000  "},
		"given by the server":   {broker, `count: 2, client_id: ""`, " t-000000 tp-a-000000,  t-000001 tp-a-000001"},
		"of a file":             {broker, "identity: {credentials: d.csv}", "c-1 t-000000 hush1, a-000001 u2 tp-a-000001, c-3 u3 hush3"},
		"of a part of the file": {broker, "count: 2, identity: {credentials: d.csv}", "c-1 t-000000 hush1, a-000001 u2 tp-a-000001"},
	} {
		s, err := f.decode(tt.target, tt.group)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for i := range s.Devices() {
			l := s.Fleet.Groups[0].Login(i)
			got = append(got, l.ClientID+" "+l.Username+" "+l.Password.Reveal())
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
		if strings.Contains(string(s.Source)+fmt.Sprintf("%+v", s.Fleet), "hush") {
			t.Errorf("%s: a password is shown", name)
		}
	}
}

// Whatever is wrong with what devices prove themselves with is said before anything starts, in one line that shows nothing of it.
func TestCredentialsMistakes(t *testing.T) {
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, key := pair(t, a, "a-000000")
	_, other := pair(t, a, "a-000000")
	signer, err := x509.MarshalPKCS8PrivateKey(a.TLS().PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	f := files{
		"good.csv": "certificate,key\nc/a-000000.pem,c/a-000000.key\n", "ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})),
		"ca.key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: signer})),
		"short.csv": "client_id,password\nx,hush\n", "twice.csv": "client_id,password\nx,hush\nx,hush\n", "password.csv": "client_id,password\nx,hush\n",
		"c/a-000000.pem": cert, "c/a-000000.key": key, "c/a-000001.pem": cert, "c/a-000001.key": other, "c/a-000002.pem": "hush", "c/a-000002.key": key,
		"files.csv": "certificate,key\nc/a-000000.pem,c/a-000000.key\nc/nowhere.pem,c/a-000000.key\n",
	}
	for name, tt := range map[string]struct{ group, want string }{
		"more than rows":     {"count: 2, identity: {credentials: short.csv}", "x.yaml:2:35: fleet.groups[0].count: 2 devices, but short.csv has 1 rows"},
		"twice":              {"identity: {credentials: twice.csv}", `credentials: twice.csv:3: client_id "x" stands in line 2 already`},
		"no user name":       {"identity: {credentials: password.csv}", "password.csv:2: a password without a user name is none in MQTT 3.1.1"},
		"another's key":      {`count: 2, identity: {x509: {certificate: "c/{device}.pem", key: "c/{device}.key"}}`, "device a-000001: c/a-000001.key is not the key of c/a-000001.pem"},
		"no certificate":     {`first_index: 2, identity: {x509: {certificate: "c/{device}.pem", key: "c/{device}.key"}}`, "device a-000002: c/a-000002.pem: there is no certificate"},
		"no file":            {`first_index: 3, identity: {x509: {certificate: "c/{device}.pem", key: "c/{device}.key"}}`, "device a-000003: c/a-000003.pem: no such file"},
		"no file of a row":   {"identity: {credentials: files.csv}", "files.csv:3: device a-000001: c/nowhere.pem: no such file"},
		"certificates twice": {`identity: {credentials: good.csv, x509: {ca: ca.pem, key: ca.key}}`, "good.csv has certificates of devices; remove x509"},
	} {
		_, err := f.decode(`hub: "mqtts://b"`, tt.group)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "/private/")) {
			t.Errorf("%s: the error shows too much: %v", name, err)
		}
	}
	s, err := f.decode(`hub: "mqtts://b"`, `identity: {x509: {certificate: "c/{device}.pem", key: "c/{device}.key"}}`)
	if err != nil || len(s.Warnings) > 0 {
		t.Fatal(err, s)
	}
	c, err := s.Fleet.Groups[0].Certificate(0)
	if err != nil {
		t.Fatal(err)
	}
	if x, err := x509.ParseCertificate(c.Certificate[0]); err != nil || x.Subject.CommonName != "a-000000" {
		t.Errorf("%v, %v", x, err)
	}
}
