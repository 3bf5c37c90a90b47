package topic_test

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/language/topic"
)

// Topics and filters are held to the rules of MQTT, after names are filled in.
func TestMistakes(t *testing.T) {
	for _, x := range []struct {
		template string
		filter   bool
		want     string
	}{
		{"devices/{device}/{group}/{index}", false, ""},
		{"a/+/#", true, ""},
		{"a/+", false, "has a wildcard"},
		{"a/#/b", true, "goes on after #"},
		{"a/b+", true, "not a level of its own"},
		{"", false, "1 to 65,535 bytes"},
		{strings.Repeat("x", 65536), false, "1 to 65,535 bytes"},
		{"a/{devise}", false, "nothing is known to put in for {devise}"},
		{"a/\x00", false, "U+0000"},
	} {
		got := strings.Join(topic.Mistakes(x.template, x.filter), "; ")
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("Mistakes(%.20q, %v) = %q; want %q", x.template, x.filter, got, x.want)
		}
	}
}

func TestFill(t *testing.T) {
	if got := topic.Fill("{group}/{device}/{index}", "d-7", "gates", 7); got != "gates/d-7/000007" {
		t.Errorf("filled %q", got)
	}
}
