// Package redirect connects where servers send a client that name each other (MQTT 5 section 4.11).
package redirect

import (
	"errors"
	"slices"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// Most is how often a connection is sent on, one server to the next: servers that name each other send clients round and round.
const Most = 3

// Place is where a client connects.
type Place struct {
	Reference string // with which a server named it; empty for the target itself
	Server    string // the server of the reference that the client takes, host:port; empty likewise
	Options   link.Options
}

// Way is how a client gets to other servers.
type Way struct {
	To      func(reference string) (Place, error) // an error for a reference that names no server
	Connect func(o link.Options) (link.Conn, error)
}

// Follow connects to a place, and from there where the servers send the client: the connection is at the place that it returns. Servers that
// send it on more than Most times, or in circles, are a *link.AstrayError.
func (w Way) Follow(at Place) (link.Conn, Place, error) {
	seen := []string{at.Reference}
	for hops := 0; ; hops++ {
		conn, err := w.Connect(at.Options)
		var refused *link.RefusedError
		switch {
		case err == nil:
			return conn, at, nil
		case !errors.As(err, &refused) || refused.Server == "":
			return nil, at, err
		case hops == Most:
			return nil, at, &link.AstrayError{Circle: slices.Contains(seen, refused.Server), Refused: refused}
		}
		next, wrong := w.To(refused.Server)
		if wrong != nil {
			return nil, at, errors.Join(err, wrong)
		}
		seen, at = append(seen, refused.Server), next
	}
}
