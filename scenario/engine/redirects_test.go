package engine

import "testing"

// The first servers are named, all others together, and a device counts once for each, however often it comes.
func TestRedirects(t *testing.T) {
	var x redirects
	if got := x.target("mqtt://a", true); got != "mqtt://a" {
		t.Errorf("without any: %s", got)
	}
	for i, add := range []struct {
		server string
		index  int
		first  bool
	}{
		{"b:1", 0, true},
		{"b:1", 1, false},
		{"b:1", 0, false},
		{"c:1", 0, true},
		{"d:1", 2, true},
		{"e:1", 3, true},
		{"f:1", 3, false},
		{"f:1", 4, false},
		{"b:1", 5, false},
		{"b:1", -1, false}, // of no device
	} {
		if got := x.add(add.server, add.index, 5); got != add.first {
			t.Errorf("%d, %v: %v", i, add, got)
		}
	}
	const counted = "mqtt://a, redirected to b:1 (2 devices), c:1 (1 device), d:1 (1 device), others (2 devices)"
	if got := x.target("mqtt://a", true); got != counted {
		t.Errorf("%s; want %s", got, counted)
	}
	if got, want := x.target("mqtt://a", false), "mqtt://a, redirected to b:1, c:1, d:1, others"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}
