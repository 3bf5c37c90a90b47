package plan

import "math"

// Search is what an access is wanted for.
type Search struct {
	Among int  // how many twins there are to choose from without it
	All   bool // all that is found will be read, not a page of it
}

// most is how many twins a range may have to be worth reading. For a page of a hundred, a range of n
// twins costs about n steps through its index to read; without it a hundred are found among m in
// 100·m/n twins, each as long as two steps. The two are equal at n = 15·√m or so, which
// keeps either below some milliseconds for a million twins.
func (s Search) most() int {
	if s.All {
		return s.Among / 4
	}
	return max(1000, int(15*math.Sqrt(float64(s.Among))))
}
