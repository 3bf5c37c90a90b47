package uuid_test

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/uuid"
)

func TestText(t *testing.T) {
	seen := make(map[uuid.UUID]bool)
	for range 100 {
		u := uuid.New()
		text := u.String()
		if seen[u] || text[14] != '4' || !strings.ContainsRune("89ab", rune(text[19])) {
			t.Errorf("%s", text)
		}
		seen[u] = true
		for _, written := range []string{text, strings.ToUpper(text)} {
			if got, ok := uuid.Parse(written); !ok || got != u {
				t.Errorf("%s is read as %v, %v", written, got, ok)
			}
		}
		for _, bad := range []string{"", text[1:], text + "0", strings.Replace(text, "-", "0", 1), "g" + text[1:]} {
			if _, ok := uuid.Parse(bad); ok {
				t.Errorf("%q is a uuid", bad)
			}
		}
	}
}
