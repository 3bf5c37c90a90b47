//go:build !race

package session_test

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/capacity/journal"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/session"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// keeping is an engine whose record could be written, or not.
type keeping struct {
	*engine.Engine
	err error
}

func (k keeping) Kept() error { return k.err }

// A full disk is no limit of the target: the search stops, says why, and goes on from the trials that were kept.
func TestRecordThatCannotBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, made := t.TempDir(), 0
		o := options(root)
		start := o.Start
		o.Start = func(x engine.Options) trial.Engine {
			made++
			k := keeping{Engine: start(x).(*engine.Engine)}
			if made == 2 {
				k.err = syscall.ENOSPC
			}
			return k
		}
		s, err := session.New(o)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Run(t.Context())
		if !errors.Is(err, trial.ErrUnkept) || !errors.Is(err, syscall.ENOSPC) || a.End != search.Stopped || len(a.Trials) != 1 || made != 2 || a.Dir == "" {
			t.Errorf("%s after %d trials of %d in %q: %v", a.End, len(a.Trials), made, a.Dir, err)
		}
		if s, err = session.New(options(root)); err != nil || s.Known() != 1 {
			t.Fatalf("goes on from %d trials, %v", s.Known(), err)
		}
		if a, err = s.Run(t.Context()); err != nil || a.End != search.Found {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// A search whose folder is removed stops, and sends nobody to it.
func TestFolderRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t.TempDir())
		var s *session.Session
		o.End = func(r trial.Record) {
			if r.Number == 1 {
				if err := os.RemoveAll(s.Dir()); err != nil {
					t.Error(err)
				}
			}
		}
		var err error
		if s, err = session.New(o); err != nil {
			t.Fatal(err)
		}
		a, err := s.Run(t.Context())
		if !errors.Is(err, trial.ErrUnkept) || !errors.Is(err, journal.ErrGone) || a.End != search.Stopped || len(a.Trials) != 1 || a.Dir != "" {
			t.Errorf("%s after %d trials in %q: %v", a.End, len(a.Trials), a.Dir, err)
		}
	})
}
