package main

import (
	"runtime/debug"
	"testing"
)

func TestVersionOf(t *testing.T) {
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: modified}}
	}
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3":                               {Main: debug.Module{Version: "v1.2.3"}},
		"v1.2.4-0.20261128084542-aaaaaaaaaaaa": {Main: debug.Module{Version: "v1.2.4-0.20261128084542-aaaaaaaaaaaa"}}, // after v1.2.3
		next + "+123456789abc":                 {Main: debug.Module{Version: "v0.0.0-20261128084542-123456789abc"}},   // no tag yet
		next + "+123456789abc.dirty":           {Main: debug.Module{Version: "v0.0.0-20261128084542-123456789abc+dirty"}, Settings: vcs("true")},
		next:                                   {Main: debug.Module{Version: "(devel)"}},
		next + "+0123456789ab":                 {Main: debug.Module{Version: "(devel)"}, Settings: vcs("false")},
		next + "+0123456789ab" + ".dirty":      {Settings: vcs("true")},
	} {
		if got := versionOf(info); got != want {
			t.Errorf("%+v: %s; want %s", info, got, want)
		}
	}
	if got := versionOf(nil); got != next {
		t.Errorf("without information: %s; want %s", got, next)
	}
}
