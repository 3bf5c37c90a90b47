package filters

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/username"
)

// A set reads back as it was kept, and nothing else is one.
func TestKept(t *testing.T) {
	var s Set
	if s.Encode() != nil {
		t.Error("an empty set is something to keep")
	}
	for kind := range kinds {
		s = Set{}
		for granted := range byte(3) {
			s[kind] = granted
			got, ok := Decode(s.Encode())
			if granted > 0 && (!ok || got != s) {
				t.Errorf("%v reads back as %v, %t", s, got, ok)
			}
		}
	}
	b := s.Encode()
	for _, bad := range [][]byte{nil, b[1:], append([]byte{2}, b[1:]...), append(b[:len(b)-1:len(b)-1], 3)} {
		if _, ok := Decode(bad); ok {
			t.Errorf("% x is a set", bad)
		}
	}
}

// A module's messages come by the filter of all its topics, or that of its inputs.
func TestTakesMessages(t *testing.T) {
	device, module := username.Name{DeviceID: "d"}, username.Name{DeviceID: "d", ModuleID: "m"}
	for _, tt := range []struct {
		filter        string
		user          username.Name
		inputs, other bool
	}{
		{"devices/d/messages/devicebound/#", device, true, true},
		{"$iothub/methods/POST/#", device, false, false},
		{"devices/d/modules/m/#", module, true, true},
		{"devices/d/modules/m/inputs/#", module, true, false},
		{"$iothub/methods/POST/#", module, false, false},
	} {
		var s Set
		kind, ok := KindOf(tt.filter, tt.user)
		s[kind] = 1
		if !ok || s.TakesMessages(true) != tt.inputs || s.TakesMessages(false) != tt.other {
			t.Errorf("%s: %t, %t, %t", tt.filter, ok, s.TakesMessages(true), s.TakesMessages(false))
		}
	}
}
