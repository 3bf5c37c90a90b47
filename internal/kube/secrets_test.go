package kube_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/kube"
	"github.com/twinfleet/twinfleet/scenario"
)

// What devices prove themselves with to a broker is in no manifest: written in the scenario it is refused, and a variable, or a file, comes from a Secret.
func TestSecretsOfBrokers(t *testing.T) {
	const secret = "hunter2secret"
	file := func(name string) ([]byte, error) {
		if name == "rows.csv" {
			return []byte("client_id,username,password\na,u," + secret + "\n"), nil
		}
		return nil, fs.ErrNotExist
	}
	for name, x := range map[string]struct{ target, group string }{
		"a header":              {`hub: "ws://b.example/mqtt", websocket: {headers: {X-Key: "%s"}}`, ""},
		"a header with scheme":  {`hub: "ws://b.example/mqtt", websocket: {headers: {Authorization: "Bearer %s"}}`, ""},
		"a proxy":               {`hub: "mqtt://b.example", proxy: "http://u:%s@proxy.example:3128"`, ""},
		"a SOCKS proxy":         {`hub: "mqtt://b.example", proxy: "socks5://u:%s@proxy.example:1080"`, ""},
		"the target's password": {`hub: "mqtt://b.example", username: u, password: "%s"`, ""},
		"a group's password":    {`hub: "mqtt://b.example"`, `, username: u, password: "%s"`},
		"a query":               {`hub: "ws://b.example/mqtt?token=%s"`, ""},
	} {
		for written, want := range map[string]bool{secret: false, "${WORD:-" + secret + "}": false, "${WORD}": true} {
			body := fmt.Sprintf("target: {%s}\nfleet: {client: lean, groups: [{name: robots%s, telemetry: {every: 1s}}]}\nstages: [{name: hold, devices: 1, duration: 10s}]\n", x.target, x.group)
			body = strings.ReplaceAll(body, "%s", written)
			m, err := kube.Make(kube.Options{File: "x.yaml", Text: []byte(body), Read: scenario.Options{
				Lookup: func(name string) (string, bool) { return secret, name == "WORD" }, ReadFile: file,
			}})
			if !want {
				if !errors.Is(err, kube.ErrOptions) || strings.Contains(err.Error(), secret) {
					t.Errorf("%s as %s: %v", name, written, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s as %s: %v", name, written, err)
				continue
			}
			stream, err := m.Stream()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(stream), secret) || !strings.Contains(string(stream), "twinfleet-variables --from-env-file=variables.env   # WORD=…") {
				t.Errorf("%s: the manifests have the secret, or do not ask for it:\n%s", name, stream)
			}
		}
	}
	m := manifests(t, kube.Options{File: "x.yaml", Read: scenario.Options{ReadFile: file}, Text: []byte(
		"target: {hub: \"mqtt://b.example\"}\nfleet: {groups: [{name: robots, identity: {credentials: rows.csv}, telemetry: {every: 1s}}]}\nstages: [{name: hold, devices: 1, duration: 10s}]\n")})
	stream, err := m.Stream()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := m.Folder()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(stream), secret) || folder["rows.csv"] != nil || !strings.Contains(string(stream), "create secret generic twinfleet-files --from-file=rows.csv\n") {
		t.Errorf("credentials are no secret:\n%s", stream)
	}
}

// A header that is a variable in part names itself, and says what to write.
func TestHeadersInPart(t *testing.T) {
	for header, want := range map[string]string{
		`X-Key: "id-${WORD}"`:                    `the header X-Key of target.websocket.headers is not from a variable alone, and may hold a secret; write X-Key: "${NAME}"`,
		`X-Key: "${WORD:-hunter2}"`:              `the header X-Key`,
		`Authorization: "Bearer ${WORD}hunter2"`: `write Authorization: "Bearer ${NAME}"`,
	} {
		_, err := kube.Make(kube.Options{File: "x.yaml", Text: []byte("target: {hub: \"ws://b.example/mqtt\", websocket: {headers: {" + header + "}}}\n" +
			"fleet: {client: lean, groups: [{name: robots, telemetry: {every: 1s}}]}\nstages: [{name: hold, devices: 1, duration: 10s}]\n")})
		if !errors.Is(err, kube.ErrOptions) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %s", header, err, want)
		}
	}
}
