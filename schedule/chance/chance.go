// Package chance is what chance decides under a seed: streams of draws that depend on nothing drawn before, random lengths of
// time, choices by weight, and chains of them.
package chance

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"
)

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
	return unit(Source(seed, name, index).Uint64())
}

// Stream is a named source of chance under one seed, whose draws are addressed: those of an index at
// a turn depend on nothing that was drawn, or left undrawn, before. So the content of a device's
// hundredth message is the same whether or not its connection broke after the fiftieth.
type Stream struct{ seed, name uint64 }

// NewStream makes the stream of a name.
func NewStream(seed uint64, name string) Stream {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return Stream{mix(seed), mix(h.Sum64())}
}

// Key is the stream as a number: that of another seed or another name is another one.
func (s Stream) Key() uint64 { return s.seed ^ s.name }

// Seed sets a generator to the beginning of the draws of an index at a turn.
func (s Stream) Seed(p *rand.PCG, index int, turn int64) { p.Seed(s.seed, s.at(index, turn)) }

// Unit is one number in [0,1) for an index at a turn.
func (s Stream) Unit(index int, turn int64) float64 { return unit(mix(s.at(index, turn) ^ s.seed)) }

// Own is a number of an index, the same at all turns.
func (s Stream) Own(index int) uint64 { return mix(mix(s.name+golden*uint64(index)) ^ mix(s.seed)) }

// golden is the increment of SplitMix64: odd, so that every index and every turn lands elsewhere.
const golden = 0x9e3779b97f4a7c15

func (s Stream) at(index int, turn int64) uint64 {
	return mix(mix(s.name+golden*uint64(index)) + golden*uint64(turn))
}

// unit is the upper 53 bits as a number in [0,1).
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// mix is the finalizer of SplitMix64: neighbouring inputs give unrelated outputs.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
