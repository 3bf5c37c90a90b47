//go:build integration

package run

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub/pointing"
	identities "github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/test/rig"
)

// pageAsks asks the page of a hub with its token.
func pageAsks(t *testing.T, said map[string]any, path string, into any) {
	t.Helper()
	base, token, _ := strings.Cut(said["page"].(string), "#token=")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
}

// The lines that the page gives for the tools of a shell do what they say, pasted as they are, also for an id that a shell would take apart.
func TestLinesToPaste(t *testing.T) {
	t.Parallel()
	rig.Program(t, "mosquitto_pub")
	rig.Program(t, "curl")
	binary, dir := rig.Build(t), t.TempDir()
	_, said := startHub(t, binary, dir, "127.0.0.1:0")
	const id = "robot'1$(x)"
	if _, err := serviceClient(t, said).CreateDevice(t.Context(), identities.Identity{DeviceID: id, Status: identities.StatusEnabled}); err != nil {
		t.Fatal(err)
	}
	var told struct{ Clients []pointing.Client }
	pageAsks(t, said, "page/api/connect?id="+url.QueryEscape(id), &told)
	paste := func(name string) string {
		for _, c := range told.Clients {
			if c.Name == name {
				out, err := exec.CommandContext(t.Context(), "sh", "-euc", c.Lines).CombinedOutput()
				if err != nil {
					t.Errorf("%s: %v\n%s\n%s", name, err, c.Lines, out)
				}
				return string(out)
			}
		}
		t.Fatalf("there are no lines for %s", name)
		return ""
	}
	paste("mosquitto_pub")
	var n struct{ Telemetry int }
	if pageAsks(t, said, "page/api/numbers", &n); n.Telemetry != 1 {
		t.Errorf("the hub received %d messages of mosquitto_pub", n.Telemetry)
	}
	if out := paste("curl"); strings.Count(out, `"deviceId":"`+id+`"`) != 2 {
		t.Errorf("curl prints %s", out)
	}
}
