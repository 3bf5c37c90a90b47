package scenario

import (
	"math"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

const (
	most     = math.MaxInt32
	anything = -1  // of an expected number: none is expected
	maxRate  = 1e6 // per second: more than one process starts of anything
)

// key is a row of the table.
func key(name string, v language.Value, d language.Default, doc string) language.Key {
	return language.Key{Name: name, Value: v, Default: d, Doc: doc}
}

// is is a default that is a value, as one would write it, and means one in words.
func is(value string) language.Default { return language.Is(value) }

func means(words string) language.Default { return language.Means(words) }

const none = language.None

// rate reads a rate.
func rate(into **Range) language.Value {
	return value.Rate(func(from, to float64) { *into = &Range{From: from, To: to} }, maxRate)
}

// weights reads weights.
func weights(into *[]Weight) language.Value {
	return value.Weights(func(names []string, weights []float64) {
		all := make([]Weight, len(names))
		for i := range all {
			all[i] = Weight{names[i], weights[i]}
		}
		*into = all
	})
}

// Weight is one choice by weight.
type Weight struct {
	Name   string  // what is chosen
	Weight float64 // in proportion to the others; 0 is never chosen
}

// Range is a rate per second that may change over a stage: linearly, or as its shape says.
type Range struct {
	From, To float64 // at the start of the stage, and at its end; alike for a rate that stays
	Shape    *Shape  // how it goes from one to the other; nil for a straight line
}
