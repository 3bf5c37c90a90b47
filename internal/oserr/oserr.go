// Package oserr tells what an operating system's error number means, where systems number the same thing differently: Windows has
// socket errors of its own beside those that Go made up for it.
package oserr

import (
	"errors"
	"slices"
	"syscall"
)

// Meaning is what went wrong.
type Meaning uint8

// The meanings.
const (
	Refused            Meaning = iota + 1 // nothing listens at the address
	Reset                                 // the other side ended the connection
	NoDescriptor                          // the process, or the machine, may open no more files and sockets
	NoAddress                             // an address of another machine, or no local port left
	InUse                                 // somebody listens there
	NetworkUnreachable                    // no way to the network, or it is down
	HostUnreachable                       // likewise of the host
	Forbidden                             // not permitted
	NoMemory                              // none left for connections
)

// Is reports whether an error, or one that it wraps, means that. A nil error means nothing.
func Is(err error, m Meaning) bool {
	var number syscall.Errno
	return errors.As(err, &number) && slices.Contains(numbers(m), number)
}
