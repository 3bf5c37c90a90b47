// Package querylag is how long changes of twins stay hidden from queries.
package querylag

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// ErrMalformed is returned for text that is no time and no range of times.
var ErrMalformed = errors.New("not a time")

// Parse reads a fixed lag, "2s", or an evenly random one, "500ms..3s", that follows from the
// seed. Empty text is no lag: nil.
func Parse(text string, seed uint64) (func() time.Duration, error) {
	if text == "" {
		return nil, nil
	}
	first, second, random := strings.Cut(text, "..")
	if !random {
		second = first
	}
	low, err1 := time.ParseDuration(first)
	high, err2 := time.ParseDuration(second)
	if err1 != nil || err2 != nil || low < 0 || high < low {
		return nil, fmt.Errorf("%w: %q; write a time, 2s, or two, 500ms..3s", ErrMalformed, text)
	}
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0))
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return low + time.Duration(r.Float64()*float64(high-low))
	}, nil
}
