package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
)

// Trials without agents keep no scenario: each has its data, and nothing of it travels.
func TestLoaderKeepsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plant.yaml")
	const text = "fleet: {groups: [{name: robots, count: 5}]}\nstages: [{name: hold, duration: 1s, devices: 5}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cobra.Command{}
	addTrialFlags(c)
	addSetFlag(c)
	s, err := loadSettings(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.trials(env{}, file)
	if err != nil {
		t.Fatal(err)
	}
	x := &trialing{s: s, log: slog.New(slog.DiscardHandler)}
	if err := x.newCrew(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	defer x.crew.close()
	for range 3 {
		if _, err := l.load(nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.sets) > 0 {
		t.Errorf("%d scenarios are kept", len(l.sets))
	}
}
