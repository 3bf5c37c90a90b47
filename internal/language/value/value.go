// Package value is what keys of a language take: each function gives the value that is read into a variable.
package value

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Text is any text; a number is one, too.
func Text(into *string) language.Value {
	return language.Value{Form: form.Text, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if s, ok := r.Scalar(path, n, "text", "!!str", "!!int", "!!float"); ok {
			*into = s
		}
	}}
}

// OneOf is one of some words; those that are numbers need no quotes.
func OneOf(into *string, choices ...string) language.Value {
	tags := []string{"!!str"}
	if slices.ContainsFunc(choices, language.IsNumber) {
		tags = append(tags, "!!int", "!!float")
	}
	return language.Value{Form: form.Text, Choices: choices, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, strings.Join(choices, " or "), tags...)
		if ok && !slices.Contains(choices, s) {
			r.Fail(path, n, "unknown value %q; %s", s, problem.DidYouMean(s, choices))
			return
		}
		*into = s
	}}
}

// Name is a text that can be a metric label and part of a device id.
func Name(into *string) language.Value {
	return language.Value{Form: form.Name, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a name", "!!str", "!!int")
		if ok && !form.IsName(s) {
			r.Fail(path, n, "%q is no name; use small letters, digits and hyphens, 60 at most", s)
		}
		*into = s
	}}
}

// Bool is true or false.
func Bool(into *bool) language.Value {
	return language.Value{Form: form.Switch, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if s, ok := r.Scalar(path, n, "true or false", "!!bool"); ok {
			*into = strings.EqualFold(s, "true")
		}
	}}
}

// Not is true or false, of which the opposite is kept.
func Not(into *bool) language.Value {
	v := Bool(into)
	read := v.Read
	v.Read = func(r *language.Reader, path string, n *yaml.Node) {
		before, was := r.Problems(), *into
		if read(r, path, n); r.Problems() > before {
			*into = was
			return
		}
		*into = !*into
	}
	return v
}

// Count is a whole number within bounds; it may have underscores between its digits.
func Count(into *int, low, high int) language.Value {
	return language.Value{Form: form.Count, Low: strconv.Itoa(low), High: strconv.Itoa(high), Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a whole number", "!!int", "!!str")
		if !ok {
			return
		}
		v, err := strconv.Atoi(strings.ReplaceAll(s, "_", ""))
		switch {
		case err != nil:
			r.Fail(path, n, "%q is not a whole number", s)
		case v < low || v > high:
			r.Fail(path, n, "%d is out of range; use %d to %d", v, low, high)
		default:
			*into = v
		}
	}}
}

// CountOr is a Count, or a word that stands for another number.
func CountOr(into *int, low, high int, word string, means int) language.Value {
	number := Count(into, low, high)
	v := number.As(form.CountOr)
	v.Choices = []string{word}
	v.Read = func(r *language.Reader, path string, n *yaml.Node) {
		switch {
		case n.Kind == yaml.ScalarNode && n.Value == word:
			*into = means
		case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && !strings.ContainsAny(n.Value, "0123456789"):
			r.Fail(path, n, "%q is neither a whole number nor %s", n.Value, word)
		default:
			number.Read(r, path, n)
		}
	}
	return v
}

// Seed is a whole number of 64 bits.
func Seed(into *uint64) language.Value {
	return language.Value{Form: form.Count, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if s, ok := r.Scalar(path, n, "a whole number", "!!int", "!!str"); ok {
			v, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				r.Fail(path, n, "%q is not a whole number from 0 to %d", s, uint64(math.MaxUint64))
				return
			}
			*into = v
		}
	}}
}

// Share is a share such as 80%, as a number from 0 to 1.
func Share(into *float64) language.Value {
	return language.Value{Form: form.Share, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a share such as 80%", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		v, ok := form.ParseShare(s)
		if !ok {
			r.Fail(path, n, "%q is not a share; write 0%% to 100%%", s)
			return
		}
		*into = v
	}}
}

// Rate is a rate per second that may change from one to another, neither above the fastest; it is given to set.
func Rate(set func(from, to float64), fastest float64) language.Value {
	return language.Value{Form: form.Rate, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a rate such as 100/s", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		from, to, ok := form.ParseRate(s)
		switch {
		case !ok:
			r.Fail(path, n, "%q is not a rate; write 100/s, 600/m, or 0/s..100/s for a ramp over the stage", s)
		case max(from, to) > fastest:
			r.Fail(path, n, "%s is more than one process can start; use at most %.0f/s", s, fastest)
		default:
			set(from, to)
		}
	}}
}

// Bandwidth is bytes a second.
func Bandwidth(into *float64) language.Value {
	return language.Value{Form: form.Bytes, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a bandwidth such as 64KB/s", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		v, ok := form.ParseBandwidth(s)
		if !ok {
			r.Fail(path, n, "%q is no bandwidth; write 64KB/s, 1.5MB/s, 32KiB/s or 250kbit/s", s)
			return
		}
		*into = v
	}}
}

// Size is a number of bytes within bounds.
func Size(into *int, low, high int) language.Value {
	least, most := form.FormatSize(low), form.FormatSize(high)
	return language.Value{Form: form.Size, Low: least, High: most, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a size such as 1KiB", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		v, ok := form.ParseSize(s)
		switch {
		case !ok:
			r.Fail(path, n, "%q is no size; write 512B, 64KB or 1KiB", s)
		case v < low || v > high:
			r.Fail(path, n, "%s is out of range; use %s to %s", s, least, most)
		default:
			*into = v
		}
	}}
}
