package deviceid

import (
	"strings"
	"testing"
)

func TestDeviceIDs(t *testing.T) {
	for id, ok := range map[string]bool{
		"a": true, "A-b.c+d%e_f#g*h?i!j(k)l,m=n@o$p'q:r;s": true, strings.Repeat("x", 128): true, "": false,
		strings.Repeat("x", 129): false, "a/b": false, "a b": false, "ä": false,
	} {
		if err := Check(id); (err == nil) != ok {
			t.Errorf("ValidDeviceID(%q) = %v; want ok %v", id, err, ok)
		}
	}
}
