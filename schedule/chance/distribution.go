package chance

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Distribution is a random length of time. The zero value is always 0.
type Distribution struct {
	kind distributionKind
	a, b time.Duration
}

type distributionKind uint8

const (
	fixed distributionKind = iota
	uniform
	exponential
	normal
)

// ErrDistribution is the class of errors of ParseDistribution.
var ErrDistribution = errors.New("not a length of time")

// Fixed is always d.
func Fixed(d time.Duration) Distribution { return Distribution{fixed, d, 0} }

// Uniform is evenly random between two times.
func Uniform(low, high time.Duration) Distribution { return Distribution{uniform, low, high} }

// Exponential is random without memory, with a mean, cut at ten times that.
func Exponential(mean time.Duration) Distribution { return Distribution{exponential, mean, 0} }

// ParseDistribution reads one of
//
//	250ms               always the same
//	1s..3s              evenly random between the two
//	exp(2s), ~2s        exponential with that mean, cut at ten times the mean
//	normal(2s, 500ms)   normal with mean and standard deviation, cut at 0
func ParseDistribution(s string) (Distribution, error) {
	s = strings.TrimSpace(s)
	inner, ok := call(s, "exp")
	if !ok {
		inner, ok = strings.CutPrefix(s, "~")
	}
	if ok {
		mean, err := positive(inner)
		return Distribution{exponential, mean, 0}, err
	}
	if inner, ok := call(s, "normal"); ok {
		first, second, found := strings.Cut(inner, ",")
		if !found {
			return Distribution{}, fmt.Errorf("%w: normal needs a mean and a standard deviation, as in normal(2s, 500ms)", ErrDistribution)
		}
		mean, err := positive(first)
		if err != nil {
			return Distribution{}, err
		}
		deviation, err := positive(second)
		return Distribution{normal, mean, deviation}, err
	}
	if first, second, found := strings.Cut(s, ".."); found {
		low, err := positive(first)
		if err != nil {
			return Distribution{}, err
		}
		high, err := positive(second)
		if err == nil && high < low {
			err = fmt.Errorf("%w: in %q the first time is above the second", ErrDistribution, s)
		}
		return Distribution{uniform, low, high}, err
	}
	d, err := positive(s)
	return Fixed(d), err
}

func call(s, name string) (string, bool) {
	inner, ok := strings.CutPrefix(s, name+"(")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(inner, ")")
}

func positive(s string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%w: %q; write 250ms, 1s..3s, ~2s, exp(2s) or normal(2s, 500ms)", ErrDistribution, strings.TrimSpace(s))
	}
	return d, nil
}

// source of draws, as math/rand/v2 has it.
type source interface {
	Float64() float64
	ExpFloat64() float64
	NormFloat64() float64
}

// Draw takes one value from r, such as a *rand.Rand of math/rand/v2.
func (d Distribution) Draw(r source) time.Duration {
	switch d.kind {
	case uniform:
		return d.a + time.Duration(r.Float64()*float64(d.b-d.a))
	case exponential:
		return time.Duration(math.Min(r.ExpFloat64(), 10) * float64(d.a))
	case normal:
		return max(0, d.a+time.Duration(r.NormFloat64()*float64(d.b)))
	default:
		return d.a
	}
}

// At is the value of which a share u, from 0 up to 1, of all are less; but of a normal distribution its mean for every u.
func (d Distribution) At(u float64) time.Duration {
	switch d.kind {
	case uniform:
		return d.a + time.Duration(u*float64(d.b-d.a))
	case exponential:
		return time.Duration(math.Min(-math.Log1p(-u), 10) * float64(d.a))
	default:
		return d.a
	}
}

// Times is a length that is so many times as long.
func (d Distribution) Times(factor float64) Distribution {
	of := func(x time.Duration) time.Duration { return time.Duration(factor * float64(x)) }
	return Distribution{d.kind, of(d.a), of(d.b)}
}

// Memoryless reports whether what is left of a length, once some of it is over, is distributed as the whole: an exponential one.
func (d Distribution) Memoryless() bool { return d.kind == exponential }

// Mean is the expected value, disregarding the cuts.
func (d Distribution) Mean() time.Duration {
	if d.kind == uniform {
		return (d.a + d.b) / 2
	}
	return d.a
}

// IsZero reports whether the distribution is always 0.
func (d Distribution) IsZero() bool { return d == Distribution{} }

// String writes the distribution as ParseDistribution reads it.
func (d Distribution) String() string {
	switch d.kind {
	case uniform:
		return d.a.String() + ".." + d.b.String()
	case exponential:
		return "exp(" + d.a.String() + ")"
	case normal:
		return "normal(" + d.a.String() + ", " + d.b.String() + ")"
	default:
		return d.a.String()
	}
}
