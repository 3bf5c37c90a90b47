//go:build unix && !linux

package nowait

import "errors"

// errUnwatched is returned where only Linux has what it takes.
var errUnwatched = errors.New("this system does not tell when a connection has something to read")

// Watch implements Conn.
func (c *tcp) Watch(*Poller, *Watched) (stop func(), err error) { return nil, errUnwatched }
