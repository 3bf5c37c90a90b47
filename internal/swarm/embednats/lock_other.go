//go:build !unix

package embednats

import "os"

// lock does nothing where files are not locked so: two servers in one folder are for the user to avoid.
func lock(*os.File) bool { return true }
