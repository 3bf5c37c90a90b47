package payload_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

func newContext(seed uint64) *payload.Context {
	return &payload.Context{
		Device: "robots-000007", Group: "robots", Index: 17, Number: 7, Seq: 3, Chance: seed, Now: time.Date(2026, 11, 25, 13, 0, 1, 23e6, time.FixedZone("", 3600)),
		Rand: rand.New(rand.NewPCG(seed, 1)),
	}
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
		{"{{ normal 1 }}", "write normal MEAN DEVIATION, with a deviation from 0, or normal alone"},
		{"{{ normal 1 x }}", "write normal MEAN DEVIATION"},
		{"{{ normal 1 -2 }}", "write normal MEAN DEVIATION"},
		{"{{ uniform 1 Inf }}", "write uniform LOW HIGH"},
		{"{{ uniform 3 2 }}", "write uniform LOW HIGH, with the lower first"},
		{"{{ seq 1 }}", "write seq, without arguments"},
		{"{{ pick }}", `write pick "A" "B", with one text at least`},
		{"{{ int 1.5 2 }}", "write int LOW HIGH, which are whole numbers"},
		{"{{ int 2 1 }}", "write int LOW HIGH"},
		{"{{ int 1 }}", "write int LOW HIGH"},
		{"{{ int 1 9223372036854775808 }}", "write int LOW HIGH"},
		{"{{ walk }}", "write walk START STEP LOW HIGH, with a step from 0"},
		{"{{ walk 1 2 3 }}", "write walk START STEP"},
		{"{{ walk 1 -1 }}", "write walk START STEP"},
		{"{{ walk 5 1 6 7 }}", "write walk START STEP"},
		{"{{ walk 5 1 7 3 }}", "write walk START STEP"},
		{"{{ epoch h }}", "write epoch UNIT, which is s, ms, us or ns"},
		{"{{ uuid 4 }}", "write uuid, without arguments"},
		{"{{ bool 50% }}", "write bool, without arguments"},
		{"{{ hex }}", "write hex DIGITS, which are 1 to 4096"},
		{"{{ hex 0 }}", "write hex DIGITS"},
		{"{{ hex 4097 }}", "write hex DIGITS"},
		{"{{ group a }}", "write group, without arguments"},
		{"{{ device a }}", "write device, without arguments"},
		{"{{ now a }}", "write now, without arguments"},
		{"{{ data }}", `write data "COLUMN", which is one name`},
		{"{{ data site }}", `there is no file that {{ data "site" }} could take from; the key data beside a payload names one, for that payload`},
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

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"{{ normal 21 3 }}", "x {{ pick \"a\" \"b\" }} y {{ seq }}", "{{ device }}{{ now }}", "{{", "}}", "{{ pick \"\\u00e9\" }}",
		"{{ uniform 1 2 }}{{",
	} {
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
