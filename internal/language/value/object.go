package value

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Object is an object whose keys go into variables; its defaults act also when it is left out.
func Object(keys []language.Key) language.Value {
	return language.Value{Form: form.Object, Keys: keys, Always: true, Read: func(r *language.Reader, path string, n *yaml.Node) {
		r.Object(path, n, keys)
	}}
}

// Present is Object for a part of which it matters whether it is there at all.
func Present(is *bool, keys []language.Key) language.Value {
	return language.Value{Form: form.Object, Keys: keys, Read: func(r *language.Reader, path string, n *yaml.Node) {
		*is = true
		r.Object(path, n, keys)
	}}
}

// Optional is Object for a part that is nil when it is left out; fresh makes one before its defaults.
func Optional[T any](into **T, fresh func() T, keys func(*T) []language.Key) language.Value {
	return language.Value{Form: form.Object, Keys: keys(new(T)), Read: func(r *language.Reader, path string, n *yaml.Node) {
		t := fresh()
		r.Object(path, n, keys(&t))
		*into = &t
	}}
}

// Empty is a part before its defaults that begins as its zero value.
func Empty[T any]() (x T) { return x }

// List is a list of objects; at, which may be nil, is told where each stands.
func List[T any](into *[]T, fresh func() T, keys func(*T) []language.Key, at func(*T, problem.Place)) language.Value {
	return language.Value{Form: form.List, Keys: keys(new(T)), Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			r.Fail(path, n, "expected a list, found %s", language.KindName(n))
			return
		}
		*into = slices.Grow(*into, len(n.Content)) // the items stay where they are
		for i, item := range n.Content {
			*into = append(*into, fresh())
			t := &(*into)[len(*into)-1]
			if at != nil {
				at(t, language.PlaceOf(item))
			}
			r.Object(fmt.Sprintf("%s[%d]", path, i), item, keys(t))
		}
	}}
}

// Texts is a list of texts.
func Texts(into *[]string) language.Value {
	return language.Value{Form: form.Texts, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			r.Fail(path, n, "expected a list, found %s", language.KindName(n))
			return
		}
		for i, item := range n.Content {
			var s string
			at := fmt.Sprintf("%s[%d]", path, i)
			r.Note(at, item)
			Text(&s).Read(r, at, item)
			*into = append(*into, s)
		}
	}}
}

// TextsByName is texts with names, {Name: value}; each is given to add, in the order of the file.
func TextsByName(add func(name, text string)) language.Value {
	return language.Value{Form: form.TextsByName, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.Fail(path, n, "expected names with texts such as {Name: value}, found %s", language.KindName(n))
			return
		}
		r.Pairs(path, n, func(key string, _, v *yaml.Node) {
			var s string
			at := language.Join(path, key)
			r.Note(at, v)
			Text(&s).Read(r, at, v)
			add(key, s)
		})
	}}
}

// Percents is a list of shares in whole percent, such as [50%, 100%], each from 1% to 100%.
func Percents(into *[]int) language.Value {
	return language.Value{Form: form.Texts, Read: func(r *language.Reader, path string, n *yaml.Node) {
		var texts []string
		Texts(&texts).Read(r, path, n)
		*into = nil
		for i, text := range texts {
			share, ok := form.ParseShare(text)
			percent := math.Round(share * 100)
			if !ok || percent < 1 || math.Abs(percent-share*100) > 1e-9 {
				r.Fail(fmt.Sprintf("%s[%d]", path, i), n.Content[i], "%q is not a share; write 1%% to 100%%, in whole percent", text)
				continue
			}
			*into = append(*into, int(percent))
		}
	}}
}

// Weights is names with weights, {cellular: 60, wifi: 40}, or one name that always holds. They are given to set in the order
// of the file; one at least is above 0.
func Weights(set func(names []string, weights []float64)) language.Value {
	return language.Value{Form: form.Weights, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && n.Value != "" {
			set([]string{n.Value}, []float64{1})
			return
		}
		if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
			r.Fail(path, n, "expected names with weights such as {cellular: 60, wifi: 40}, found %s", language.KindName(n))
			return
		}
		var sum float64
		var names []string
		var all []float64
		r.Pairs(path, n, func(key string, _, v *yaml.Node) {
			w, err := strconv.ParseFloat(v.Value, 64)
			if v.Kind != yaml.ScalarNode || err != nil || !(w >= 0 && w < 1e12) {
				r.Fail(language.Join(path, key), v, "%q is not a weight; use a number from 0", v.Value)
				return
			}
			sum += w
			names, all = append(names, key), append(all, w)
		})
		if sum <= 0 {
			r.Fail(path, n, "all weights are 0; one must be above")
			return
		}
		set(names, all)
	}}
}
