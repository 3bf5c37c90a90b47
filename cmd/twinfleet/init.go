package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/configs"
	"github.com/twinfleet/twinfleet/report/clean"
)

func newInit(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented scenario to begin one's own from",
		Long: `Write a commented scenario to begin one's own from, scenario.yaml when no file is named, and beside it the schema
by which editors complete and check it. Nothing is asked, and nothing is overwritten without --force.`,
		Example: "  twinfleet init\n  twinfleet init --template storm my-storm.yaml",
		Args:    cobra.MaximumNArgs(1),
	}
	c.Flags().String("template", "smoke", "what to begin from: "+names(configs.Templates()))
	c.Flags().Bool("force", false, "overwrite files that are there")
	if err := c.RegisterFlagCompletionFunc("template", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return described(configs.Templates()), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err) // the flag was added above
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		name, _ := cmd.Flags().GetString("template")
		force, _ := cmd.Flags().GetBool("force")
		template, ok := find(configs.Templates(), name)
		if !ok {
			return usagef("no template %q; there are %s", name, names(configs.Templates()))
		}
		file := "scenario.yaml"
		if len(args) > 0 {
			file = args[0]
		}
		return initialize(e, file, template, force)
	}
	return c
}

// initialize writes a scenario and its schema.
func initialize(e env, file string, template configs.Scenario, force bool) error {
	if err := writeNew(file, template.Text, force); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return usagef("%s is there already; --force overwrites it", file)
		}
		return withCode(codeUsage, fmt.Errorf("writing the scenario: %w", err))
	}
	schema := filepath.Join(filepath.Dir(file), configs.SchemaFile)
	err := writeNew(schema, configs.Schema(), force)
	if before, _ := os.ReadFile(schema); errors.Is(err, fs.ErrExist) && !bytes.Equal(before, configs.Schema()) {
		fmt.Fprintf(e.stderr, "%s is of another version and was left; twinfleet schema > %s renews it\n", clean.Text(schema), clean.Text(schema))
	} else if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing the schema: %w", err)
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %s; run it: twinfleet run %s\n", clean.Text(file), template.Description, clean.Text(file))
	return err
}

// writeNew writes a file; one that is there already is overwritten only by force.
func writeNew(file string, text []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(file, flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil && !force {
		err = errors.Join(err, os.Remove(file)) // half of it would be in the way of another try
	}
	return err
}
