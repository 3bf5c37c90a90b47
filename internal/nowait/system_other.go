//go:build !linux

package nowait

// system is nothing: only Linux has what this package watches sockets with.
type system struct{}

func (*system) close() {}
