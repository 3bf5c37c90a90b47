package schedule

// Shard is one of several equal parts of a whole: of a fleet, or of a rate. The parts of any split
// make up the whole, with nothing missing and nothing twice.
type Shard struct {
	Index int // from 0
	Of    int // how many parts there are; 0 is the same as 1
}

// Range is the part of n things that lie side by side: those from first up to, but not including,
// end. No part is more than one larger than another.
func (s Shard) Range(n int) (first, end int) {
	of := max(s.Of, 1)
	return int(int64(n) * int64(s.Index) / int64(of)), int(int64(n) * int64(s.Index+1) / int64(of))
}

// Nth is the number in the whole of the n-th event of the part, both counted from 0, when events are
// dealt to the parts in turn. With Curve.TimeOf it makes a part of an arrival rate that keeps the
// times of the whole.
func (s Shard) Nth(n int64) int64 { return n*int64(max(s.Of, 1)) + int64(s.Index) }
