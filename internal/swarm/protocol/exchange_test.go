package protocol_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
)

func exchanged() *rapid.Generator[*protocol.Exchanged] {
	index, at := rapid.IntRange(0, 1<<40), rapid.Custom(func(t *rapid.T) time.Time { return time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "at")) })
	return rapid.Custom(func(t *rapid.T) *protocol.Exchanged {
		x := &protocol.Exchanged{
			Run: rapid.String().Draw(t, "run"), From: rapid.String().Draw(t, "from"), Number: rapid.Uint64().Draw(t, "number"),
			Within: time.Duration(rapid.Int64().Draw(t, "within")),
		}
		for range rapid.IntRange(0, 5).Draw(t, "listeners") {
			l := fleet.Listener{Subscriber: index.Draw(t, "subscriber"), There: rapid.Bool().Draw(t, "there"), Connected: rapid.Bool().Draw(t, "connected"), Unkept: rapid.Bool().Draw(t, "unkept"), At: at.Draw(t, "at")}
			if rapid.Bool().Draw(t, "forgotten") {
				l.Until = at.Draw(t, "until")
			}
			x.Listeners = append(x.Listeners, l)
		}
		for range rapid.IntRange(0, 5).Draw(t, "arrivals") {
			x.Arrivals = append(x.Arrivals, fleet.Arrival{
				Publisher: index.Draw(t, "publisher"), Kind: rapid.IntRange(0, 9).Draw(t, "kind"), Turn: int64(index.Draw(t, "turn")), Subscriber: index.Draw(t, "subscriber"), At: at.Draw(t, "at"),
			})
		}
		return x
	})
}

// What agents exchange is read as it was written, and nothing of it may be missing, or be more.
func TestExchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := exchanged().Draw(t, "x")
		b := x.AppendTo(nil)
		got, err := protocol.ReadExchanged(b)
		if err != nil || !reflect.DeepEqual(got, x) {
			t.Errorf("%+v, %v; want %+v", got, err, x)
		}
		if _, err := protocol.ReadExchanged(append(b, 0)); !errors.Is(err, protocol.ErrFormat) {
			t.Errorf("with a byte more: %v", err)
		}
		if _, err := protocol.ReadExchanged(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); !errors.Is(err, protocol.ErrFormat) {
			t.Errorf("cut off: %v", err)
		}
	})
}

// Whatever comes, reading it ends, takes no more than it says, and is either refused or means what it is written as.
func FuzzExchanged(f *testing.F) {
	at := time.Unix(0, 1_800_000_000_000_000_000)
	f.Add([]byte{})
	f.Add([]byte{2, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0x7f})
	f.Add((&protocol.Exchanged{
		Run: "r", From: "agent-1", Number: 7, Within: time.Millisecond, Listeners: []fleet.Listener{{Subscriber: 3, There: true, At: at, Until: at.Add(time.Hour)}},
		Arrivals: []fleet.Arrival{{Publisher: 1, Turn: 12, Subscriber: 3, At: at.Add(time.Second)}},
	}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := protocol.ReadExchanged(b)
		if err != nil {
			return
		}
		again, err := protocol.ReadExchanged(x.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(again, x) {
			t.Errorf("%+v, %v; want %+v", again, err, x)
		}
	})
}
