package main

import "os"

// wasClosed reports whether a standard file was closed when the process began: Windows leaves no handle then.
func wasClosed(f *os.File) bool {
	_, err := f.Stat()
	return err != nil
}
