//go:build !race

package rollout_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/capacity/rollout"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// keeping is an engine whose record could be written, or not.
type keeping struct {
	trial.Engine
	err error
}

func (k keeping) Kept() error { return k.err }

// A full disk is no limit of the target: the study stops, and says why.
func TestRecordThatCannotBeKept(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(fleet, "", 40, "", 4), "tier: S1, units: 1, ", "", 1)
	synctest.Test(t, func(t *testing.T) {
		made := 0
		s, err := rollout.New(rollout.Options{Load: loader(text), Root: t.TempDir(), Start: func(o engine.Options) trial.Engine {
			made++
			k := keeping{Engine: virtual(o)}
			if made == 2 {
				k.err = syscall.ENOSPC
			}
			return k
		}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Run(t.Context())
		if !errors.Is(err, trial.ErrUnkept) || !errors.Is(err, syscall.ENOSPC) || a.End != search.Stopped || len(a.Trials) != 1 || made != 2 {
			t.Errorf("%s after %d trials of %d: %v", a.End, len(a.Trials), made, err)
		}
	})
}
