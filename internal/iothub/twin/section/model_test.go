package section

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

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/metadata"
)

// The model is the guide's text put into the plainest code there is: maps, changed in place.
type modelSection struct {
	kind    limits.SectionKind
	doc     map[string]any
	meta    map[string]any
	version int64
}

func newModel(kind limits.SectionKind) *modelSection {
	return &modelSection{kind: kind, doc: map[string]any{}, version: 1, meta: map[string]any{metadata.KeyLastUpdated: "0001-01-01T00:00:00Z"}}
}

func (m *modelSection) stamp(meta map[string]any, now time.Time) map[string]any {
	meta[metadata.KeyLastUpdated] = now.UTC().Format("2006-01-02T15:04:05.9999999Z")
	if m.kind == limits.Desired {
		meta[metadata.KeyLastUpdatedVersion] = json.Number(jsonvalue.IntValue(m.version).Literal())
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

// write does what a MergePatch (or a Replace) must do, or reports that a limit forbids it.
func (m *modelSection) write(patch map[string]any, replace bool, now time.Time) bool {
	next := &modelSection{kind: m.kind, doc: map[string]any{}, meta: map[string]any{}, version: m.version + 1}
	if !replace {
		next.doc, next.meta = clone(m.doc), clone(m.meta)
	}
	next.merge(next.doc, next.meta, patch, now)
	limit := map[limits.SectionKind]int{limits.Tags: 8192, limits.Desired: 32768, limits.Reported: 32768}[m.kind]
	if modelSize(next.doc) > limit {
		return false
	}
	*m = *next
	return true
}

// document is the section as the model thinks it is written.
func (m *modelSection) document() map[string]any {
	doc := maps.Clone(m.doc)
	if m.kind != limits.Tags {
		doc[metadata.KeyMetadata], doc[metadata.KeyVersion] = m.meta, json.Number(jsonvalue.IntValue(m.version).Literal())
	}
	return doc
}

// Generators. Few names, so that patches meet; now and then many, so that tables are used.
var (
	keyGen    = rapid.SampledFrom([]string{"a", "b", "c", "d", "é", "-"})
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
			for i := range rapid.IntRange(20, 50).Draw(t, "names") {
				out["n"+jsonvalue.IntValue(int64(i)).Literal()] = v
			}
		}
		return out
	})
}

// TestSectionAgainstModel applies random patches to a section and to the model and holds
// documents, metadata, versions, sizes and deltas against each other.
func TestSectionAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom([]limits.SectionKind{limits.Tags, limits.Desired, limits.Reported}).Draw(rt, "kind")
		got, want := New(kind), newModel(kind)
		now := time.Date(2026, 1, 2, 3, 4, 5, 678901200, time.UTC)
		for range rapid.IntRange(1, 12).Draw(rt, "patches") {
			now = now.Add(time.Duration(rapid.IntRange(1, 1e9).Draw(rt, "later")) * 100)
			patch := objectGen(3, true).Draw(rt, "patch")
			replace := rapid.IntRange(0, 5).Draw(rt, "replace") == 0
			text, _ := json.Marshal(patch)
			v := mustParse(t, string(text))
			before := string(got.AppendJSON(nil, true, true))

			var next *Section
			var delta jsonvalue.Value
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
				var limit *limits.Error
				if !errors.As(err, &limit) {
					rt.Fatalf("write error = %v; want a LimitError", err)
				}
				continue
			}
			if err != nil {
				rt.Fatalf("write(%s): %v", text, err)
			}
			if replace && !MergePatch(got.Value(), delta).Equal(next.Value()) {
				rt.Fatalf("merging delta %s into %s does not give %s", delta, got.Value(), next.Value())
			}
			if !replace && !MergePatch(got.Value(), v).Equal(next.Value()) {
				rt.Fatalf("Merge and Section.Merge differ: %s, %s", MergePatch(got.Value(), v), next.Value())
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
	if kind := got.Kind(); kind != limits.Tags {
		if meta := decodeAny(got.Metadata().AppendJSON(nil)); !reflect.DeepEqual(meta, any(want.meta)) {
			rt.Fatalf("Metadata() = %s", got.Metadata())
		}
		if view := got.Field(nil); view.String() != string(text) {
			rt.Fatalf("queries see %s; documents have %s", view, text)
		}
	}
	r := codec.Reader{Rest: got.AppendBinary(nil)}
	if back := Decode(&r, got.Kind(), nil); r.Err != nil || len(r.Rest) != 0 || !sameSection(back, got) {
		rt.Fatalf("decoded %+v, %v", back, r.Err)
	}
}

// sameSection compares what is stored, metadata included, whatever the kind.
func sameSection(a, b *Section) bool {
	return a.Value().String() == b.Value().String() && a.version == b.version && a.size == b.size && sameMeta(a.meta, b.meta)
}

func sameMeta(a, b metadata.Node) bool {
	return a.At == b.At && a.Version == b.Version && slices.EqualFunc(a.Kids, b.Kids, sameMeta)
}

// FuzzMerge merges any patch into any section, as a device's report, a service's patch
// and a service's replacement, and holds the outcome against the model.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":1,"o":{"x":1}}`), []byte(`{"a":null,"o":{"y":[1]}}`), false)
	f.Add([]byte(`{"o":{"x":{"y":1}}}`), []byte(`{"o":{"x":2}}`), true)
	f.Add([]byte(`{}`), []byte(`{"a":{"b":{"c":null}}}`), false)
	f.Add([]byte(`{"a":[1]}`), []byte(`{"a":[null]}`), false)
	f.Fuzz(func(t *testing.T, base, patch []byte, replace bool) {
		b, err := jsonparse.Parse(base)
		p, patchErr := jsonparse.Parse(patch)
		if err != nil || patchErr != nil {
			return
		}
		old, err := New(limits.Desired).Merge(b, at(1))
		if err != nil {
			return
		}
		model := newModel(limits.Desired)
		model.write(decodeAny(base).(map[string]any), false, at(1))
		next, delta, err := mergeOrReplace(old, p, replace)
		if err != nil {
			if next != nil || err.Error() == "" {
				t.Fatalf("a refused write: %v, %q", next, err)
			}
			return
		}
		if !model.write(decodeAny(patch).(map[string]any), replace, at(2)) {
			t.Fatalf("%s into %s: beyond the size limit, and accepted", patch, base)
		}
		if got := next.AppendJSON(nil, true, true); !reflect.DeepEqual(decodeAny(got), any(model.document())) {
			t.Fatalf("%s into %s gives\n%s", patch, base, got)
		}
		if next.Size() != modelSize(model.doc) {
			t.Fatalf("%s into %s has size %d; the model %d", patch, base, next.Size(), modelSize(model.doc))
		}
		if !MergePatch(old.Value(), delta).Equal(next.Value()) {
			t.Fatalf("a device that merges %s into %s does not arrive at %s", delta, old.Value(), next.Value())
		}
	})
}

// mergeOrReplace writes a patch either way and returns what a device is told.
func mergeOrReplace(s *Section, patch jsonvalue.Value, replace bool) (*Section, jsonvalue.Value, error) {
	if replace {
		return s.Replace(patch, at(2))
	}
	next, err := s.Merge(patch, at(2))
	return next, patch, err
}
