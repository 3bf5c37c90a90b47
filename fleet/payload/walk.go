package payload

import (
	"math"
	"math/bits"
)

func (c *compiler) walk(args []string) (*function, error) {
	x, ok := numbers(args)
	if !ok || len(x) != 2 && len(x) != 4 || x[1] < 0 {
		return nil, nil
	}
	start, step, low, high := x[0], x[1], math.Inf(-1), math.Inf(1)
	if len(x) == 4 {
		low, high = x[2], x[3]
	}
	if start < low || start > high {
		return nil, nil
	}
	c.walks++
	own := uint64(c.walks)
	return number(func(b []byte, c *Context) []byte {
		at := walked(mix(c.Chance+golden*own), uint64(max(0, c.Seq-1)))
		return appendNumber(b, reflected(start+step*at, low, high))
	}), nil
}

// walked is where a random walk is after n steps, each of which is normally distributed with mean 0 and deviation 1: n is any
// number, and nothing is kept between two calls. The walk is built as Lévy built Brownian motion. Where it is after 1, 2, 4, 8 … steps
// follows from the one before. What lies between two places that are known is halved, again and again, until n is
// found: halfway between the ends of L steps the walk has the mean of both places, and a variance of L/4. Each place draws by its own number, so
// that all calls see the same walk. That takes about twice as many draws as n has binary digits.
func walked(key, n uint64) float64 {
	if n == 0 {
		return 0
	}
	from, at := uint64(1), gauss(key, 1)
	for top := uint64(1) << (bits.Len64(n) - 1); from < top; from *= 2 {
		at += math.Sqrt(float64(from)) * gauss(key, 2*from)
	}
	if from == n {
		return at
	}
	end := at + math.Sqrt(float64(from))*gauss(key, 2*from)
	for length := from; ; length /= 2 {
		half := from + length/2
		middle := (at+end)/2 + math.Sqrt(float64(length))/2*gauss(key, half)
		switch {
		case n == half:
			return middle
		case n < half:
			end = middle
		default:
			from, at = half, middle
		}
	}
}

// gauss is a draw of the standard normal distribution that belongs to a key and a number.
func gauss(key, n uint64) float64 {
	u := (float64(mix(key+golden*n)>>12) + 0.5) / (1 << 52) // neither 0 nor 1
	return math.Sqrt2 * math.Erfinv(2*u-1)
}

// reflected throws a value back from its bounds, as often as it is beyond them: two values that are near each other stay so.
func reflected(x, low, high float64) float64 {
	if math.IsInf(low, 0) || x >= low && x <= high {
		return x
	}
	way := 2 * (high - low)
	if way == 0 || math.IsInf(way, 0) || math.IsInf(x, 0) {
		return max(low, min(x, high))
	}
	over := math.Mod(x-low, way)
	if over < 0 {
		over += way
	}
	return max(low, min(low+min(over, way-over), high))
}

const golden = 0x9e3779b97f4a7c15

// mix is the finalizer of SplitMix64: neighbouring inputs give unrelated outputs.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
