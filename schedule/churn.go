package schedule

import (
	"math/rand/v2"
	"time"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Churn is how long a device stays, and how long it stays away, in turns. With a zero Online it
// stays for ever.
type Churn struct {
	Online, Offline chance.Distribution // of a stay, and of the absence after it
}

// Session is the n-th stay of the device of an index, counted from 0, and its absence after it.
func (c Churn) Session(s chance.Stream, index int, n int64) (online, offline time.Duration) {
	var p rand.PCG
	s.Seed(&p, index, n)
	r := rand.New(&p)
	online = c.Online.Draw(r)
	return online, c.Offline.Draw(r)
}
