//go:build integration

package run

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/test/rig"
)

// The program installs as Go's programs do, from the modules of go.sum alone, and knows what it was built from.
func TestInstall(t *testing.T) {
	bin := t.TempDir()
	environ := append(os.Environ(), "GOBIN="+bin, "GOPROXY=off", "GOFLAGS=-buildvcs=auto")
	command := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = rig.Root(), environ
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
		return strings.TrimSpace(string(out))
	}
	command("go", "install", "./cmd/twinfleet")
	said := command(filepath.Join(bin, "twinfleet"), "version")
	if !strings.HasPrefix(said, "twinfleet ") || strings.Contains(said, "devel") {
		t.Errorf("the version is %q", said)
	}
	// Go reads no revision where .git is a file, as in a work tree beside another.
	if info, err := os.Stat(filepath.Join(rig.Root(), ".git")); err == nil && info.IsDir() && command("git", "tag", "--points-at", "HEAD") == "" {
		if revision := command("git", "rev-parse", "HEAD"); !strings.Contains(said, revision[:12]) {
			t.Errorf("the version is %q; it was built from %s", said, revision)
		}
	}

	// go install PACKAGE@VERSION takes no module that replaces or leaves out others.
	var module struct{ Replace, Exclude []any }
	if err := json.Unmarshal([]byte(command("go", "mod", "edit", "-json")), &module); err != nil {
		t.Fatal(err)
	}
	if len(module.Replace)+len(module.Exclude) > 0 {
		t.Errorf("go.mod replaces %v and leaves out %v", module.Replace, module.Exclude)
	}
}
