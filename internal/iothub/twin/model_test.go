package twin

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

// The model is the guide's text put into the plainest code there is: maps, changed in place.
type modelSection struct {
	kind    SectionKind
	doc     map[string]any
	meta    map[string]any
	version int64
}

func newModel(kind SectionKind) *modelSection {
	return &modelSection{kind: kind, doc: map[string]any{}, version: 1, meta: map[string]any{keyLastUpdated: "0001-01-01T00:00:00Z"}}
}

func (m *modelSection) stamp(meta map[string]any, now time.Time) map[string]any {
	meta[keyLastUpdated] = now.UTC().Format("2006-01-02T15:04:05.0000000Z")
	if m.kind == Desired {
		meta[keyLastUpdatedVersion] = json.Number(IntValue(m.version).Literal())
	}
	return meta
}

func (m *modelSection) merge(doc, meta, patch map[string]any, now time.Time) {
	m.stamp(meta, now)
	for key, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(doc, key)
			delete(meta, key)
		case map[string]any:
			if _, ok := doc[key].(map[string]any); !ok {
				doc[key], meta[key] = map[string]any{}, map[string]any{}
			}
			m.merge(doc[key].(map[string]any), meta[key].(map[string]any), v, now)
		default:
			doc[key], meta[key] = v, m.stamp(map[string]any{}, now)
		}
	}
}

// clone copies deeply, through JSON.
func clone(v map[string]any) map[string]any {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // The test's own data.
	}
	return decodeAny(b).(map[string]any)
}

func decodeAny(b []byte) any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(err) // The test's own data.
	}
	return v
}

func modelSize(v any) int {
	n := 0
	switch v := v.(type) {
	case string:
		for _, r := range v {
			if !unicode.IsControl(r) {
				n++
			}
		}
	case json.Number:
		n = 8
	case bool:
		n = 4
	case []any:
		for _, e := range v {
			n += modelSize(e)
		}
	case map[string]any:
		for key, e := range v {
			n += modelSize(key) + modelSize(e)
		}
	}
	return n
}

// write does what a Merge (or a Replace) must do, or reports that a limit forbids it.
func (m *modelSection) write(patch map[string]any, replace bool, now time.Time) bool {
	next := &modelSection{kind: m.kind, doc: map[string]any{}, meta: map[string]any{}, version: m.version + 1}
	if !replace {
		next.doc, next.meta = clone(m.doc), clone(m.meta)
	}
	next.merge(next.doc, next.meta, patch, now)
	limit := map[SectionKind]int{Tags: 8192, Desired: 32768, Reported: 32768}[m.kind]
	if modelSize(next.doc) > limit {
		return false
	}
	*m = *next
	return true
}

// document is the section as the model thinks it is written.
func (m *modelSection) document() map[string]any {
	doc := maps.Clone(m.doc)
	if m.kind != Tags {
		doc[keyMetadata], doc[keyVersion] = m.meta, json.Number(IntValue(m.version).Literal())
	}
	return doc
}

// Generators. Few names, so that patches meet; now and then many, so that tables are used.
var (
	keyGen    = rapid.SampledFrom([]string{"a", "b", "c", "d", "é", "#", ""})
	scalarGen = rapid.OneOf(
		rapid.Just[any](true), rapid.Just[any](false),
		rapid.Map(rapid.SampledFrom([]string{"0", "-1.50", "1e3", "4503599627370495"}), func(s string) any { return json.Number(s) }),
		rapid.Map(rapid.SampledFrom([]string{"", "x", "wifi", "ü\u0085\n", strings.Repeat("l", 4096)}), func(s string) any { return s }),
	)
)

func valueGen(depth int, nulls bool) *rapid.Generator[any] {
	options := []*rapid.Generator[any]{scalarGen}
	if nulls {
		options = append(options, rapid.Just[any](nil))
	}
	if depth > 0 {
		options = append(options,
			rapid.Map(objectGen(depth-1, nulls), func(m map[string]any) any { return m }),
			rapid.Map(rapid.SliceOfN(valueGen(depth-1, false), 0, 3), func(s []any) any { return s }))
	}
	return rapid.OneOf(options...)
}

func objectGen(depth int, nulls bool) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		out := rapid.MapOfN(keyGen, valueGen(depth, nulls), 0, 4).Draw(t, "object")
		if rapid.IntRange(0, 19).Draw(t, "many") == 0 {
			v := valueGen(0, nulls).Draw(t, "value")
			for i := range rapid.IntRange(walkLimit, 3*walkLimit).Draw(t, "names") {
				out["n"+IntValue(int64(i)).Literal()] = v
			}
		}
		return out
	})
}

// TestSectionAgainstModel applies random patches to a section and to the model and holds
// documents, metadata, versions, sizes and deltas against each other.
func TestSectionAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom([]SectionKind{Tags, Desired, Reported}).Draw(rt, "kind")
		got, want := NewSection(kind), newModel(kind)
		now := time.Date(2026, 1, 2, 3, 4, 5, 678901200, time.UTC)
		for range rapid.IntRange(1, 12).Draw(rt, "patches") {
			now = now.Add(time.Duration(rapid.IntRange(1, 1e9).Draw(rt, "later")) * 100)
			patch := objectGen(3, true).Draw(rt, "patch")
			replace := rapid.IntRange(0, 5).Draw(rt, "replace") == 0
			text, _ := json.Marshal(patch)
			v := mustParse(t, string(text))
			before := string(got.AppendJSON(nil, true, true))

			var next *Section
			var delta Value
			var err error
			if replace {
				next, delta, err = got.Replace(v, now)
			} else {
				next, err = got.Merge(v, now)
			}
			if after := string(got.AppendJSON(nil, true, true)); after != before {
				rt.Fatalf("the section written to has changed:\n%s\n%s", before, after)
			}
			if fits := want.write(patch, replace, now); !fits {
				var limit *LimitError
				if !errors.As(err, &limit) {
					rt.Fatalf("write error = %v; want a LimitError", err)
				}
				continue
			}
			if err != nil {
				rt.Fatalf("write(%s): %v", text, err)
			}
			if replace && !Merge(got.Value(), delta).Equal(next.Value()) {
				rt.Fatalf("merging delta %s into %s does not give %s", delta, got.Value(), next.Value())
			}
			if !replace && !Merge(got.Value(), v).Equal(next.Value()) {
				rt.Fatalf("Merge and Section.Merge differ: %s, %s", Merge(got.Value(), v), next.Value())
			}
			got = next
			compareWithModel(rt, got, want)
		}
	})
}

func compareWithModel(rt *rapid.T, got *Section, want *modelSection) {
	rt.Helper()
	text := got.AppendJSON(nil, true, true)
	if doc := decodeAny(text); !reflect.DeepEqual(doc, any(want.document())) {
		wantText, _ := json.Marshal(want.document())
		rt.Fatalf("section is\n%s\nthe model\n%s", text, wantText)
	}
	if got.Size() != modelSize(want.doc) || got.Version() != want.version {
		rt.Fatalf("size %d, version %d; the model has %d, %d", got.Size(), got.Version(), modelSize(want.doc), want.version)
	}
	if kind := got.Kind(); kind != Tags {
		if meta := decodeAny(got.Metadata().AppendJSON(nil)); !reflect.DeepEqual(meta, any(want.meta)) {
			rt.Fatalf("Metadata() = %s", got.Metadata())
		}
		if view := got.field(nil); view.String() != string(text) {
			rt.Fatalf("queries see %s; documents have %s", view, text)
		}
	}
	whole := New("d")
	*slot(whole, got.Kind()) = got
	back, rest, err := DecodeBinary(whole.AppendBinary(nil), nil)
	if err != nil || len(rest) != 0 || !sameSection(*slot(back, got.Kind()), got) {
		rt.Fatalf("decoded %+v, %v", back, err)
	}
}

// slot is where a twin keeps a section of some kind.
func slot(t *Twin, kind SectionKind) **Section {
	return map[SectionKind]**Section{Tags: &t.Tags, Desired: &t.Desired, Reported: &t.Reported}[kind]
}

// sameSection compares what is stored, metadata included, whatever the kind.
func sameSection(a, b *Section) bool {
	return a.Value().String() == b.Value().String() && a.version == b.version && a.size == b.size && sameMeta(a.meta, b.meta)
}

func sameMeta(a, b meta) bool {
	return a.at == b.at && a.version == b.version && slices.EqualFunc(a.kids, b.kids, sameMeta)
}
