// Package route reads the path of a request as the service does: also one that is percent-encoded as a whole, as
// Azure IoT Explorer sends it, and without cleaning it up; and its method, also one that a header overrides.
package route

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Normalized is a request whose path [http.ServeMux] takes as it is. It is false for a path with empty segments, or
// with segments of dots alone, which name nothing that could be served.
//
// A path without a slash but its first is encoded as a whole, and is decoded once: what its segments hold then
// is what was meant, so that a percent sign in an id stays one.
func Normalized(r *http.Request) (*http.Request, bool) {
	segments, ok := Segments(r)
	if !ok {
		return nil, false
	}
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = url.PathEscape(s)
	}
	out := r.WithContext(r.Context())
	// Java's own HTTP client has no PATCH: Microsoft's service client for Java says it so (azure-iot-sdk-java, HttpRequest).
	if r.Method == http.MethodPost && r.Header.Get("X-HTTP-Method-Override") == http.MethodPatch {
		out.Method = http.MethodPatch
	}
	u := *r.URL
	u.Path, u.RawPath = "/"+strings.Join(segments, "/"), "/"+strings.Join(escaped, "/")
	out.URL = &u
	return out, true
}

// Segments are the decoded segments of a request's path. It is false for a path that Normalized refuses.
func Segments(r *http.Request) ([]string, bool) {
	segments, ok := split(r.URL.EscapedPath())
	if !ok || slices.ContainsFunc(segments[:len(segments)-1], func(s string) bool { return s == "" }) ||
		slices.Contains(segments, ".") || slices.Contains(segments, "..") {
		return nil, false
	}
	return segments, true
}

// split decodes the segments of a path; there is at least one.
func split(path string) ([]string, bool) {
	path = strings.TrimPrefix(path, "/")
	if !strings.Contains(path, "/") && strings.Contains(strings.ToUpper(path), "%2F") {
		whole, err := url.PathUnescape(path)
		return strings.Split(strings.TrimPrefix(whole, "/"), "/"), err == nil
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		segments[i] = decoded
	}
	return segments, true
}
