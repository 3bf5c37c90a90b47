package tree_test

import (
	"io/fs"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/redact"
	"github.com/twinfleet/twinfleet/internal/language/tree"
)

func parse(t *testing.T, text string) *yaml.Node {
	t.Helper()
	root, err := tree.Parse("x.yaml", []byte(text), "a name")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func dump(t *testing.T, root *yaml.Node) string {
	t.Helper()
	b, err := yaml.Dump(root)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A file that is empty, or no YAML, is a problem with a place.
func TestParseFails(t *testing.T) {
	for text, want := range map[string]string{
		"": "x.yaml: the file is empty; begin with a name", "a: [1": "x.yaml:2:1: this is no YAML",
	} {
		if _, err := tree.Parse("x.yaml", []byte(text), "a name"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Parse(%q): %v; want %s", text, err, want)
		}
	}
}

// Values come from the environment, with defaults, and stay of the type that they look like.
func TestFill(t *testing.T) {
	r, root := language.NewReader("x.yaml"), parse(t, "a: ${N}\nb: \"${N}\"\nc: x-${M:-text}-y\nd: $${N}\n")
	tree.Fill(r, root, func(name string) (string, bool) { return "7", name == "N" }, noFile)
	if got, want := dump(t, root), "a: 7\nb: \"7\"\nc: x-text-y\nd: ${N}\n"; got != want || r.Err() != nil {
		t.Errorf("%s, %v; want %s", got, r.Err(), want)
	}
	root = parse(t, "a: ${NONE}\nb: ${open\n")
	tree.Fill(r, root, func(string) (string, bool) { return "", false }, noFile)
	if r.Problems() != 2 || !r.Unknown("a") || !r.Unknown("b") {
		t.Errorf("problems are %v", r.Err())
	}
}

func noFile(string) (string, error) { return "", fs.ErrNotExist }

// A variable that is not set is what its file says, so that a secret need not be in the environment.
func TestFillFromFiles(t *testing.T) {
	environ := map[string]string{"HUB_FILE": "/run/secrets/hub", "BOTH": "set", "BOTH_FILE": "/run/secrets/hub", "EMPTY_FILE": "", "GONE_FILE": "/run/secrets/gone"}
	lookup := func(name string) (string, bool) {
		value, ok := environ[name]
		return value, ok
	}
	read := func(file string) (string, error) {
		if file != "/run/secrets/hub" {
			return "", fs.ErrNotExist
		}
		return "HostName=hub", nil
	}
	r, root := language.NewReader("x.yaml"), parse(t, "a: ${HUB}\nb: ${BOTH}\nc: ${EMPTY:-text}\n")
	tree.Fill(r, root, lookup, read)
	if got, want := dump(t, root), "a: HostName=hub\nb: set\nc: text\n"; got != want || r.Err() != nil {
		t.Errorf("%s, %v; want %s", got, r.Err(), want)
	}
	tree.Fill(r, parse(t, "a: ${GONE:-text}\n"), lookup, read)
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "the file of GONE_FILE: "+fs.ErrNotExist.Error()) || !r.Unknown("a") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// A key is set by its path, in which items of lists go by number or name; a path to nothing is a problem.
func TestOverride(t *testing.T) {
	r, root := language.NewReader("x.yaml"), parse(t, "a: 1\nlist: [{name: one, n: 1}, {name: two, n: 2}]\n")
	for _, set := range []string{"a=2", "list.two.n=22", "list[0].n={b: 1}", "new.key=x"} {
		tree.Override(r, root, set)
	}
	want := "a: 2\nlist: [{name: one, n: {b: 1}}, {name: two, n: 22}]\nnew:\n    key: x\n"
	if got := strings.ReplaceAll(dump(t, root), "\n  key", "\n    key"); r.Err() != nil || got != want {
		t.Errorf("%s, %v; want %s", got, r.Err(), want)
	}
	tree.Override(r, root, "list.tow.n=3")
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "did you mean two?") {
		t.Errorf("%v", err)
	}
}

// What is shown of a file has no secret in it.
func TestRedact(t *testing.T) {
	root := parse(t, "key: s3cret\nheaders: {A: s3cret, B: [s3cret], C: \"${TOKEN}\"}\nproxy: http://u:s3$cret@h:1\nother: http://${U:-u}:${P}@h:1\npassword: ${PASSWORD}\nurl: mqtt://u:s3cret@h/?token=s3cret\nhub: HostName=h;SharedAccessKey=s3cret\nplain: text\n")
	got := dump(t, redact.Copy(root, "key", "password", "headers"))
	if strings.Contains(got, "cret") || !strings.Contains(got, "${TOKEN}") || !strings.Contains(got, "http://${U:-u}:${P}@h:1") || !strings.Contains(got, "${PASSWORD}") || !strings.Contains(got, "plain: text") {
		t.Errorf("%s", got)
	}
	for text, want := range map[string]string{
		"password: ${PW:-s3cret}":                      "password: ${PW:-[hidden]}",
		"password: ${PW:-}":                            "password: ${PW:-}",
		"password: ${PW:-s3}cret":                      "password: '[hidden]'",
		"key: [\"${A}${B:-s3cret}\"]":                  "key: [\"[hidden]\"]",
		"headers: {A: \"${T:-Bearer s3cret}\"}":        "headers: {A: \"${T:-[hidden]}\"}",
		"headers: {A: \"Bearer ${T:-s3cret}\"}":        "headers: {A: \"[hidden]\"}",
		"url: mqtt://u:${PW:-s3cret}@h":                "url: mqtt://u:${PW:-[hidden]}@h",
		"url: mqtt://${U:-u}:${PW:-s/3@cret}@h":        "url: mqtt://${U:-u}:${PW:-[hidden]}@h",
		"url: wss://h/mqtt?token=${T:-s3cret}&x=${X}":  "url: wss://h/mqtt?token=${T:-[hidden]}&x=${X}",
		"hub: HostName=h;SharedAccessKey=${K:-s3cret}": "hub: HostName=h;SharedAccessKey=${K:-[hidden]}",
		"hub: ${H:-HostName=h;SharedAccessKey=s3cret}": "hub: ${H:-HostName=h;SharedAccessKey=[hidden]}",
		"hub: ${H:-wss://h/mqtt?token=s3cret}":         "hub: ${H:-wss://h/mqtt?token=[hidden]}",
		"hub: HostName=h;SharedAccessKey=${K}":         "hub: HostName=h;SharedAccessKey=${K}",
	} {
		if got := strings.TrimSpace(dump(t, redact.Copy(parse(t, text+"\n"), "key", "password", "headers"))); got != want {
			t.Errorf("%s is shown as %s; want %s", text, got, want)
		}
	}
	if before := dump(t, root); strings.Count(before, "s3cret") != 6 {
		t.Errorf("the file itself was changed: %s", before)
	}
}
