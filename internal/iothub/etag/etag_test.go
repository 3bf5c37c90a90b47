package etag

import (
	"errors"
	"testing"
)

func TestETagsOfTwins(t *testing.T) {
	for n, want := range map[uint64]string{1: "AAAAAAAAAAE=", 5: "AAAAAAAAAAU=", 1<<64 - 1: "//////////8="} {
		if got := OfTwin(n); got != want {
			t.Errorf("OfTwin(%d) = %s; want %s", n, got, want)
		}
		if got, err := ParseTwin(want); got != n || err != nil {
			t.Errorf("ParseTwin(%s) = %d, %v; want %d", want, got, err, n)
		}
	}
	for _, s := range []string{"", "*", "AAAA", "AAAAAAAAAAE", "AAAAAAAAAAF=", `"AAAAAAAAAAE="`} {
		if n, err := ParseTwin(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseTwin(%s) = %d, %v; want ErrMalformed", s, n, err)
		}
	}
}
