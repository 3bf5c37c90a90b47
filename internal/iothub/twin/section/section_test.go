package section

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
)

// mustParse parses a document the test wrote itself.
func mustParse(t testing.TB, text string) jsonvalue.Value {
	t.Helper()
	v, err := jsonparse.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return v
}

// at returns the time of the nth write of a test.
func at(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, n, 123456789, time.UTC) }

// merged writes patches one after the other, the nth at time at(n).
func merged(t testing.TB, kind limits.SectionKind, patches ...string) *Section {
	t.Helper()
	s := New(kind)
	for i, patch := range patches {
		var err error
		if s, err = s.Merge(mustParse(t, patch), at(i+1)); err != nil {
			t.Fatalf("Merge(%s): %v", patch, err)
		}
	}
	return s
}

func TestMergeStamps(t *testing.T) {
	tests := []struct {
		name    string
		kind    limits.SectionKind
		patches []string
		want    string
	}{
		{
			"a leaf stamps itself and what is above, siblings keep theirs", limits.Desired,
			[]string{`{"o":{"x":{"s":2,"b":13}},"p":1}`, `{"o":{"x":{"s":3}}}`},
			`{"o":{"x":{"s":3,"b":13}},"p":1,` +
				`"$metadata":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z","$lastUpdatedVersion":3,` +
				`"o":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z","$lastUpdatedVersion":3,` +
				`"x":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z","$lastUpdatedVersion":3,` +
				`"s":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z","$lastUpdatedVersion":3},` +
				`"b":{"$lastUpdated":"2026-01-01T00:00:01.1234567Z","$lastUpdatedVersion":2}}},` +
				`"p":{"$lastUpdated":"2026-01-01T00:00:01.1234567Z","$lastUpdatedVersion":2}},"$version":3}`,
		},
		{
			"a deletion stamps what is above and leaves an empty object", limits.Reported,
			[]string{`{"o":{"x":1},"p":1}`, `{"o":{"x":null,"never":null}}`},
			`{"o":{},"p":1,"$metadata":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z",` +
				`"o":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z"},"p":{"$lastUpdated":"2026-01-01T00:00:01.1234567Z"}},"$version":3}`,
		},
		{
			"an array is a leaf and is replaced", limits.Reported,
			[]string{`{"a":[1,{"x":2}]}`, `{"a":[3]}`},
			`{"a":[3],"$metadata":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z","a":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z"}},"$version":3}`,
		},
		{
			"an object takes the place of a scalar, without its nulls", limits.Reported,
			[]string{`{"a":1}`, `{"a":{"b":null,"c":true}}`},
			`{"a":{"c":true},"$metadata":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z",` +
				`"a":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z","c":{"$lastUpdated":"2026-01-01T00:00:02.1234567Z"}}},"$version":3}`,
		},
		{
			"an empty report moves the version all the same", limits.Reported,
			[]string{`{}`},
			`{"$metadata":{"$lastUpdated":"2026-01-01T00:00:01.1234567Z"},"$version":2}`,
		},
		{
			"tags have no metadata", limits.Tags,
			[]string{`{"location":{"region":"US","plant":"Redmond43"}}`, `{"location":{"plant":null},"x":null}`},
			`{"location":{"region":"US"}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(merged(t, tt.kind, tt.patches...).AppendJSON(nil, true, true)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestReplaceDelta(t *testing.T) {
	tests := []struct{ old, doc, value, delta string }{
		{`{"a":1,"b":2}`, `{"a":1,"c":100}`, `{"a":1,"c":100}`, `{"a":1,"b":null,"c":100}`},
		{`{"o":{"x":1,"y":{"z":2}},"p":1}`, `{"o":{"y":{}}}`, `{"o":{"y":{}}}`, `{"o":{"x":null,"y":{"z":null}},"p":null}`},
		{`{"o":{"x":1}}`, `{"o":5}`, `{"o":5}`, `{"o":5}`},
		{`{"o":5}`, `{"o":{"x":1,"n":null}}`, `{"o":{"x":1}}`, `{"o":{"x":1}}`},
		{`{"a":1}`, `{}`, `{}`, `{"a":null}`},
		{`{}`, `{}`, `{}`, `{}`},
	}
	for _, tt := range tests {
		next, delta, err := merged(t, limits.Desired, tt.old).Replace(mustParse(t, tt.doc), at(9))
		if err != nil {
			t.Errorf("Replace(%s, %s): %v", tt.old, tt.doc, err)
			continue
		}
		if next.Value().String() != tt.value || delta.String() != tt.delta || next.Version() != 3 {
			t.Errorf("Replace(%s, %s) = %s, delta %s, version %d; want %s, %s, 3",
				tt.old, tt.doc, next.Value(), delta, next.Version(), tt.value, tt.delta)
		}
	}
}

// nested returns an object that holds so many objects, one in the other, and then a leaf.
func nested(levels int) string {
	return strings.Repeat(`{"o":`, levels+1) + `1` + strings.Repeat(`}`, levels+1)
}

func TestLimits(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name    string
		kind    limits.SectionKind
		patch   string
		message string // "" where the patch is allowed.
	}{
		{"ten levels", limits.Tags, nested(10), ""},
		{"eleven levels", limits.Tags, nested(11), "The nesting depth of tags exceeds the maximum of 10."},
		{"a name of 1 KB", limits.Reported, `{"` + text(1024) + `":1}`, ""},
		{"a longer name", limits.Reported, `{"` + text(1025) + `":1}`, "The name of Property or Tag " + text(64) + "... has 1025 bytes; at most 1024 are allowed."},
		{"a dot in a name", limits.Desired, `{"a":{"b.c":1}}`, "The name of Property or Tag b.c is not valid: it must not contain control characters, " +
			"'.', '$', '#' or a space."},
		{"a space in a name", limits.Desired, `{"b c":1}`, "The name of Property or Tag b c is not valid: it must not contain control characters, '.', " +
			"'$', '#' or a space."},
		{"a dollar sign", limits.Reported, `{"$version":1}`, "The name of Property or Tag $version is not valid: it must not contain control " +
			"characters, '.', '$', '#' or a space."},
		{"a C0 control", limits.Reported, `{"a\u0007":1}`, "The name of Property or Tag a\ufffd is not valid: it must not contain control characters, " +
			"'.', '$', '#' or a space."},
		{"a C1 control", limits.Reported, `{"a\u0085":1}`, "The name of Property or Tag a\ufffd is not valid: it must not contain control characters, " +
			"'.', '$', '#' or a space."},
		{"no control", limits.Reported, `{"\u00a0é-":1}`, ""},
		{"a number sign", limits.Reported, `{"a#b":1}`, "The name of Property or Tag a#b is not valid: it must not contain control characters, '.', '$', '#' or a space."},
		{"no name", limits.Tags, `{"a":{"":1}}`, "The name of a Property or Tag is empty."},
		{
			"a bad name deep in an array", limits.Reported, `{"a":[[{"b.":1}]]}`,
			"The name of Property or Tag b. is not valid: it must not contain control characters, '.', '$', '#' or a space.",
		},
		{"a string of 4 KB", limits.Reported, `{"a":"` + text(4096) + `"}`, ""},
		{"a longer string", limits.Reported, `{"a":"` + text(4097) + `"}`, "The value of Property or Tag a has 4097 bytes; at most 4096 are allowed."},
		{"the largest integer", limits.Reported, `{"a":4503599627370495,"b":-4503599627370496}`, ""},
		{"beyond it", limits.Reported, `{"a":4503599627370496}`, "The value of Property or Tag a is not valid: an integer must lie between " +
			"-4503599627370496 and 4503599627370495."},
		{
			"below it", limits.Reported, `{"a":[-4503599627370497]}`,
			"The value of Property or Tag a is not valid: an integer must lie between -4503599627370496 and 4503599627370495.",
		},
		{
			"far beyond it", limits.Reported, `{"a":99999999999999999999999}`,
			"The value of Property or Tag a is not valid: an integer must lie between -4503599627370496 and 4503599627370495.",
		},
		{"a large number with fraction", limits.Reported, `{"a":4503599627370496.5,"b":1e300}`, ""},
		{"a number out of range", limits.Reported, `{"a":1e999}`, "The value of Property or Tag a is beyond the range of numbers."},
		{"null in an array", limits.Reported, `{"a":[1,null]}`, "Value of Property or Tag cannot be null. Error inProperty/Tag a"},
		{"null in an object in an array", limits.Reported, `{"a":[{"b":null}]}`, "Value of Property or Tag cannot be null. Error inProperty/Tag b"},
		{"a scalar for a section", limits.Tags, `5`, "Provided json is not a valid 'tags' or 'properties' object: tags must be an object, not number."},
		{"an array for a section", limits.Reported, `[]`, "Provided json is not a valid 'tags' or 'properties' object: reported must be an object, not array."},
		{"tags of 8 KB", limits.Tags, `{"a":"` + text(4095) + `","b":"` + text(4095) + `"}`, ""},
		{"larger tags", limits.Tags, `{"a":"` + text(4095) + `","b":"` + text(4096) + `"}`, "The size of tags is 8193 bytes, which exceeds the maximum of 8192."},
		{
			"large desired", limits.Desired, `{"a":[` + strings.Repeat(`1.5,`, 4096) + `true]}`,
			"The size of desired is 32773 bytes, which exceeds the maximum of 32768.",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(tt.kind)
			next, err := s.Merge(mustParse(t, tt.patch), at(1))
			_, _, replaceErr := s.Replace(mustParse(t, tt.patch), at(1))
			if tt.message == "" {
				if err != nil || replaceErr != nil {
					t.Errorf("errors %v, %v; want none", err, replaceErr)
				}
				return
			}
			for _, err := range []error{err, replaceErr} {
				var limit *limits.Error
				if !errors.As(err, &limit) || limit.Message != tt.message || limit.Section != tt.kind {
					t.Errorf("error = %v; want %s", err, tt.message)
				}
			}
			if next != nil {
				t.Error("a refused write has a result")
			}
		})
	}
}

func TestSizeFollowsDeletions(t *testing.T) {
	s := merged(t, limits.Reported,
		`{"conn":{"type":"wifi","rssi":-70},"up":true,"list":["ab",{"k":1}],"text":"é\u0085x"}`,
		`{"conn":{"rssi":null},"text":"","up":{"x":1}}`)
	// conn 4, type 4 + wifi 4, list 4 + ab 2 + k 1 + 8, text 4, up 2 + x 1 + 8.
	if want := 4 + 8 + 4 + 2 + 1 + 8 + 4 + 2 + 1 + 8; s.Size() != want {
		t.Errorf("Size() = %d; want %d (%s)", s.Size(), want, s.Value())
	}
}

func TestMergeSharesWhatItDoesNotTouch(t *testing.T) {
	old := merged(t, limits.Reported, `{"a":{"x":{"deep":1}},"b":{"y":1}}`)
	next, err := old.Merge(mustParse(t, `{"b":{"y":2}}`), at(2))
	if err != nil {
		t.Fatal(err)
	}
	if &old.Value().Get("a").Map().Members()[0] != &next.Value().Get("a").Map().Members()[0] {
		t.Error("an object that the patch does not name was copied")
	}
	if old.Value().Path("b", "y").Num() != 1 {
		t.Error("the old section has changed")
	}
}

func TestPlainMerge(t *testing.T) {
	// The examples of RFC 7386, appendix A.
	tests := []struct{ base, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	}
	for _, tt := range tests {
		if got := MergePatch(mustParse(t, tt.base), mustParse(t, tt.patch)).String(); got != tt.want {
			t.Errorf("Merge(%s, %s) = %s; want %s", tt.base, tt.patch, got, tt.want)
		}
	}
	base := mustParse(t, `{"a":1}`)
	if got := MergePatch(base, jsonvalue.Value{}); !got.Equal(base) {
		t.Errorf("Merge with undefined = %s", got)
	}
}

// BenchmarkMerge is one report into a twin that has ten properties.
func BenchmarkMerge(b *testing.B) {
	s := merged(b, limits.Reported, `{"connectivity":{"type":"wifi","rssi":-70},"battery":55,"firmware":"1.2.3","a":1,"b":2,"c":{"d":true,"e":false}}`)
	patch := mustParse(b, `{"connectivity":{"type":"cellular"}}`)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Merge(patch, now); err != nil {
			b.Fatal(err)
		}
	}
}
