package journal_test

import (
	"errors"
	"io"
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

// reopen opens what another process would find once the journal is closed.
func reopen(t *testing.T, root, fingerprint string) *journal.Journal[trial] {
	t.Helper()
	j := open(t, root, fingerprint, false)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
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
	if j := open(t, root, "a", false); len(j.Trials()) != 0 || j.Dir == first.Dir {
		t.Error("went on with a search that is under way")
	} else if err := errors.Join(j.Close(), os.RemoveAll(j.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if j := open(t, root, "b", false); len(j.Trials()) != 0 || j.Dir == first.Dir {
		t.Error("another search went on with it")
	}
	anew := open(t, root, "a", true)
	if len(anew.Trials()) != 0 || anew.Dir == first.Dir {
		t.Error("a search that begins anew went on with it")
	}
	if err := errors.Join(anew.End("answer"), anew.Close()); err != nil {
		t.Fatal(err)
	}
	second := open(t, root, "a", false)
	if second.Dir != first.Dir || len(second.Trials()) != 2 || !second.Started.Equal(first.Started) {
		t.Errorf("went on with %d trials of %s; want the 2 of %s, which has no answer", len(second.Trials()), second.Dir, first.Dir)
	}
	add(t, second, 3)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if j := reopen(t, root, "a"); len(j.Trials()) != 3 {
		t.Errorf("%d trials; want 3", len(j.Trials()))
	}
}

// Wherever a journal is cut, its whole lines are gone on from, and nothing of the cut one is left.
func TestCutAnywhere(t *testing.T) {
	root := t.TempDir()
	j := open(t, root, "a", false)
	add(t, j, 1, 2, 3)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
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
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
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

// Writing to a file that was removed succeeds; the trial is kept nowhere all the same. The folder is its owner's alone.
func TestRemoved(t *testing.T) {
	root := t.TempDir()
	j := open(t, root, "a", false)
	if info, err := os.Stat(j.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	add(t, j, 1)
	if err := os.RemoveAll(j.Dir); err != nil {
		t.Fatal(err)
	}
	if err := j.Add(trial{2}); !errors.Is(err, journal.ErrGone) || j.There() || len(j.Trials()) != 1 {
		t.Errorf("a trial after that: %v, %d are kept", err, len(j.Trials()))
	}
	if err := j.Write(map[string]func(io.Writer) error{"a": nil, "b": nil}); !errors.Is(err, journal.ErrGone) || strings.Contains(err.Error(), "\n") {
		t.Errorf("an answer after that: %v", err)
	}
}
