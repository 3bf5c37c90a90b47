// Package apiversion is the versions of the protocol that requests name in their query.
package apiversion

import (
	"net/url"
	"strings"
	"time"
)

// Version is an api-version, such as 2021-04-12 or 2020-05-31-preview; empty for none.
type Version string

// Of is the version that a request's query names.
func Of(query url.Values) Version { return Version(query.Get("api-version")) }

// Valid reports whether it is a date, with or without -preview behind it. Clients name a dozen of them, which the
// service takes alike (seen: 2016-02-03 to 2024-03-31).
func (v Version) Valid() bool {
	_, err := time.Parse(time.DateOnly, strings.TrimSuffix(string(v), "-preview"))
	return err == nil
}

// modelIDSince is the first version whose twins have a modelId (recorded from the service without it in 2020-03-13).
const modelIDSince Version = "2020-09-30"

// HasModelID reports whether twins show a modelId, also an empty one. Versions compare as text; no version counts as a current one.
func (v Version) HasModelID() bool { return v == "" || v >= modelIDSince }

// arraysSince is the first version in which twins may hold arrays (azure-iot-explorer issue 305).
const arraysSince Version = "2019-10-01"

// AllowsArrays reports whether twins may hold arrays. Versions compare as text; no version counts as a current one.
func (v Version) AllowsArrays() bool { return v == "" || v >= arraysSince }
