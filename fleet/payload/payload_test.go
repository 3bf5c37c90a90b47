package payload_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

func newContext(seed uint64) *payload.Context {
	return &payload.Context{Device: "robots-000007", Index: 7, Seq: 3, Now: time.Date(2026, 11, 25, 13, 0, 1, 23e6, time.FixedZone("", 3600)), Rand: rand.New(rand.NewPCG(seed, 1))}
}

func TestTemplates(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  string // of the only rendering that is possible
	}{
		{map[string]any{}, `{}`},
		{map[string]any{"b": 1, "a": []any{true, nil, 1.5, "x"}}, `{"a":[true,null,1.5,"x"],"b":1}`},
		{"{{ seq }}", `3`},
		{"{{seq}}", `3`},
		{"n={{ seq }}", `"n=3"`},
		{"{{ seq }}/{{ seq }}", `"3/3"`},
		{"{{ now }}", `"2026-11-25T12:00:01.023Z"`},
		{"{{ device }}", `"robots-000007"`},
		{`<{{ device }}> "quoted"`, `"\u003crobots-000007\u003e \"quoted\""`},
		{`{{ pick "a \"b\"" }}`, `"a \"b\""`},
		{"{{ uniform 5 5 }}", `5`},
		{"{{ normal 21 0 }}", `21`},
		{"{{ normal -1.5e1 0 }}", `-15`},
		{"between {{ uniform 5 5 }} and 6", `"between 5 and 6"`},
		{"{{ uniform 1e300 1e300 }}", "1" + strings.Repeat("0", 300)},
		{"} {{ pick \"}\" }} {", `"} } {"`},
		{`{{ pick "{{" }} x }}`, `"{{ x }}"`},
		{payload.Object{{"z", 1}, {"a", payload.Object{{"y", json.Number("1.50")}, {"b", nil}}}}, `{"z":1,"a":{"y":1.50,"b":null}}`},
		{payload.Object{{"{{ device }}", 1}, {"n{{ seq }}", 2}, {"{{ seq }}", 3}}, `{"robots-000007":1,"n3":2,"3":3}`},
	} {
		p, err := payload.Compile(tt.value)
		if err != nil {
			t.Errorf("Compile(%v): %v", tt.value, err)
			continue
		}
		got := string(p.Append(nil, newContext(1)))
		if got != tt.want || !json.Valid([]byte(got)) {
			t.Errorf("%v renders %s; want %s", tt.value, got, tt.want)
		}
	}
}

// Every mistake is named, with the member that it is in: of names as of values.
func TestAllMistakesOfATemplate(t *testing.T) {
	_, err := payload.Compile(payload.Object{
		{"a", "{{ no }} and {{ nor }}"}, {"b", []any{1, payload.Object{{"c", "{{ seq"}}}}, {"{{ key }}", 1}, {"fine", "{{ seq }}"}, {"f", math.NaN()},
	})
	var got []string
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%v; want several mistakes", err)
	}
	for _, one := range many.Unwrap() {
		var mistake *payload.Error
		if !errors.As(one, &mistake) || !errors.Is(one, payload.ErrTemplate) {
			t.Fatalf("%v is no mistake of a template", one)
		}
		got = append(got, mistake.Path)
	}
	if want := []string{"a", "a", "b[1].c", "{{ key }}", "f"}; !slices.Equal(got, want) {
		t.Errorf("mistakes in %q; want %q", got, want)
	}
}

// What does not depend on device, turn or chance is known beforehand; what does is named.
func TestConstantTemplates(t *testing.T) {
	p, err := payload.Compile(payload.Object{{"a", `{{ pick "x" }}`}, {"b", 1}})
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := p.Constant(); !ok || string(text) != `{"a":"x","b":1}` || p.Variable() != nil {
		t.Errorf("%s, %v, %v; want a constant", text, ok, p.Variable())
	}
	p, err = payload.Compile(payload.Object{{"a", "{{ seq }} {{ now }}"}, {"b", 1}, {"c", []any{"{{ device }}"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Constant(); ok || !slices.Equal(p.Variable(), []string{"a", "c[0]"}) {
		t.Errorf("%v, %v; want a and c[0]", ok, p.Variable())
	}
}

func TestBrokenTemplates(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"{{ seq", "{{ without }}"},
		{"{{ norml 1 2 }}", "there are normal MEAN DEVIATION"},
		{"{{ normal 1 }}", "there are normal"},
		{"{{ normal 1 x }}", "there are normal"},
		{"{{ normal 1 -2 }}", "there are normal"},
		{"{{ uniform 1 Inf }}", "there are normal"},
		{"{{ uniform 3 2 }}", "there are normal"},
		{"{{ seq 1 }}", "there are normal"},
		{"{{ pick }}", "there are normal"},
		{`{{ pick "a }}`, "a quote without an end"},
		{"{{ }}", "there are normal"},
		{"a {{ b }}", "there are normal"},
	} {
		_, err := payload.Compile(map[string]any{"member": tt.text})
		if !errors.Is(err, payload.ErrTemplate) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "payload template: member: ") {
			t.Errorf("Compile(%q) = %v; want member: … %s", tt.text, err, tt.want)
		}
	}
}

// Random functions have the distributions that they are named after, and follow from the context's chance.
func TestDistributions(t *testing.T) {
	p, err := payload.Compile([]any{"{{ normal 21 3 }}", "{{ uniform 10 20 }}", `{{ pick "a" "b" "c" "d" }}`, "{{ normal }}", "{{ uniform }}"})
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	columns, picks := make([][]float64, 5), make(map[string]int)
	c, same := newContext(5), newContext(5)
	for range n {
		b := p.Append(nil, c)
		if other := p.Append(nil, same); string(other) != string(b) {
			t.Fatalf("%s and %s from the same chance", b, other)
		}
		var row []any
		if err := json.Unmarshal(b, &row); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		for i, v := range row {
			if x, ok := v.(float64); ok {
				columns[i] = append(columns[i], x)
			} else {
				picks[v.(string)]++
			}
		}
	}
	for i, want := range map[int][2]float64{0: {21, 3}, 1: {15, 10 / math.Sqrt(12)}, 3: {0, 1}, 4: {0.5, 1 / math.Sqrt(12)}} {
		mean, deviation := moments(columns[i])
		if math.Abs(mean-want[0]) > want[1]/30 || math.Abs(deviation-want[1]) > want[1]/30 {
			t.Errorf("column %d: mean %.3f, deviation %.3f; want %.3f and %.3f", i, mean, deviation, want[0], want[1])
		}
	}
	if low, top := slices.Min(columns[1]), slices.Max(columns[1]); low < 10 || top > 20 {
		t.Errorf("uniform from %v to %v; want 10 to 20", low, top)
	}
	for _, choice := range []string{"a", "b", "c", "d"} {
		if k := picks[choice]; k < n/4*9/10 || k > n/4*11/10 {
			t.Errorf("%s was picked %d times of %d", choice, k, n)
		}
	}
}

func moments(x []float64) (mean, deviation float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		deviation += (v - mean) * (v - mean) / float64(len(x))
	}
	return mean, math.Sqrt(deviation)
}

func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRows(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
		objects    bool
	}{
		{"a.csv", "temperature,on,site,code\n21.5,true,Redmond 43,007\n-3e2,false,,\"a,\"\"b\"\"\"\n", []string{`{"temperature":21.5,"on":true,"site":"Redmond 43","code":"007"}`, `{"temperature":-3e2,"on":false,"code":"a,\"b\""}`}, true},
		{"bom.CSV", "\ufeffa\n1\n", []string{`{"a":1}`}, true},
		{"bom.jsonl", "\ufeff{\"a\":1}\n", []string{`{"a":1}`}, true},
		{"utf-16.csv", "\xff\xfea\x00;\x00b\x00\n\x001\x00;\x00\xe9\x00\n\x00", []string{`{"a":1,"b":"é"}`}, true},
		{"utf-16.jsonl", "\xfe\xff\x00{\x00}\x00\n", []string{`{}`}, true},
		{"semicolons.csv", "temperature;site\n21.5;a,b\n", []string{`{"temperature":21.5,"site":"a,b"}`}, true},
		{"tabs.tsv", "a\tb\n\t x\n", []string{`{"b":" x"}`}, true},
		{"tabs.csv", "a\tb\n1\t2\n", []string{`{"a":1,"b":2}`}, true},
		{"told.csv", "sep=;\r\na;b\r\n1;2\r\n", []string{`{"a":1,"b":2}`}, true},
		{"spaces.csv", "a , b\n 1 , x\n", []string{`{"a":1,"b":"x"}`}, true},
		{"one-column.csv", "a\n1;2\n", []string{`{"a":"1;2"}`}, true},
		{"empty-fields.csv", "a,b\n,\n,2\n", []string{`{}`, `{"b":2}`}, true},
		{"numbers.csv", "a,b,c,d,e\n1.,+1,.5,NaN,01\n", []string{`{"a":"1.","b":"+1","c":".5","d":"NaN","e":"01"}`}, true},
		{"b.jsonl", "{\"a\": 1}\n\n  {\"a\":[2]}  \n{}", []string{`{"a": 1}`, `{"a":[2]}`, `{}`}, true},
		{"mean.jsonl", "{}\n{\"a\":12}\n", []string{`{}`, `{"a":12}`}, true},
		{"c.ndjson", "{\"a\":1}\r\n[1,2]\r\n\"text\"\r\n", []string{`{"a":1}`, `[1,2]`, `"text"`}, false},
	} {
		r, err := payload.ReadRows(file(t, tt.name, tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for i := range r.Len() {
			got = append(got, string(r.Row(i)))
		}
		if n := len(strings.Join(got, "")); r.Mean() != (n+len(got)-1)/len(got) {
			t.Errorf("%s: %d bytes on average of %d in %d rows", tt.name, r.Mean(), n, len(got))
		}
		if !slices.Equal(got, tt.want) || r.Objects() != tt.objects {
			t.Errorf("%s: %s, objects %v; want %s", tt.name, got, r.Objects(), tt.want)
		}
	}
}

// Devices go through a file each from its own place, round and round.
func TestRowsByDeviceAndMessage(t *testing.T) {
	r, err := payload.ReadRows(file(t, "rows.jsonl", "0\n1\n2\n3\n4\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ index, seq, want int }{{0, 1, 0}, {0, 2, 1}, {0, 6, 0}, {3, 1, 3}, {3, 3, 0}, {1_000_003, 2, 4}} {
		c := &payload.Context{Index: tt.index, Seq: int64(tt.seq)}
		if got := string(r.Append([]byte("x"), c)); got != fmt.Sprint("x", tt.want) {
			t.Errorf("message %d of device %d is %s; want x%d", tt.seq, tt.index, got, tt.want)
		}
	}
}

func TestBrokenRows(t *testing.T) {
	long := strings.Repeat("x", payload.MaxRow)
	for _, tt := range []struct{ name, text, want string }{
		{"a.csv", "", "a.csv:1: the file is empty"},
		{"a.csv", "a,b\n", "a.csv: there is no row in it"},
		{"a.csv", "a,b\n1,2\n1\n", "a.csv:3: the line does not have the 2 fields of the first"},
		{"a.csv", "a,b\n1,2\n\n\"1,2\n", "a.csv:4: extraneous or missing"},
		{"a.csv", "a,a\n1,2\n", `a.csv:1: column 2: the name "a" is empty or there twice`},
		{"a.csv", "a,\n1,2\n", `a.csv:1: column 2: the name "" is empty`},
		{"a.csv", "a\n1\n" + long + "\n", "a.csv:3: the row has"},
		{"a.jsonl", "{}\n{\"a\":}\n", "a.jsonl:2: this is no JSON: invalid character"},
		{"a.jsonl", "{}\n\"" + long + "\"\n", "a.jsonl:2: the "},
		{"a.jsonl", "\n\n", "a.jsonl: there is no row in it"},
		{"a.txt", "x", "the name ends in none of .csv"},
		{"latin-1.csv", "a,b\n1,gr\xf6n\n", "latin-1.csv:2: the byte 0xF6 is not UTF-8"},
		{"latin-1.jsonl", "{}\n{}\n{\"a\":\"\xe9\"}\n", "latin-1.jsonl:3: the byte 0xE9 is not UTF-8"},
		{"utf-16-without.csv", "a\x00\n\x00", "utf-16-without.csv:1: it holds a NUL byte"},
		{"both.csv", "a;b,c\n1;2,3\n", "both.csv:1: its names could be separated by commas or by semicolons"},
		{"comma.csv", "sep=;\na;b\n1;2\n1;21,5\n", "comma.csv:4: 21,5 is a number with a comma, which would be sent as text; write 21.5"},
	} {
		_, err := payload.ReadRows(file(t, tt.name, tt.text))
		if !errors.Is(err, payload.ErrRows) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %.20q: %v; want %s", tt.name, tt.text, err, tt.want)
		}
	}
	if _, err := payload.ReadRows(filepath.Join(t.TempDir(), "none.csv")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := payload.ReadRowsUpTo(file(t, "big.jsonl", strings.Repeat("\"yyyyyyyy\"\n", 11)), 100); err == nil || !strings.Contains(err.Error(), "big.jsonl:11: the rows up to here have more than 100 bytes") {
		t.Errorf("110 bytes of rows: %v", err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"{{ normal 21 3 }}", "x {{ pick \"a\" \"b\" }} y {{ seq }}", "{{ device }}{{ now }}", "{{", "}}", "{{ pick \"\\u00e9\" }}", "{{ uniform 1 2 }}{{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := payload.Compile(map[string]any{"a": s})
		if err != nil {
			return
		}
		if b := p.Append(nil, newContext(1)); !json.Valid(b) {
			t.Errorf("%q renders %q, which is no JSON", s, b)
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	p, err := payload.Compile(map[string]any{"device": "{{ device }}", "temperature": "{{ normal 21 3 }}", "at": "{{ now }}", "sequence": "{{ seq }}"})
	if err != nil {
		b.Fatal(err)
	}
	c, buf := newContext(1), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Append(buf[:0], c)
	}
}

func BenchmarkRows(b *testing.B) {
	var text strings.Builder
	text.WriteString("temperature,humidity,site\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "%d,%d,Redmond43\n", i, i)
	}
	r, err := payload.ReadRows(file(b, "rows.csv", text.String()))
	if err != nil {
		b.Fatal(err)
	}
	c, buf := newContext(1), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		c.Seq++
		buf = r.Append(buf[:0], c)
	}
}

// A text is a JSON string, whatever is in it: one that another program reads as the same text.
func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "cellular", "Wi-Fi 5", `a "b" \c`, "\x01\a\v\n", "é 日本", "\u2028<&>"} {
		b := payload.AppendString([]byte("x"), s)
		var back string
		if err := json.Unmarshal(b[1:], &back); err != nil || back != s || b[0] != 'x' {
			t.Errorf("%q became %s: %q, %v", s, b, back, err)
		}
	}
}
