//go:build !linux

package link

import "syscall"

// lateBind does nothing: only Linux leaves the choice of the source port to the time of connecting.
func lateBind(string, string, syscall.RawConn) error { return nil }
