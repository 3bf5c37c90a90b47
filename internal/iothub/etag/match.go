package etag

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
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

// First makes the ETag of an identity that was just made: base64 of a decimal number below 2^30 that looks random and
// is the same for identities of the same instant, as recorded from the service.
func First(at time.Time) string {
	scattered := uint64(at.UnixNano()/100) * 0x9E3779B97F4A7C15 // Fibonacci hashing: neighbours end far apart.
	return ofNumber(scattered >> 34)
}

// Next makes the ETag that follows one of First: the number goes up by one with each write of the identity.
func Next(etag string) string { return ofNumber(Number(etag) + 1) }

// Number is the number in the ETag of an identity, 0 when there is none.
func Number(etag string) uint64 {
	digits, err := base64.StdEncoding.DecodeString(etag)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(string(digits), 10, 62)
	if err != nil {
		return 0
	}
	return n
}

func ofNumber(n uint64) string {
	return base64.StdEncoding.EncodeToString(strconv.AppendUint(nil, n, 10))
}
