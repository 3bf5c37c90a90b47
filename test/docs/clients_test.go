//go:build integration

package docs

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/test/rig"
)

var update = flag.Bool("update", false, "rewrite the list of what clients are held to")

// held is a case that clients are held to, and how often each of them passed it and did not: over one transport or several.
type held struct {
	what       string
	transports map[string]bool
	passed     map[string]int
	failed     bool
}

// docs/clients.md lists what every client is held to, as the tests themselves say.
func TestClients(t *testing.T) {
	sections := []struct {
		title, run, folder string
		path               string // of a test's name: c is the client, o the transport, w what is tested
	}{
		{"A peer that misbehaves", "TestDriver$", "./fleet/link/", `^/(?P<w>.+/.+)$`},
		{"The embedded hub", "TestDrivers$", "./internal/hub", `^/(?P<c>\w+)/(?P<o>\w+)/(?P<w>.+)$`},
		{"mochi-mqtt", "TestAgainstMochi$", "./fleet/link/", `^/(?P<o>\w+)/(?P<w>.+)$`},
		{"Mosquitto", "TestDriversAgainstMosquitto$", "./test/run", `^/(?P<c>\w+)/(?P<w>.+)$`},
	}
	b := &strings.Builder{}
	for _, s := range sections {
		cases := make(map[string]*held)
		path := regexp.MustCompile(s.path)
		for _, client := range drivers.Names() {
			folder := s.folder
			if strings.HasSuffix(folder, "/") {
				folder += client
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-tags", "integration", "-v", "-run", s.run, folder)
			cmd.Dir = rig.Root()
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", cmd, err, out)
			}
			for _, m := range regexp.MustCompile(`(?m)^ +--- (PASS|FAIL|SKIP): \w+(/.+) \([\d.]+s\)$`).FindAllStringSubmatch(string(out), -1) {
				name := path.FindStringSubmatch(m[2])
				if name == nil {
					continue
				}
				part := func(key string) string {
					if i := path.SubexpIndex(key); i >= 0 {
						return name[i]
					}
					return ""
				}
				if of := part("c"); of != "" && of != client {
					continue
				}
				what := strings.ReplaceAll(strings.ReplaceAll(part("w"), "_", " "), "/", ": ")
				c := cases[what]
				if c == nil {
					c = &held{what: what, transports: make(map[string]bool), passed: make(map[string]int)}
					cases[what] = c
				}
				if o := part("o"); o != "" {
					c.transports[o] = true
				}
				c.passed[client]++
				c.failed = c.failed || m[1] != "PASS"
			}
		}
		if len(cases) == 0 {
			t.Fatalf("%s: no case ran", s.title)
		}
		over := slices.Sorted(maps.Keys(cases[slices.Sorted(maps.Keys(cases))[0]].transports))
		fmt.Fprintf(b, "### %s%s\n\n| | %s |\n|---|%s\n", s.title, strings.TrimSuffix(": over "+strings.Join(over, ", "), ": over "), strings.Join(drivers.Names(), " | "),
			strings.Repeat("---|", len(drivers.Names())))
		for _, what := range slices.Sorted(maps.Keys(cases)) {
			c := cases[what]
			if got := slices.Sorted(maps.Keys(c.transports)); c.failed || !slices.Equal(got, over) {
				t.Errorf("%s: %s: failed %v, over %v; others over %v", s.title, what, c.failed, got, over)
			}
			fmt.Fprintf(b, "| %s |", what)
			for _, client := range drivers.Names() {
				if c.passed[client] != max(1, len(over)) {
					t.Errorf("%s: %s: %s passed it %d times of %d", s.title, what, client, c.passed[client], max(1, len(over)))
				}
				b.WriteString(" yes |")
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	file := filepath.Join(rig.Root(), "docs", "clients.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), "<!-- conformance -->\n")
	_, after, found := strings.Cut(rest, "<!-- end -->")
	if !found {
		t.Fatalf("%s: there is no place for the list", file)
	}
	want := before + "<!-- conformance -->\n" + b.String() + "<!-- end -->" + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s does not list what the tests say; -update writes it anew", file)
	}
}
