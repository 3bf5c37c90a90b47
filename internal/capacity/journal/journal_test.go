package journal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/journal"
)

type trial struct{ Number int }

func open(t *testing.T, root, fingerprint string, anew bool) *journal.Journal[trial] {
	t.Helper()
	j, err := journal.Open[trial](root, "plant", fingerprint, time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), anew)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func add(t *testing.T, j *journal.Journal[trial], numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		if err := j.Add(trial{n}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoesOn(t *testing.T) {
	root := t.TempDir()
	first := open(t, root, "a", false)
	add(t, first, 1, 2)
	if j := open(t, root, "b", false); len(j.Trials()) != 0 || j.Dir == first.Dir {
		t.Error("another search went on with it")
	}
	if j := open(t, root, "a", true); len(j.Trials()) != 0 || j.Dir == first.Dir {
		t.Error("a search that begins anew went on with it")
	}
	// The one that began anew is the latest of its fingerprint.
	second := open(t, root, "a", false)
	if second.Dir == first.Dir {
		t.Error("went on with an older one")
	}
	if err := second.End("answer"); err != nil {
		t.Fatal(err)
	}
	third := open(t, root, "a", false)
	if third.Dir != first.Dir || len(third.Trials()) != 2 || !third.Started.Equal(first.Started) {
		t.Errorf("went on with %d trials of %s; want the 2 of %s, which has no answer", len(third.Trials()), third.Dir, first.Dir)
	}
	add(t, third, 3)
	if j := open(t, root, "a", false); len(j.Trials()) != 3 {
		t.Errorf("%d trials; want 3", len(j.Trials()))
	}
}

// Wherever a journal is cut, its whole lines are gone on from, and nothing of the cut one is left.
func TestCutAnywhere(t *testing.T) {
	root := t.TempDir()
	j := open(t, root, "a", false)
	add(t, j, 1, 2, 3)
	whole, err := os.ReadFile(filepath.Join(j.Dir, journal.Name))
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole); cut > strings.Index(string(whole), "\n"); cut-- {
		if err := os.WriteFile(filepath.Join(j.Dir, journal.Name), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := open(t, root, "a", false)
		want := max(0, strings.Count(string(whole[:cut]), "\n")-1)
		if again.Dir != j.Dir || len(again.Trials()) != want {
			t.Fatalf("cut at %d: %d trials; want %d", cut, len(again.Trials()), want)
		}
		add(t, again, want+1)
		text, err := os.ReadFile(filepath.Join(j.Dir, journal.Name))
		if err != nil || strings.Count(string(text), "\n") != want+2 || !strings.HasSuffix(string(text), "}\n") {
			t.Fatalf("cut at %d and gone on with:\n%s", cut, text)
		}
	}
}

func TestNoRoom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open[trial](file, "plant", "a", time.Now(), false); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("error %v", err)
	}
}
