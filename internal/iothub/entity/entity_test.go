package entity

import "testing"

func TestKeysNameDevicesAndModules(t *testing.T) {
	for _, c := range []struct{ device, module, key, path string }{
		{"d", "", "d", "/devices/d"},
		{"d", "m", "d/m", "/devices/d/modules/m"},
		{"$d.e", "$edgeAgent", "$d.e/$edgeAgent", "/devices/$d.e/modules/$edgeAgent"},
	} {
		if got := Key(c.device, c.module); got != c.key {
			t.Errorf("Key(%q, %q) = %q, want %q", c.device, c.module, got, c.key)
		}
		if d, m := Split(c.key); d != c.device || m != c.module {
			t.Errorf("Split(%q) = %q, %q", c.key, d, m)
		}
		if got := Path(c.key); got != c.path {
			t.Errorf("Path(%q) = %q, want %q", c.key, got, c.path)
		}
		if IsModule(c.key) != (c.module != "") {
			t.Errorf("IsModule(%q) = %v", c.key, IsModule(c.key))
		}
	}
}
