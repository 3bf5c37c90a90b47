package report_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

func TestClean(t *testing.T) {
	const key = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI="
	for in, want := range map[string]string{
		"plain text, 12 % of größe · ok": "plain text, 12 % of größe · ok",
		"\x1b[31mred\x1b[0m":             "␛[31mred␛[0m",
		"a\r\nb\tc\x00\x7f":              "a␍ b c␀␡",
		"c1 \u009b31m":                   "c1 \ufffd31m",
		"bidi \u202egnp.exe\u2066":       "bidi \ufffdgnp.exe\ufffd",
		"bad \xff":                       "bad \ufffd",
		"no\u00a0break":                  "no break",
		"open HostName=h.example;SharedAccessKeyName=owner;SharedAccessKey=" + key + ": no such file": "open HostName=h.example;SharedAccessKeyName=owner;SharedAccessKey=[hidden]: no such file",
		"SharedAccessSignature sr=h&sig=abc%3D&se=17&skn=x":                                           "SharedAccessSignature sr=h&sig=[hidden]&se=17&skn=x",

		"the key " + key + " alone":                         "the key [hidden] alone",
		"wss://me:open-sesame@h.example/mqtt":               "wss://me:[hidden]@h.example/mqtt",
		"Authorization: Bearer abcdefgh.12345":              "Authorization: Bearer [hidden]",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is it":   "[hidden] is it",
		"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC": "[hidden]",
		"SharedAccessKey=[hidden]":                          "SharedAccessKey=[hidden]",
		"p(99) < 250ms; a=b; x@y":                           "p(99) < 250ms; a=b; x@y",
	} {
		got := report.Clean(in)
		if got != want {
			t.Errorf("%q: %q; want %q", in, got, want)
		}
		if again := report.Clean(got); again != got {
			t.Errorf("%q changes when it is cleaned again: %q", got, again)
		}
	}
}

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
	report.CleanAll(h)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"summary":  func(b *bytes.Buffer) error { return report.WriteSummary(b, r, report.Style{}) },
		"Markdown": func(b *bytes.Buffer) error { return report.WriteMarkdown(b, r) },
		"JSON":     func(b *bytes.Buffer) error { return report.WriteJSON(b, r) },
		"JUnit":    func(b *bytes.Buffer) error { return report.WriteJUnit(b, r) },
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
