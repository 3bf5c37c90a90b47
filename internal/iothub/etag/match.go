package etag

import (
	"encoding/base64"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Matches reports whether an If-Match header allows a write over the present ETag: it is
// absent, or "*" with or without quotes, or names the ETag with or without quotes and the
// mark of a weak one.
func Matches(ifMatch, etag string) bool {
	wanted := strings.TrimSpace(ifMatch)
	wanted = strings.TrimPrefix(wanted, "W/")
	if n := len(wanted); n >= 2 && wanted[0] == '"' && wanted[n-1] == '"' {
		wanted = wanted[1 : n-1]
	}
	return ifMatch == "" || wanted == "*" || wanted == etag
}

// New makes the ETag of an identity, other than the old one: base64 of a decimal
// number, as the service has it.
func New(old string) string {
	for {
		var buf [10]byte
		digits := strconv.AppendUint(buf[:0], uint64(rand.Uint32()), 10)
		if etag := base64.StdEncoding.EncodeToString(digits); etag != old {
			return etag
		}
	}
}
