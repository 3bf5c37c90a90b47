package book_test

import (
	"errors"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub/dps/book"
	"github.com/twinfleet/twinfleet/internal/hub/keeptest"
)

// A first start that fails in its middle is followed by another first start, and no more after one that did not.
func TestSettingsAreKeptLast(t *testing.T) {
	kept := &keeptest.Shelf{}
	failed := errors.New("no room")
	for _, start := range []struct {
		fail error
		made bool
	}{{failed, true}, {nil, true}, {failed, false}} {
		b, err := book.Open(t.Context(), kept)
		if err != nil {
			t.Fatal(err)
		}
		made := false
		s, err := b.Settings(t.Context(), func() (book.Settings, error) { made = true; return book.Settings{IDScope: "0ne00000001"}, start.fail })
		if made != start.made || start.made && !errors.Is(err, start.fail) || !start.made && (err != nil || s.IDScope != "0ne00000001") {
			t.Errorf("made %t, %v, %v", made, s.IDScope, err)
		}
	}
}
