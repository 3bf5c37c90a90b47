package schedule

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"time"
)

// Every is a periodic schedule: due at Phase, Phase+Period, Phase+2·Period, and so on.
type Every struct {
	Period time.Duration // above 0
	Phase  time.Duration // of the first time; 0 is due at the start
}

// Nth is the n-th due time, counted from 0.
func (e Every) Nth(n int64) time.Duration { return e.Phase + time.Duration(n)*e.Period }

// After is the first due time later than t, and its number.
func (e Every) After(t time.Duration) (time.Duration, int64) {
	if t < e.Phase {
		return e.Phase, 0
	}
	n := int64((t-e.Phase)/e.Period) + 1
	return e.Nth(n), n
}

// Spread is the phase of one device of a fleet, so that the fleet does not beat in step: evenly
// random over the period, the same for the same seed and index.
func Spread(seed uint64, index int, period time.Duration) time.Duration {
	if period <= 0 {
		return 0
	}
	return time.Duration(Unit(seed, "phase", index) * float64(period))
}

// Rand is an independent stream of chance for a name and an index under one seed.
func Rand(seed uint64, name string, index int) *rand.Rand {
	return rand.New(Source(seed, name, index))
}

// Source is the source behind Rand, for a caller that keeps it by value.
func Source(seed uint64, name string, index int) *rand.PCG {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	_, _ = h.Write(strconv.AppendInt([]byte{0}, int64(index), 10))
	return rand.NewPCG(seed, mix(h.Sum64()))
}

// Unit is one number in [0,1) for a name and an index under one seed.
func Unit(seed uint64, name string, index int) float64 {
	s := Source(seed, name, index)
	return float64(s.Uint64()>>11) / (1 << 53)
}

// mix is the finalizer of SplitMix64: neighbouring inputs give unrelated outputs.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
