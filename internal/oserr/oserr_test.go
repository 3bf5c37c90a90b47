package oserr

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// What the system itself says is understood, on every system that runs this.
func TestIs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, inUse := net.Listen("tcp", l.Addr().String())
	l.Close()
	var d net.Dialer
	_, refused := d.DialContext(context.Background(), "tcp", l.Addr().String())
	_, noAddress := net.Listen("tcp", "203.0.113.1:0") // of a network for examples (RFC 5737)
	_, missing := os.Open(filepath.Join(t.TempDir(), "none"))

	meanings := map[string]Meaning{
		"refused": Refused, "reset": Reset, "no descriptor": NoDescriptor, "no address": NoAddress, "in use": InUse,
		"network unreachable": NetworkUnreachable, "host unreachable": HostUnreachable, "forbidden": Forbidden, "no memory": NoMemory,
	}
	for name, tt := range map[string]struct {
		err  error
		want Meaning
	}{
		"a port that is taken":          {inUse, InUse},
		"a port where nothing listens":  {refused, Refused},
		"an address of another machine": {noAddress, NoAddress},
		"a file that is not there":      {missing, 0},
		"an error of another kind":      {errors.New("refused"), 0},
		"none":                          {nil, 0},
	} {
		if tt.want != 0 && tt.err == nil {
			t.Errorf("%s: no error", name)
		}
		for text, m := range meanings {
			if got := Is(tt.err, m); got != (m == tt.want) {
				t.Errorf("%s (%v) is %s: %t", name, tt.err, text, got)
			}
		}
	}
}
