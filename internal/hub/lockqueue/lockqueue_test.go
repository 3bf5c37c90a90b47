package lockqueue

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/uuid"
)

// modelled is an entry as the contract says what becomes of it, kept as plainly as can be.
type modelled struct {
	number     uint64
	until      int // in seconds
	deliveries int
	holder     string // empty while free
	lockedTo   int    // 0 for ever
	token      Token
}

// The queue does what a list of entries does that is walked through for every question.
func TestModel(t *testing.T) {
	const most = 3
	rapid.Check(t, func(t *rapid.T) {
		var q Queue[string]
		var model []*modelled
		var ended []string
		now, number := 0, uint64(0)
		at := func(second int) time.Time { return time.Unix(int64(second), 0) }
		lost := []Token{{}, uuid.New()} // tokens of locks that are over
		end := func(why Cause, which func(*modelled) bool) {
			model = slices.DeleteFunc(model, func(m *modelled) bool {
				if which(m) {
					ended = append(ended, fmt.Sprint(m.number, " ", why))
					if m.holder != "" {
						lost = append(lost, m.token)
					}
					return true
				}
				return false
			})
		}
		free := func(m *modelled) {
			m.holder = ""
			lost = append(lost, m.token)
		}
		exhaust := func() {
			end(Exhausted, func(m *modelled) bool { return m.holder == "" && m.deliveries >= most })
		}
		sweep := func() {
			end(Expired, func(m *modelled) bool { return m.until <= now })
			freed := false
			for _, m := range model {
				if m.holder != "" && m.lockedTo != 0 && m.lockedTo <= now {
					free(m)
					freed = freed || m.deliveries < most
				}
			}
			exhaust()
			if got := q.Sweep(at(now), most); got != freed {
				t.Fatalf("Sweep = %v; want %v", got, freed)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				number++
				m := &modelled{number: number, until: now + rapid.IntRange(1, 40).Draw(t, "lives")}
				model = append(model, m)
				q.Add(Entry[string]{Value: fmt.Sprint(number % 2), Number: number, Until: at(m.until)})
			},
			"time": func(t *rapid.T) {
				now += rapid.IntRange(1, 9).Draw(t, "seconds")
				sweep()
			},
			"take": func(t *rapid.T) {
				n := rapid.IntRange(0, 4).Draw(t, "most")
				lock := rapid.IntRange(0, 10).Draw(t, "lock")
				holder := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "holder")
				value := rapid.SampledFrom([]string{"0", "1"}).Draw(t, "value")
				taken := q.Take(at(now), n, time.Duration(lock)*time.Second, holder, func(e *Entry[string]) bool { return e.Value == value })
				for _, m := range model {
					if n == 0 || m.holder != "" || fmt.Sprint(m.number%2) != value {
						continue
					}
					n--
					m.holder, m.deliveries, m.lockedTo = holder, m.deliveries+1, 0
					if lock > 0 {
						m.lockedTo = now + lock
					}
					if len(taken) == 0 || taken[0].Number != m.number || taken[0].Deliveries != m.deliveries || taken[0].Token == m.token {
						t.Fatalf("%+v was not taken next, or not anew", m)
					}
					m.token, taken = taken[0].Token, taken[1:]
				}
				if len(taken) > 0 {
					t.Fatalf("%d was taken", taken[0].Number)
				}
			},
			"settle": func(t *rapid.T) {
				o := rapid.SampledFrom([]Outcome{Complete, Reject, Abandon}).Draw(t, "outcome")
				if i := slices.IndexFunc(model, func(m *modelled) bool { return m.holder != "" }); i >= 0 && rapid.Bool().Draw(t, "held") {
					m := model[rapid.IntRange(i, len(model)-1).Draw(t, "which")]
					if m.holder == "" {
						return
					}
					if err := q.Settle(m.token, o, most); err != nil {
						t.Fatal(err)
					}
					switch o {
					case Complete:
						end(Completed, func(x *modelled) bool { return x == m })
					case Reject:
						end(Rejected, func(x *modelled) bool { return x == m })
					default:
						free(m)
						exhaust()
					}
					return
				}
				if err := q.Settle(rapid.SampledFrom(lost).Draw(t, "lost"), o, most); !errors.Is(err, ErrLost) {
					t.Fatalf("settling what is lost: %v", err)
				}
			},
			"release": func(t *rapid.T) {
				holder := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "holder")
				for _, m := range model {
					if m.holder == holder {
						free(m)
					}
				}
				exhaust()
				q.Release(holder, most)
			},
			"purge": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "dice") > 0 {
					t.Skip("seldom")
				}
				n := len(model)
				end(Purged, func(*modelled) bool { return true })
				if got := q.Purge(); got != n {
					t.Fatalf("purged %d; want %d", got, n)
				}
			},
			"withdraw": func(t *rapid.T) {
				n := rapid.Uint64Range(0, number).Draw(t, "number")
				end(Withdrawn, func(m *modelled) bool { return m.number == n })
				q.Withdraw(n)
			},
			"": func(t *rapid.T) {
				var got []string
				for _, e := range q.Ended() {
					got = append(got, fmt.Sprint(e.Number, " ", e.Cause))
				}
				if !slices.Equal(got, ended) {
					t.Fatalf("ended: %v; want %v", got, ended)
				}
				ended = nil
				due := 0
				for _, m := range model {
					if due == 0 || m.until < due {
						due = m.until
					}
					if m.holder != "" && m.lockedTo != 0 && m.lockedTo < due {
						due = m.lockedTo
					}
				}
				want := time.Time{}
				if due != 0 {
					want = at(due)
				}
				if !q.Due().Equal(want) || q.Len() != len(model) {
					t.Fatalf("due %v, %d entries; want %v, %d", q.Due(), q.Len(), want, len(model))
				}
			},
		})
	})
}

// What is exhausted when its lock times out is free for nobody.
func TestExhaustedBySweep(t *testing.T) {
	var q Queue[int]
	began := time.Unix(0, 0)
	q.Add(Entry[int]{})
	for n := range 2 {
		now := began.Add(time.Duration(n) * time.Second)
		q.Take(now, 1, time.Second, nil, func(*Entry[int]) bool { return true })
		if freed := q.Sweep(now.Add(time.Second), 2); freed != (n == 0) {
			t.Errorf("lock %d ended: free %v", n, freed)
		}
	}
	if ended := q.Ended(); len(ended) != 1 || ended[0].Cause != Exhausted || q.Len() != 0 {
		t.Errorf("ended: %v", ended)
	}
}
