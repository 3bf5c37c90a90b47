package clean_test

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report/clean"
)

func TestText(t *testing.T) {
	const key = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI="
	for in, want := range map[string]string{
		"plain text, 12 % of größe · ok": "plain text, 12 % of größe · ok",
		"\x1b[31mred\x1b[0m":             "␛[31mred␛[0m",
		"a\r\nb\tc\x00\x7f":              "a␍ b c␀␡",
		"c1 \u009b31m":                   "c1 \ufffd31m",
		"bidi \u202egnp.exe\u2066":       "bidi \ufffdgnp.exe\ufffd",
		"bad \xff":                       "bad \ufffd",
		"no\u00a0break":                  "no break",
		"open HostName=h.example;SharedAccessKeyName=owner;SharedAccessKey=" + key +
			": no such file": "open HostName=h.example;SharedAccessKeyName=owner;SharedAccessKey=[hidden]: no such file",
		"SharedAccessSignature sr=h&sig=abc%3D&se=17&skn=x": "SharedAccessSignature sr=h&sig=[hidden]&se=17&skn=x",

		"the key " + key + " alone":                          "the key [hidden] alone",
		"escaped " + key[:43] + "%3d, %3D":                   "escaped [hidden], %3D",
		key[:43] + ": unknown key":                           "[hidden]: unknown key",
		"its own name is " + strings.Repeat("a1/", 14) + "b": "its own name is " + strings.Repeat("a1/", 14) + "b",
		"wss://me:open-sesame@h.example/mqtt":                "wss://me:[hidden]@h.example/mqtt",
		"Authorization: Bearer abcdefgh.12345":               "Authorization: Bearer [hidden]",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is it":    "[hidden] is it",
		"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC":  "[hidden]",
		"SharedAccessKey=[hidden]":                           "SharedAccessKey=[hidden]",
		"p(99) < 250ms; a=b; x@y":                            "p(99) < 250ms; a=b; x@y",
		strings.Repeat("largest ", 1024):                     strings.Repeat("largest ", 1024),
		strings.Repeat("too much", 1<<20):                    strings.Repeat("too much", 1023) + "too m…",
		strings.Repeat("größer", 2000):                       strings.Repeat("größer", 1023) + "grö…",
		strings.Repeat("\x1b", 5000):                         strings.Repeat("␛", 2729) + "…",
		strings.Repeat("x", 8<<10-20) + " " + key:            strings.Repeat("x", 8<<10-20) + " [hidden]",
	} {
		got := clean.Text(in)
		if len(got) > 8<<10 {
			t.Errorf("%d bytes are shown of %d", len(got), len(in))
		}
		if got != want {
			t.Errorf("%.200q: %.200q; want %.200q", in, got, want)
		}
		if twice := clean.Text(got); twice != got {
			t.Errorf("%q changes when it is cleaned once more: %q", got, twice)
		}
	}
}

func TestMarkdown(t *testing.T) {
	for in, want := range map[string]string{
		"twin_report p99 · 3 %":              "twin_report p99 · 3 %",
		"![x](http://e.example) [l](x)":      `!\[x\](http:<!-- -->//e.example) \[l\](x)`,
		"@here #7 www.e.example <img> | `a`": `@<!-- -->here #<!-- -->7 www<!-- -->.e.example &lt;img> \| 'a'`,
		"a\n# b \\| *c* ~d~":                 `a #<!-- --> b \\\| \*c\* \~d\~`,
	} {
		if got := clean.Markdown(in); got != want {
			t.Errorf("%q: %q; want %q", in, got, want)
		}
	}
	if got := clean.MarkdownCode("a`b|c\nd"); got != "`a'b\\|c d`" {
		t.Errorf("code: %q", got)
	}
}
