package main

import (
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker in released binaries.
var version = ""

// next is the version that is being made: of binaries that know no more.
const next = "0.1.0-dev"

// versionText is the version of this binary.
func versionText() string {
	if version != "" {
		return version
	}
	info, _ := debug.ReadBuildInfo()
	return versionOf(info)
}

// untagged is the version that Go makes up for a module without a tag: its revision, and whether files were changed.
var untagged = regexp.MustCompile(`^v0\.0\.0-\d{14}-([0-9a-f]{12})(\+dirty)?$`)

// versionOf is the version of a binary that was not released: of its module, or else the next one with the revision that it
// was built from.
func versionOf(info *debug.BuildInfo) string {
	if info == nil {
		return next
	}
	v := info.Main.Version
	if made := untagged.FindStringSubmatch(v); made != nil {
		return next + "+" + made[1] + strings.Replace(made[2], "+", ".", 1)
	}
	if v != "" && v != "(devel)" {
		return v
	}
	settings := make(map[string]string, len(info.Settings))
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" {
		return next
	}
	text := next + "+" + revision[:min(12, len(revision))]
	if settings["vcs.modified"] == "true" {
		text += ".dirty"
	}
	return text
}

// versionLine is what --version prints, and the command.
func versionLine() string {
	return fmt.Sprintf("twinfleet %s %s %s/%s", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersion(e env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(e.stdout, versionLine())
			return err
		},
	}
}
