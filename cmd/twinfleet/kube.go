package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/kube"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

func newKube(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "kube SCENARIO",
		Short: "Print the manifests with which Kubernetes runs a scenario on many machines",
		Long: `Print the manifests with which Kubernetes runs a scenario on many machines: an Indexed Job of agents, a Job of
the coordinator, NATS, a PodMonitor for Prometheus. How many processors and how much memory they ask for
follows from the plan of the scenario. Nothing is started, and no cluster is asked.

No secret is in the manifests: they name Secrets, and their first lines say how to make these. Variables
that the scenario names need not be set here.`,
		Example: "  twinfleet kube connectivity --set 'target.hub=${TWINFLEET_HUB}' --agents 3 | kubectl apply -f -\n" +
			"  twinfleet kube my.yaml --per-agent 15000 --namespace load --image registry.example/twinfleet:0.1.0 --dir manifests",
		Args: cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	f := c.Flags()
	f.Int("agents", 0, "how many agents; 0 for as many as --per-agent makes")
	f.Int("per-agent", 0, "how many devices an agent runs at the most; 0 for what one with 2 processors, 4 GB and 20,000 descriptors holds")
	f.String("on-agent-loss", lead.Fail, "what the run does when an agent is lost: fail, continue without its devices, or redistribute them, for which the others then have room")
	f.String("resume", "", "have the coordinator take over the run of this id, whose own is gone: its agents go on")
	f.String("namespace", "", "namespace of everything; kubectl's own when not given")
	f.String("image", kube.DefaultImage, "image of the program, where the cluster finds it")
	f.String("dir", "", "folder to write the manifests to, for kubectl apply -k, instead of printing them")
	f.Bool("force", false, "with --dir: overwrite files that are there")
	c.RunE = func(cmd *cobra.Command, args []string) error { return runKube(e, cmd, args[0]) }
	return c
}

func runKube(e env, cmd *cobra.Command, file string) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	loss, dir := s.v.GetString("on-agent-loss"), s.v.GetString("dir")
	switch {
	case !slices.Contains([]string{lead.Fail, lead.Continue, lead.Redistribute}, loss):
		return usagef("--on-agent-loss: %q is none of %s, %s, %s", loss, lead.Fail, lead.Continue, lead.Redistribute)
	case cmd.Flags().Changed("force") && dir == "":
		return usagef("--force is about files: give --dir too")
	}
	text, err := scenarioText(file, e.stdin)
	if err != nil {
		return withCode(codeUsage, err)
	}
	if file == standardInput {
		file = "stdin"
	}
	o := kube.Options{
		File: file, Text: text, Read: s.scenarioOptions(), Agents: s.v.GetInt("agents"), PerAgent: s.v.GetInt("per-agent"),
		Redistributes: loss == lead.Redistribute, Namespace: s.v.GetString("namespace"), Image: s.v.GetString("image"),
	}
	if loss != lead.Fail {
		o.Args = append(o.Args, "--on-agent-loss", loss)
	}
	if id := s.v.GetString("resume"); id != "" {
		o.Args = append(o.Args, "--resume", id)
	}
	m, err := kube.Make(o)
	var mistakes problem.List
	switch {
	case errors.As(err, &mistakes):
		return inScenario(err)
	case err != nil:
		return withCode(codeUsage, err)
	}
	if err := lead.Refuse(m.Scenario, loss); err != nil { // the coordinator's pod would end with it
		return withCode(codeUsage, err)
	}
	tellWarnings(e, m.Scenario)
	for _, w := range m.Warnings {
		fmt.Fprintf(e.stderr, "warning: %s\n", w)
	}
	if dir != "" {
		return writeManifests(e, m, dir, s.v.GetBool("force"))
	}
	out, err := m.Stream()
	if err != nil {
		return err
	}
	_, err = e.stdout.Write(out)
	return err
}

// writeManifests writes the files for kubectl apply -k: all of them, or none when one is there already.
func writeManifests(e env, m *kube.Manifests, dir string, force bool) error {
	files, err := m.Folder()
	if err != nil {
		return withCode(codeUsage, err)
	}
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(name))); err == nil && !force {
			return usagef("%s is there already; --force overwrites it", clean.Text(filepath.Join(dir, name)))
		}
	}
	for _, name := range names {
		to := filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(to), 0o755)
		if err == nil {
			err = writeNew(to, files[name], force)
		}
		if errors.Is(err, fs.ErrExist) {
			return usagef("%s is there already; --force overwrites it", clean.Text(to))
		} else if err != nil {
			return withCode(codeUsage, fmt.Errorf("writing the manifests: %w", err))
		}
	}
	_, err = fmt.Fprintf(e.stdout, "%d files are in %s; kustomization.yaml says what must be there before: kubectl apply -k %s\n", len(names), clean.Text(dir), clean.Text(dir))
	return err
}
