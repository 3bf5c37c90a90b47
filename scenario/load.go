package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/identity/certfile"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/redact"
	"github.com/twinfleet/twinfleet/internal/language/tree"
	"github.com/twinfleet/twinfleet/internal/regular"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Options of Load and Decode.
type Options struct {
	// Set overrides keys: "fleet.groups.robots.count=10", "seed=7". Items of a list are named by their
	// number, groups[0], or by their name.
	Set []string
	// Devices is how many devices the whole fleet is to have: groups and stages keep their proportions. 0 for what the file says.
	Devices int
	// Duration is how long the stages are to last together, likewise in proportion. 0 for what the file says.
	Duration time.Duration
	// Lookup finds environment variables; os.LookupEnv when nil. A variable NAME that it does not find is the text of the
	// file that NAME_FILE names, if it finds that.
	Lookup func(name string) (string, bool)
	// ReadFile reads a file that the scenario names; nil reads regular files of the system.
	ReadFile func(name string) ([]byte, error)
	// ReadSecret reads a file with what devices of a broker prove themselves with (identity.credentials, identity.x509); ReadFile does when it is nil. It
	// may be asked for as long as the scenario is used, by several at once.
	ReadSecret func(name string) ([]byte, error)
	// Handed says that another process has read these files, and hands this one what its devices prove themselves with: they are not read, and a
	// group with such a file has its count in the text, or in Set.
	Handed bool
}

// Load reads and checks a scenario file. Mistakes in it are a problem.List; other errors are about the file.
func Load(file string, o Options) (*Scenario, error) {
	b, err := ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the scenario: %w", err)
	}
	return Decode(file, b, o)
}

// maxFile bounds a scenario file; it is larger than any that a person would write.
const maxFile = 4 << 20

// ReadFile reads a scenario file for Decode. It is a regular file of at most 4 MiB, or one that is open already, as /dev/stdin and what a
// shell passes for <(command).
func ReadFile(file string) ([]byte, error) { return regular.ReadGiven(file, maxFile) }

// Decode checks a scenario. Mistakes in it are a problem.List. The file's name is for messages, and names the scenario if it does
// not itself.
func Decode(file string, b []byte, o Options) (*Scenario, error) {
	if o.Lookup == nil {
		o.Lookup = os.LookupEnv
	}
	if len(b) > maxFile {
		text := fmt.Sprintf("the file has more than %d bytes, which is all that a scenario may have", maxFile)
		return nil, problem.List{{File: file, Text: text}}
	}
	root, err := tree.Parse(file, b, "name, fleet and stages")
	if err != nil {
		return nil, err
	}
	r := &reader{Reader: language.NewReader(file), wantDevices: o.Devices, wantDuration: o.Duration}
	r.ReadFile, r.readSecret, r.handed = o.ReadFile, o.ReadSecret, o.Handed
	for _, set := range o.Set {
		tree.Override(r.Reader, root, set)
	}
	asRun := redact.Copy(root, "password", "key", "key_password", "group_key", "headers")
	tree.Fill(r.Reader, root, o.Lookup, r.readNamed)
	s := fresh(file)
	r.Object("", root, r.scenarioKeys(s))
	if root.Kind != yaml.MappingNode {
		return nil, r.Err()
	}
	r.Validate()
	r.finish(s)
	r.Validate() // what a file that the scenario names lacks may have consequences, too
	r.validate(s)
	if err := r.Err(); err != nil {
		return nil, err
	}
	s.Warnings = r.Warnings()
	for _, set := range r.scaled {
		tree.Override(r.Reader, asRun, set)
	}
	if s.Source, err = yaml.Dump(asRun); err != nil {
		return nil, fmt.Errorf("writing the scenario as it runs: %w", err)
	}
	return s, nil
}

// reader decodes a scenario: what its values say about each other is kept until all of them are known.
type reader struct {
	*language.Reader
	wantDevices  int           // that were asked for; 0 for those of the file
	wantDuration time.Duration // likewise
	readSecret   func(name string) ([]byte, error)
	handed       bool // Options has both

	certificates *certfile.Store // of all groups; nil for none

	numbers    []number    // of devices
	scaled     []string    // keys with the values that they have for the size that was asked for: key=value
	groupNames []reference // names of groups that must exist
	thresholds []reference // one for each of the scenario's
	stageNames []reference // names of stages that must exist
}

// reference is a name that must be one of others in the file.
type reference struct {
	path, name string
	at         problem.Place
}

// fresh is a scenario with what holds when a file says nothing.
func fresh(file string) *Scenario {
	return &Scenario{Name: nameOf(file)}
}

// nameOf makes a file's name the name of its scenario: it goes into labels, addresses and the names of folders, so that a
// hyphen stands for everything but letters and digits of ASCII, dots and underscores.
func nameOf(file string) string {
	base := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, base)
	if plain = strings.Trim(plain[:min(len(plain), 60)], ".-"); plain == "" {
		return "scenario"
	}
	return plain
}
