//go:build clients

package clients

import (
	"encoding/json"
	"encoding/xml"
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
	"unicode"

	"github.com/twinfleet/twinfleet/test/rig"
)

var (
	update = flag.Bool("update", false, "rewrite the list of what Microsoft's clients are held to")
	only   = flag.String("only", "", "run one client's suite (Node.js, Python, Java or Go) and leave the list alone")
)

func TestMain(m *testing.M) { rig.Main(m) }

// client is a suite: its program, and how its results are read: from a file or a folder, or from what the program printed.
type client struct {
	name, packages, folder string
	command                []string
	results                func(path string) ([]group, error)
}

type group struct {
	Name  string `json:"name"`
	Cases []struct {
		Name   string `json:"name"`
		Passed bool   `json:"passed"`
	} `json:"cases"`
}

var clients = []client{
	{"Node.js", "`azure-iot-device` with its transports for MQTT, AMQP and HTTPS, `azure-iothub`, `@azure/event-hubs` and the provisioning clients, from npm", "sdk", []string{"node", "run.mjs"}, fromJSON},
	{"Python", "`azure-iot-device`, `azure-iot-hub`, `azure-eventhub` and `uamqp`, from PyPI, and Qpid Proton", "python", []string{".venv/bin/pytest"}, fromJSON},
	{"Java", "`iot-device-client`, `iot-service-client` and the provisioning clients, from Maven Central", "java", []string{"mvn", "--offline", "--quiet", "--batch-mode", "-Dstyle.color=never", "test"}, fromSurefire},
	{"Go", "`azeventhubs` and `go-amqp`", "amqp", []string{"go", "test", "-count", "1", "-parallel", "8", "-json", "./..."}, fromGo},
}

// Every case of every client passes, and docs/embedded-hub.md lists them all and no other.
func TestClients(t *testing.T) {
	sections := make([]string, len(clients))
	t.Run("run", func(t *testing.T) {
		for i, c := range clients {
			if *only != "" && *only != c.name {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				sections[i] = c.run(t)
			})
		}
	})
	if t.Failed() || *only != "" {
		return
	}
	file := filepath.Join(rig.Root(), "docs", "embedded-hub.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- clients -->\n", "<!-- end of clients -->"
	before, rest, _ := strings.Cut(string(text), begin)
	_, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s: there is no place for the list", file)
	}
	want := before + begin + strings.Join(sections, "") + end + after
	switch {
	case *update:
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case string(text) != want:
		t.Errorf("%s does not list what the clients' suites say; go test -tags clients ./test/clients -update writes it anew", file)
	}
}

// run runs the suite, and returns its part of the list.
func (c client) run(t *testing.T) string {
	dir := t.TempDir()
	results := filepath.Join(dir, "results.json")
	cmd := exec.CommandContext(t.Context(), c.command[0], c.command[1:]...)
	cmd.Dir = filepath.Join(rig.Root(), "test", c.folder)
	if strings.Contains(c.command[0], "/") {
		cmd.Path = filepath.Join(cmd.Dir, c.command[0])
	}
	cmd.Env = append(os.Environ(), "TWINFLEET_BINARY="+rig.Build(t), "TWINFLEET_RESULTS="+results)
	if c.name == "Java" {
		if err := os.RemoveAll(filepath.Join(cmd.Dir, "target", "surefire-reports")); err != nil {
			t.Fatal(err)
		}
		results = filepath.Join(cmd.Dir, "target", "surefire-reports")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(c.command, " "), err, out)
	}
	if c.name == "Go" {
		if err := os.WriteFile(results, out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	groups, err := c.results(results)
	if err != nil {
		t.Fatal(err)
	}
	var all int
	b := &strings.Builder{}
	for _, g := range groups {
		names := make([]string, len(g.Cases))
		for i, one := range g.Cases {
			names[i] = strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`).Replace(one.Name)
			if !one.Passed {
				t.Errorf("%s: %s: %s does not pass", c.name, g.Name, one.Name)
			}
		}
		slices.Sort(names)
		all += len(names)
		fmt.Fprintf(b, "| %s | %d | %s |\n", g.Name, len(names), strings.Join(names, "; "))
	}
	if all == 0 {
		t.Fatalf("%s: no case ran\n%s", c.name, out)
	}
	t.Logf("%s: %d cases pass", c.name, all)
	return fmt.Sprintf("### %s: %d cases\n\nWith %s.\n\n| what | cases | |\n|---|---|---|\n%s\n", c.name, all, c.packages, b)
}

// fromJSON reads what the suites of Node.js and Python write.
func fromJSON(file string) ([]group, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out struct {
		Groups []group `json:"groups"`
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	slices.SortFunc(out.Groups, func(a, b group) int { return strings.Compare(a.Name, b.Name) })
	return out.Groups, nil
}

// fromSurefire reads what Maven's test runner writes. Cases of several transports have a number behind their names.
func fromSurefire(dir string) ([]group, error) {
	files, err := filepath.Glob(filepath.Join(dir, "TEST-*.xml"))
	if err != nil {
		return nil, err
	}
	var groups []group
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var suite struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string    `xml:"name,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		}
		if err := xml.Unmarshal(text, &suite); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		g := group{Name: words(strings.TrimSuffix(suite.Name[strings.LastIndex(suite.Name, ".")+1:], "Cases"))}
		for _, c := range suite.Cases {
			name := regexp.MustCompile(`\([A-Za-z]+\)\[(\d+)\]$`).ReplaceAllString(c.Name, " ($1)")
			g.Cases = append(g.Cases, struct {
				Name   string `json:"name"`
				Passed bool   `json:"passed"`
			}{strings.ReplaceAll(name, "_", " "), c.Failure == nil && c.Error == nil && c.Skipped == nil})
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// fromGo reads what go test -json prints: a test is a group, and those below it are its cases.
func fromGo(file string) ([]group, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cases := make(map[string]map[string]bool)
	for line := range strings.Lines(string(text)) {
		var e struct{ Action, Test string }
		if json.Unmarshal([]byte(line), &e) != nil { // what a compiler said
			continue
		}
		test, name, found := strings.Cut(e.Test, "/")
		if !found || e.Action != "pass" && e.Action != "fail" && e.Action != "skip" {
			continue
		}
		if cases[test] == nil {
			cases[test] = make(map[string]bool)
		}
		cases[test][strings.ReplaceAll(name, "_", " ")] = e.Action == "pass"
	}
	var groups []group
	for _, test := range slices.Sorted(maps.Keys(cases)) {
		g := group{Name: words(strings.TrimPrefix(test, "Test"))}
		for _, name := range slices.Sorted(maps.Keys(cases[test])) {
			g.Cases = append(g.Cases, struct {
				Name   string `json:"name"`
				Passed bool   `json:"passed"`
			}{name, cases[test][name]})
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// words parts a name in camel case.
func words(name string) string {
	b := &strings.Builder{}
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
