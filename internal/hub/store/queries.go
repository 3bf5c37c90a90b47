package store

import (
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

var _ plan.Source = (*Store)(nil)

// Modules returns the twins of modules as queries see them. The store itself is those of devices.
func (s *Store) Modules() plan.Source { return s.modules }

// Len returns how many twins queries see.
func (s *Store) Len() int { return s.view.Len() }

// Max returns a number above every ordinal in use.
func (s *Store) Max() uint32 { return s.view.Max() }

// At returns the twin with an ordinal as queries see it, nil for one not in use. An ordinal
// stays with its twin until the twin is deleted, and may then be given to another.
func (s *Store) At(ord uint32) *twin.Twin { return s.view.At(ord) }

// ByID returns a twin and its ordinal as queries see them.
func (s *Store) ByID(id string) (ord uint32, t *twin.Twin, ok bool) { return s.view.ByID(id) }

// Lookup returns the index over a path, see [view.View.Lookup].
func (s *Store) Lookup(path []string) plan.Index {
	return s.view.Lookup(path)
}
