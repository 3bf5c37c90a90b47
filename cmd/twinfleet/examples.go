package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/configs"
	"github.com/twinfleet/twinfleet/internal/regular"
	"github.com/twinfleet/twinfleet/scenario"
)

// maxScenario is one byte more than a scenario may have: what reads as large is refused, and no device is read without end.
const maxScenario = 4<<20 + 1

// standardInput is the name of a scenario that is read from there.
const standardInput = "-"

// scenarioText is the text of a scenario: of a file, or, when there is none of that name, of a built-in one; or of
// standard input.
func scenarioText(file string, stdin io.Reader) ([]byte, error) {
	if file == standardInput {
		text, err := io.ReadAll(io.LimitReader(stdin, maxScenario))
		if err != nil {
			return nil, fmt.Errorf("reading the scenario from standard input: %w", err)
		}
		return text, nil
	}
	text, err := scenario.ReadFile(file)
	if err == nil {
		return text, nil
	}
	if example, ok := find(configs.Examples(), file); ok && isMissing(err) {
		return example.Text, nil
	}
	err = fmt.Errorf("reading the scenario: %w", err)
	if !strings.ContainsAny(file, `./\`) {
		err = fmt.Errorf("%w; built-in are %s", err, names(configs.Examples()))
	}
	return nil, err
}

// isMissing reports whether a name is no file's: a folder may have the name of a built-in scenario.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, regular.ErrFolder)
}

func find(all []configs.Scenario, name string) (configs.Scenario, bool) {
	i := slices.IndexFunc(all, func(s configs.Scenario) bool { return s.Name == name })
	if i < 0 {
		return configs.Scenario{}, false
	}
	return all[i], true
}

func names(all []configs.Scenario) string {
	var list []string
	for _, s := range all {
		list = append(list, s.Name)
	}
	return strings.Join(list, ", ")
}

func newExamples(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "examples [NAME]",
		Short: "List the built-in scenarios, or print one",
		Long: `List the built-in scenarios, or print one. "twinfleet run NAME" runs one; --copy writes all of them, with the
data they read and the schema that editors check them by, into a folder.`,
		Example: "  twinfleet examples\n  twinfleet examples storm > storm.yaml\n  twinfleet run storm\n  twinfleet examples --copy examples",
		Args:    cobra.MaximumNArgs(1),
	}
	c.Flags().String("copy", "", "folder to copy all examples to")
	c.Flags().Bool("force", false, "overwrite files that are there")
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return described(configs.Examples()), cobra.ShellCompDirectiveNoFileComp
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		dir, _ := cmd.Flags().GetString("copy")
		force, _ := cmd.Flags().GetBool("force")
		switch {
		case dir != "" && len(args) > 0:
			return usagef("--copy copies all examples; leave out %s", args[0])
		case dir != "":
			return copyExamples(e, dir, force)
		case len(args) == 0:
			return listExamples(e)
		}
		example, ok := find(configs.Examples(), args[0])
		if !ok {
			return usagef("no built-in scenario %q; there are %s", args[0], names(configs.Examples()))
		}
		_, err := e.stdout.Write(example.Text)
		return err
	}
	return c
}

func listExamples(e env) error {
	width := 0
	for _, s := range configs.Examples() {
		width = max(width, len(s.Name))
	}
	for _, s := range configs.Examples() {
		if _, err := fmt.Fprintf(e.stdout, "%-*s  %s\n", width, s.Name, s.Description); err != nil {
			return err
		}
	}
	return nil
}

// copyExamples writes the examples as they lie in the repository: the schema in the folder that they name.
func copyExamples(e env, dir string, force bool) error {
	var files []string
	if err := fs.WalkDir(configs.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (path == configs.SchemaFile || strings.HasPrefix(path, "scenarios/")) {
			files = append(files, path)
		}
		return err
	}); err != nil {
		return err
	}
	if !force {
		for _, name := range files {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				return usagef("%s is there already; --force overwrites it", filepath.Join(dir, name))
			}
		}
	}
	for _, name := range files {
		text, err := fs.ReadFile(configs.Files(), name)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("copying the examples: %w", err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("copying the examples: %w", err)
		}
	}
	_, err := fmt.Fprintf(e.stdout, "%d files are in %s; run one: twinfleet run %s\n", len(files), dir, filepath.Join(dir, "scenarios", "smoke.yaml"))
	return err
}

func newSchema(e env) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of scenarios, for editors",
		Example: "  twinfleet schema > scenario.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := e.stdout.Write(configs.Schema())
			return err
		},
	}
}
