package book_test

import (
	"context"
	"errors"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub/dps/book"
)

// rows is a keeper in memory.
type rows map[[2]string][]byte

func (r rows) Put(bucket, key string, value []byte) func(context.Context) error {
	r[[2]string{bucket, key}] = value
	return func(context.Context) error { return nil }
}

func (r rows) Rows(_ context.Context, bucket string, each func(key string, value []byte) error) error {
	for at, value := range r {
		if at[0] == bucket {
			if err := each(at[1], value); err != nil {
				return err
			}
		}
	}
	return nil
}

// A first start that fails in its middle is followed by another first start, and no more after one that did not.
func TestSettingsAreKeptLast(t *testing.T) {
	kept := make(rows)
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
