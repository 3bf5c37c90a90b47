package entity

import "testing"

func TestKeysNameDevicesAndModules(t *testing.T) {
	for _, c := range []struct{ device, module, key string }{
		{"d", "", "d"}, {"d", "m", "d/m"}, {"$d.e", "$edgeAgent", "$d.e/$edgeAgent"},
	} {
		if got := Key(c.device, c.module); got != c.key {
			t.Errorf("Key(%q, %q) = %q, want %q", c.device, c.module, got, c.key)
		}
		if d, m := Split(c.key); d != c.device || m != c.module {
			t.Errorf("Split(%q) = %q, %q", c.key, d, m)
		}
		if IsModule(c.key) != (c.module != "") {
			t.Errorf("IsModule(%q) = %v", c.key, IsModule(c.key))
		}
	}
}
