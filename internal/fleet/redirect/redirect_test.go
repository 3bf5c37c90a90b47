package redirect_test

import (
	"errors"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/fleet/redirect"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

type conn struct{ link.Conn }

// Each server sends to another; those that are not named take the client.
func TestFollow(t *testing.T) {
	bad := errors.New("no server")
	for name, tt := range map[string]struct {
		sends map[string]string // by the server that a client asks; "" is the target
		first string
		at    string // where the connection is
		asked int    // connections
		why   string // else the reason of the error
	}{
		"nobody sends":              {nil, "", "", 1, ""},
		"once":                      {map[string]string{"": "b"}, "", "b", 2, ""},
		"where it was sent before":  {map[string]string{"": "b"}, "c", "c", 1, ""},
		"as often as may be":        {map[string]string{"": "b", "b": "c", "c": "d"}, "", "d", 4, ""},
		"oftener":                   {map[string]string{"": "b", "b": "c", "c": "d", "d": "e"}, "", "", 4, "servers send devices on and on: connection refused: use another server (return code 156)"},
		"in a circle of itself":     {map[string]string{"": "a", "a": "a"}, "", "", 4, "servers send devices in circles: connection refused: use another server (return code 156)"},
		"in a circle of two":        {map[string]string{"": "b", "b": "a", "a": "b"}, "", "", 4, "servers send devices in circles: connection refused: use another server (return code 156)"},
		"to what is no server":      {map[string]string{"": "bad"}, "", "", 1, "no server"},
		"back from where it was to": {map[string]string{"b": "a"}, "b", "a", 2, ""},
	} {
		asked := 0
		w := redirect.Way{
			To: func(reference string) (redirect.Place, error) {
				if reference == "bad" {
					return redirect.Place{}, bad
				}
				return redirect.Place{Reference: reference, Server: reference + ":1883", Options: link.Options{Host: reference}}, nil
			},
			Connect: func(o link.Options) (link.Conn, error) {
				asked++
				if to := tt.sends[o.Host]; to != "" {
					return nil, &link.RefusedError{Code: 156, Server: to}
				}
				return conn{}, nil
			},
		}
		c, at, err := w.Follow(redirect.Place{Reference: tt.first, Options: link.Options{Host: tt.first}})
		if asked != tt.asked || (c != nil) != (tt.why == "") {
			t.Errorf("%s: %d connections, %v, %v; want %d", name, asked, c, err, tt.asked)
		}
		var refused *link.RefusedError
		switch {
		case tt.why == "" && (err != nil || at.Reference != tt.at):
			t.Errorf("%s: at %q, %v; want %q", name, at.Reference, err, tt.at)
		case tt.why == "no server" && !errors.Is(err, bad), tt.why != "" && tt.why != "no server" && reason.Of(err) != tt.why:
			t.Errorf("%s: %q; want %q", name, reason.Of(err), tt.why)
		case tt.why != "" && !errors.As(err, &refused): // it counts as what the last server said
			t.Errorf("%s: %v is no refusal", name, err)
		}
	}
}
