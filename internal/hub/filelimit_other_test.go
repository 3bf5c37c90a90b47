//go:build !linux

package hub_test

// ignoreFileLimit does nothing: only on Linux is there a test that limits a file's size.
func ignoreFileLimit() {}
