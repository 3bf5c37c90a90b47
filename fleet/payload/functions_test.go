package payload_test

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

// table is data of three rows.
type table struct{}

func (table) Len() int          { return 3 }
func (table) Columns() []string { return []string{"site", "t", "deep"} }
func (table) Column(name string) func(int) []byte {
	values := map[string][]string{
		"site": {`"Redmond \"43\""`, `"Köln"`, ""}, "t": {"21.50", "true", "null"}, "deep": {`{"a":"b"}`, `[1,"x"]`, `""`},
	}[name]
	if values == nil {
		return nil
	}
	return func(row int) []byte {
		if values[row] == "" {
			return nil
		}
		return []byte(values[row])
	}
}

// What each function yields: alone in a string of JSON, within one, and in a text that is none.
func TestFunctions(t *testing.T) {
	for _, tt := range []struct{ function, alone, within, text string }{
		{`{{ seq }}`, `3`, `"a 3"`, `a 3`},
		{`{{ index }}`, `7`, `"a 7"`, `a 7`},
		{`{{ int -3 -3 }}`, `-3`, `"a -3"`, `a -3`},
		{`{{ int 9223372036854775807 9223372036854775807 }}`, `9223372036854775807`, `"a 9223372036854775807"`, `a 9223372036854775807`},
		{`{{ walk 20 0 }}`, `20`, `"a 20"`, `a 20`},
		{`{{ walk 5 100 5 5 }}`, `5`, `"a 5"`, `a 5`},
		{`{{ epoch }}`, `1795608001023`, `"a 1795608001023"`, `a 1795608001023`},
		{`{{ epoch s }}`, `1795608001`, `"a 1795608001"`, `a 1795608001`},
		{`{{ epoch ms }}`, `1795608001023`, `"a 1795608001023"`, `a 1795608001023`},
		{`{{ epoch us }}`, `1795608001023000`, `"a 1795608001023000"`, `a 1795608001023000`},
		{`{{ epoch ns }}`, `1795608001023000000`, `"a 1795608001023000000"`, `a 1795608001023000000`},
		{`{{ now }}`, `"2026-11-25T12:00:01.023Z"`, `"a 2026-11-25T12:00:01.023Z"`, `a 2026-11-25T12:00:01.023Z`},
		{`{{ device }}`, `"robots-000007"`, `"a robots-000007"`, `a robots-000007`},
		{`{{ group }}`, `"robots"`, `"a robots"`, `a robots`},
		{`{{ pick "\"" }}`, `"\""`, `"a \""`, `a "`},
		{`{{ pick "\n" "\n" }}`, `"\n"`, `"a \n"`, "a \n"},
		{`{{ data "site" }}`, `"Köln"`, `"a Köln"`, `a Köln`},
		{`{{ data "t" }}`, `true`, `"a true"`, `a true`},
		{`{{ data deep }}`, `[1,"x"]`, `"a [1,\"x\"]"`, `a [1,"x"]`},
	} {
		x := payload.Compiler{Data: table{}}
		for _, form := range []struct {
			text, want string
			compile    func(string) (*payload.Template, error)
		}{
			{tt.function, tt.alone, func(s string) (*payload.Template, error) { return x.Compile(s) }},
			{"a " + tt.function, tt.within, func(s string) (*payload.Template, error) { return x.Compile(s) }},
			{"a " + tt.function, tt.text, x.CompileText},
		} {
			p, err := form.compile(form.text)
			if err != nil {
				t.Errorf("%s: %v", form.text, err)
				continue
			}
			c := newContext(1)
			c.Index, c.Seq = 2, 3 // row 1
			if got := string(p.Append(nil, c)); got != form.want || p.Least() > len(got) {
				t.Errorf("%s renders %s, %d bytes at least; want %s", form.text, got, p.Least(), form.want)
			}
		}
	}
}

// Rows without a value, and names with characters that JSON escapes, leave JSON what it is.
func TestFunctionsOfOddValues(t *testing.T) {
	p, err := payload.Compiler{Data: table{}}.Compile(payload.Object{
		{"a", `{{ data "site" }}`}, {"b", `<{{ data "site" }}>`}, {"c", `{{ data "t" }}`}, {"d", `{{ data "deep" }}/{{ device }}/{{ group }}`},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := newContext(1)
	c.Device, c.Group = `a"b`, "gr\x01ün"
	for seq, want := range map[int64]string{
		1: `{"a":"Redmond \"43\"","b":"\u003cRedmond \"43\"\u003e","c":21.50,"d":"{\"a\":\"b\"}/a\"b/gr\u0001ün"}`,
		3: `{"a":null,"b":"\u003c\u003e","c":null,"d":"/a\"b/gr\u0001ün"}`,
		6: `{"a":null,"b":"\u003c\u003e","c":null,"d":"/a\"b/gr\u0001ün"}`,
	} {
		c.Index, c.Seq = 0, seq
		if got := string(p.Append(nil, c)); got != want || !json.Valid([]byte(got)) || !p.Asks() {
			t.Errorf("message %d is %s; want %s", seq, got, want)
		}
	}
	if _, err := (payload.Compiler{Data: table{}}).CompileText(`{{ data "sight" }}`); err == nil ||
		!strings.Contains(err.Error(), `has no column "sight"; there are site, t, deep`) {
		t.Errorf("a column that is not there: %v", err)
	}
}

// Functions of chance stay within what they promise, reach all of it, and follow from the context's chance.
func TestFunctionsOfChance(t *testing.T) {
	uuid := `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	for text, want := range map[string]struct {
		pattern  string
		distinct int // of a thousand, at least
	}{
		"{{ int 1 6 }}": {`[1-6]`, 6}, "{{ int -9223372036854775808 9223372036854775807 }}": {`-?[0-9]{10,19}`, 1000},
		"{{ bool }}": {`true|false`, 2}, "{{ uuid }}": {uuid, 1000}, "{{ hex 1 }}": {`[0-9a-f]`, 16}, "{{ hex 33 }}": {`[0-9a-f]{33}`, 1000},
		`{{ pick "a" "" "c" }}`: {`[ac]?`, 3},
	} {
		p, err := payload.CompileText(text)
		if err != nil {
			t.Fatal(err)
		}
		pattern, seen := regexp.MustCompile("^("+want.pattern+")$"), make(map[string]int)
		c, same := newContext(5), newContext(5)
		for range 1000 {
			got := string(p.Append(nil, c))
			seen[got]++
			if other := string(p.Append(nil, same)); other != got || !pattern.MatchString(got) || len(got) < p.Least() {
				t.Fatalf("%s renders %s and %s from the same chance, %d bytes at least; want %s", text, got, other, p.Least(), want.pattern)
			}
		}
		if len(seen) < want.distinct {
			t.Errorf("%s has %d different values; want %d", text, len(seen), want.distinct)
		}
		for value, n := range seen {
			if share := 1000 / want.distinct; want.distinct < 20 && (n < share/2 || n > share*2) {
				t.Errorf("%s renders %q %d times of 1000; want about %d", text, value, n, share)
			}
		}
	}
}

// A text is sent as it is, with what its functions yield.
func TestTexts(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "hot": "hot", "21.50": "21.50", `a "b" \c <é>` + "\n\x00": `a "b" \c <é>` + "\n\x00",
		"t={{ uniform 5 5 }};n={{ seq }}": "t=5;n=3", `{{ pick "{{" }} x }}`: "{{ x }}", `{"a": {{ seq }}}`: `{"a": 3}`,
	} {
		p, err := payload.CompileText(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := string(p.Append(nil, newContext(1))); got != want || p.Objects() || payload.Objects(p) {
			t.Errorf("%q renders %q, an object %v; want %q", text, got, p.Objects(), want)
		}
	}
	if _, err := payload.CompileText("a {{ no }} {{ nor }}"); err == nil || strings.Count(err.Error(), "none of the functions") != 2 {
		t.Errorf("two mistakes: %v", err)
	}
}

// What is always a JSON object is known beforehand.
func TestObjects(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  bool
	}{{payload.Object{}, true}, {map[string]any{"a": 1}, true}, {[]any{}, false}, {"{}", false}, {1, false}} {
		p, err := payload.Compile(tt.value)
		if err != nil || payload.Objects(p) != tt.want || payload.Objects(payload.Fill(p, 100)) != tt.want {
			t.Errorf("%v is always an object: %v, %v; want %v", tt.value, payload.Objects(p), err, tt.want)
		}
	}
	if !payload.Objects(nil) || !payload.Objects(payload.Fill(nil, 9)) || payload.Objects(payload.Bytes("{}")) || payload.Objects(payload.Random(2)) {
		t.Error("{} is an object, and bytes are none that is known")
	}
}

// Bytes are as many as were asked for: the same ones, zeros, or those of the context's chance.
func TestBytes(t *testing.T) {
	for n := range 40 {
		c, same := newContext(5), newContext(5)
		random := payload.Random(n).Append([]byte("x"), c)
		if other := payload.Random(n).Append([]byte("x"), same); !slices.Equal(random, other) || len(random) != n+1 || payload.Random(n).Mean() != n {
			t.Errorf("%d random bytes: %x and %x from the same chance", n, random, other)
		}
		zeros := payload.Zeros(n).Append([]byte("x"), c)
		if string(zeros) != "x"+strings.Repeat("\x00", n) || payload.Zeros(n).Mean() != n {
			t.Errorf("%d zeros: %x", n, zeros)
		}
	}
	c := newContext(5)
	if a, b := payload.Random(100).Append(nil, c), payload.Random(100).Append(nil, c); slices.Equal(a, b) {
		t.Errorf("two messages have the same random bytes %x", a)
	}
	if got := string(payload.Bytes("\x00\xff").Append([]byte("x"), c)); got != "x\x00\xff" || payload.Bytes("\x00\xff").Mean() != 2 {
		t.Errorf("two bytes: %x", got)
	}
}

// Any text compiles or is refused; without functions it is sent as it is, and no function ends a rendering.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"hot", "t={{ uniform 1 2 }}", "{{", "}}", `{{ pick "\u00e9" "b" }}`, "{{ walk 1 2 0 3 }}{{ int 1 2 }}{{ uuid }}", "{{ walk 0 1e308 -1e308 1e308 }}",
		"{{ hex 7 }}{{ epoch us }}{{ bool }}{{ data t }}", "\xff{{ group }}",
	} {
		f.Add(s, int64(1), uint64(7))
	}
	f.Fuzz(func(t *testing.T, s string, seq int64, seed uint64) {
		p, err := payload.Compiler{Data: table{}}.CompileText(s)
		if err != nil {
			return
		}
		c := &payload.Context{Device: "d", Seq: seq&(1<<62-1) + 1, Now: time.Unix(0, 0), Rand: rand.New(rand.NewPCG(seed, 1)), Chance: seed}
		got := string(p.Append(nil, c))
		if !strings.Contains(s, "{{") && got != s {
			t.Errorf("%q renders %q", s, got)
		}
		if len(got) < p.Least() {
			t.Errorf("%q renders %d bytes; it says %d at least", s, len(got), p.Least())
		}
		if strings.Contains(got, "NaN") && !strings.Contains(s, "NaN") {
			t.Errorf("%q renders %q", s, got)
		}
	})
}

func BenchmarkFunctions(b *testing.B) {
	for _, text := range []string{"{{ int 1 6 }}", "{{ uuid }}", "{{ hex 16 }}", "{{ epoch }}", "{{ walk 20 0.5 0 40 }}", "{{ data site }}"} {
		b.Run(strings.Fields(text)[1], func(b *testing.B) {
			p, err := payload.Compiler{Data: table{}}.CompileText(text)
			if err != nil {
				b.Fatal(err)
			}
			c, buf := newContext(1), make([]byte, 0, 256)
			c.Seq = 10_000
			b.ReportAllocs()
			for b.Loop() {
				buf = p.Append(buf[:0], c)
			}
		})
	}
}

// number is what a template renders, as a number.
func number(t testing.TB, p *payload.Template, c *payload.Context) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(string(p.Append(nil, c)), 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}
