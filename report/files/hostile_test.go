package files_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/junit"
	"github.com/twinfleet/twinfleet/report/markdown"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/summary"
	"github.com/twinfleet/twinfleet/report/text"
)

// Whatever a record holds, no report of it sends a control character or tells a key.
func TestHostileHistory(t *testing.T) {
	const hostile = "\x1b]0;owned\x07\r\u202e # x\n## heading ![i](http://evil/x.png) [l](http://evil) @team <b> SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0"
	h := reporttest.Example(5)
	r := h.Run
	r.Name, r.Description, r.Target, r.Reason, r.Version = hostile, hostile, hostile, hostile, hostile
	r.Notes = append(r.Notes, hostile)
	for i := range r.Steps {
		r.Steps[i].Text, r.Steps[i].Detail = hostile, hostile
	}
	r.Totals.Errors = append(r.Totals.Errors, metrics.ErrorCount{Operation: metrics.OpConnect, Outcome: "error", Reason: hostile, Count: 3})
	clean.All(h)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"summary":  func(b *bytes.Buffer) error { return text.Write(b, r, color.Style{}) },
		"Markdown": func(b *bytes.Buffer) error { return markdown.Write(b, r) },
		"JSON":     func(b *bytes.Buffer) error { return summary.Write(b, r) },
		"JUnit":    func(b *bytes.Buffer) error { return junit.Write(b, r) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.String() {
			if c != '\n' && c != '\t' && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c)) {
				t.Errorf("%s: sends %q", name, c)
				break
			}
		}
		if strings.Contains(b.String(), "c2VjcmV0") {
			t.Errorf("%s: tells the key", name)
		}
		if name != "Markdown" {
			continue
		}
		for _, bad := range []string{"\n## ", "![i](", "[l](", "@team", "<b>", "(http://"} {
			if strings.Contains(b.String(), bad) {
				t.Errorf("Markdown: %q passes\n%s", bad, &b)
			}
		}
	}
}
