//go:build integration

package boards

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

var (
	scenarios = flag.String("scenarios", "", "scenarios, by name or file with commas between, of which TestScenarios draws all boards into the folder of -pictures")
	fleetArgs = flag.String("run-args", "", "arguments of these runs, such as --duration=30s")
)

// All boards are drawn of scenarios by name, at the runs' own times: for whoever looks at them. The records of the runs stay beside the pictures.
func TestScenarios(t *testing.T) {
	if *scenarios == "" {
		t.Skip("only with -scenarios")
	}
	dir, err := filepath.Abs(*pictures)
	if err != nil || *pictures == "" {
		t.Fatalf("-pictures names no folder: %v", err)
	}
	addr := loopback.Free(t)
	s := startPrometheus(t, shipped, []string{addr})
	var drawings []*drawing
	boards := allBoards(t)
	for i, of := range strings.Split(*scenarios, ",") {
		if strings.ContainsRune(of, filepath.Separator) {
			if of, err = filepath.Abs(of); err != nil {
				t.Fatal(err)
			}
		}
		name := strings.TrimSuffix(filepath.Base(of), ".yaml")
		args := []string{"run", of, "--metrics-addr", addr, "--linger", linger.String(), "--out", filepath.Join(dir, "runs")}
		p := rig.Start(t, dir, nil, rig.Build(t), append(args, strings.Fields(*fleetArgs)...)...)
		t.Logf("%s ended with %d", name, p.Wait(t, 20*time.Minute))
		s.eventually(t, "sum(up)", 0) // it is marked as ended
		run := runOf(t, s, name)
		from, to := s.times(t, run, time.Now())
		for b := range boards {
			if board := &boards[b]; board.name != "capacity-search" {
				drawings = append(drawings, &drawing{name: name + "-" + board.name, board: board, of: s, run: run, from: from, to: to, dark: (i+b)%2 == 1})
			}
		}
	}
	drawAll(t, dir, drawings)
}
