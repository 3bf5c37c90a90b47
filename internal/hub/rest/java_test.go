package rest_test

import "testing"

// Microsoft's service client for Java patches with POST and a header that overrides it.
func TestPatchByHeader(t *testing.T) {
	b := newBench(t)
	override := []string{"X-HTTP-Method-Override", "PATCH"}
	b.play([]exchange{
		{"a device's twin", "POST", "/twins/dev-1", `{"tags":{"a":1}}`, override, 200, []string{`"tags":{"a":1}`}},
		{"which keeps what is not named", "POST", "/twins/dev-1", `{"tags":{"b":2}}`, override, 200, []string{`"tags":{"a":1,"b":2}`}},
		{"a module", "PUT", "/devices/dev-1/modules/m", `{"deviceId":"dev-1","moduleId":"m"}`, nil, 200, nil},
		{"its twin", "POST", "/twins/dev-1/modules/m", `{"properties":{"desired":{"c":3}}}`, override, 200, []string{`"c":3`}},
		{"the header alone names no endpoint", "POST", "/twins/dev-1", `{}`, nil, 404, nil},
		{"another method is not put in its place", "POST", "/devices/dev-1", `{}`, []string{"X-HTTP-Method-Override", "DELETE"}, 404, nil},
		{"nor of another request", "GET", "/twins/dev-1", "", override, 200, []string{`"deviceId":"dev-1"`}},
	})
}
