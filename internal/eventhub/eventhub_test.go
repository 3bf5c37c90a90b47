package eventhub

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/eventhub/eventhubtest"
)

// reading is a Reader that runs, and what it was given.
type reading struct {
	*Reader
	got  []string
	at   []time.Time
	told []error
	err  error
	stop func()
}

// read runs a Reader in a bubble until the test stops it.
func read(t *testing.T, p *eventhubtest.Peer, change func(*Options)) *reading {
	t.Helper()
	x := &reading{}
	o := Options{
		Host: "iot", Addr: "iot:5671", Policy: "service", Key: p.Key, Dial: p.Dial, Tell: func(err error) { x.told = append(x.told, err) },
		Deliver: func(m Message) {
			x.got = append(x.got, fmt.Sprintf("%s/%d %s", m.Partition, m.Sequence, m.Body))
			x.at = append(x.at, m.At)
		},
	}
	if change != nil {
		change(&o)
	}
	var err error
	if x.Reader, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.err = x.Run(ctx)
	}()
	x.stop = func() { cancel(); <-done }
	synctest.Wait()
	return x
}

func (x *reading) isAttached() bool { return x.wasAttached() }

func TestReadsWhatComesIn(t *testing.T) {
	for _, unsettled := range []bool{false, true} {
		for _, frame := range []int{0, 10} {
			t.Run(fmt.Sprint(unsettled, frame), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := eventhubtest.New(t, 4)
					p.Behave(eventhubtest.Behavior{Unsettled: unsettled, Frame: frame})
					p.Put(1, "from before")
					x := read(t, p, nil)
					if !x.isAttached() {
						t.Fatal("not attached")
					}
					p.Put(0, "a")
					p.Put(1, "b")
					p.Put(1, "c")
					synctest.Wait()
					x.stop()
					if want := []string{"0/0 a", "1/1 b", "1/2 c"}; !reflect.DeepEqual(x.got, want) || x.err != nil {
						t.Errorf("%q, %v", x.got, x.err)
					}
					if want := []string{"iot:5671", "events:5671"}; !slices.Equal(p.Dials(), want) {
						t.Errorf("dialled %v", p.Dials())
					}
					if want := []string{"iot", "sb://events/ehub"}; !slices.Equal(p.Tokens(), want) {
						t.Errorf("tokens for %v", p.Tokens())
					}
					if s := x.Stats(); s != (Stats{Messages: 3, Connected: true}) {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

// More messages than there is credit for come all.
func TestGivesCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := eventhubtest.New(t, 1)
		x := read(t, p, nil)
		for range 3*credit + 7 {
			p.Put(0, "x")
		}
		synctest.Wait()
		x.stop()
		if len(x.got) != 3*credit+7 {
			t.Errorf("%d messages", len(x.got))
		}
	})
}

// After a lost connection it goes on behind the last message, and says how long it was away. What the hub sends again is left out.
func TestGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := eventhubtest.New(t, 2)
		x := read(t, p, nil)
		p.Put(0, "a")
		synctest.Wait()
		p.Behave(eventhubtest.Behavior{Again: true})
		go p.Cut(3 * time.Second)
		time.Sleep(time.Second)
		p.Put(0, "b")
		p.Put(1, "c")
		time.Sleep(time.Minute)
		s := x.Stats()
		x.stop()
		slices.Sort(x.got)
		if want := []string{"0/0 a", "0/1 b", "1/0 c"}; !reflect.DeepEqual(x.got, want) {
			t.Errorf("%q", x.got)
		}
		if s.Losses != 1 || s.Repeated != 1 || s.Restarts != 0 || s.Missing != 0 || s.Away < 3*time.Second || s.Away > 10*time.Second || s.Err == nil {
			t.Errorf("%+v", s)
		}
		if n := len(x.told); n < 2 || x.told[0] == nil || x.told[n-1] != nil {
			t.Errorf("told of %v", x.told)
		}
	})
}

// A log that begins anew, as that of a hub without a disk does, is read from its beginning, whether or not it has grown past where the
// last one was.
func TestNewLogIsReadFromItsBeginning(t *testing.T) {
	for _, more := range []int{1, 5} {
		synctest.Test(t, func(t *testing.T) {
			p := eventhubtest.New(t, 1)
			x := read(t, p, nil)
			p.Put(0, "a")
			p.Put(0, "b")
			synctest.Wait()
			go p.Cut(time.Second)
			time.Sleep(500 * time.Millisecond)
			p.Renew()
			for range more {
				p.Put(0, "new")
			}
			time.Sleep(time.Minute)
			x.stop()
			if s := x.Stats(); len(x.got) != 2+more || s.Restarts != 1 || s.Repeated != 0 {
				t.Errorf("%q %+v", x.got, s)
			}
		})
	}
}

// What a log left out is counted.
func TestCountsWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := eventhubtest.New(t, 1)
		x := read(t, p, nil)
		p.Put(0, "a")
		synctest.Wait()
		p.Append(0, []byte{0x00}, amqp.AppendData(nil, []byte("without a number")))
		p.Put(0, "d")
		synctest.Wait()
		x.stop()
		if s := x.Stats(); s.Missing != 2 || s.Unreadable != 2 || !reflect.DeepEqual(x.got, []string{"0/0 a", "0/3 d"}) {
			t.Errorf("%q %+v", x.got, s)
		}
	})
}

// Tokens are renewed on the connection, and heartbeats keep it, on both sides.
func TestKeepsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := eventhubtest.New(t, 1)
		x := read(t, p, func(o *Options) { o.Life = 10 * time.Minute })
		for range 3600 / 30 {
			time.Sleep(30 * time.Second)
			p.Heartbeat()
		}
		x.stop()
		if len(p.Dials()) != 2 || len(p.Tokens()) != 2+7 {
			t.Errorf("%d connections, %d tokens in an hour", len(p.Dials()), len(p.Tokens()))
		}
	})
}

func TestGivesUpSilentHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := eventhubtest.New(t, 1)
		x := read(t, p, nil)
		time.Sleep(idle + time.Second)
		x.stop()
		if s := x.Stats(); s.Losses != 1 || !errors.Is(s.Err, ErrSilent) {
			t.Errorf("%+v", s)
		}
	})
}

// What trying once more does not mend ends Run, in a line.
func TestSaysWhatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		peer   func(*eventhubtest.Peer)
		want   string
	}{
		"another policy": {change: func(o *Options) { o.Policy = "iothubowner" }, want: "token of policy iothubowner: the hub refuses it with status 401"},
		"no such group":  {change: func(o *Options) { o.Group = "mine" }, want: "partitions for consumer group mine: the hub refuses it: amqp:not-found: no such consumer group xxx"},
		"no endpoint": {
			peer: func(p *eventhubtest.Peer) {
				p.Behave(eventhubtest.Behavior{OnAttach: func(c *eventhubtest.Conn, a *amqp.Attach) bool {
					if address, _ := a.Source.Address.Text(); address != managing {
						return false
					}
					a.Role = amqp.RoleSender
					a.InitialDeliveryCount = amqp.Some(0)
					c.Refuse(a, &amqp.Error{Condition: amqp.UnauthorizedAccess})
					return true
				}})
			}, want: "asking iot where its messages are: the link to messages/events/$management: the hub refuses it: amqp:unauthorized-access",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := eventhubtest.New(t, 2)
				if c.peer != nil {
					c.peer(p)
				}
				x := read(t, p, c.change)
				time.Sleep(time.Minute)
				x.stop()
				if !errors.Is(x.err, ErrRefused) || !strings.Contains(x.err.Error(), c.want) || strings.Contains(x.err.Error(), "\n") || len(x.err.Error()) > 600 {
					t.Errorf("%v", x.err)
				}
			})
		})
	}
}

// A hub that is not there yet is waited for.
func TestWaitsForTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := eventhubtest.New(t, 2)
		go p.Cut(time.Minute)
		synctest.Wait()
		x := read(t, p, nil)
		time.Sleep(50 * time.Second)
		if s := x.Stats(); x.isAttached() || s.Err == nil || s.Losses != 0 || s.Away != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(10*time.Second + LongestWait + time.Second)
		if !x.isAttached() {
			t.Error("not attached")
		}
		x.stop()
	})
}

// Whatever a hub does, the reader takes no more than its bounds, and goes on trying.
func TestHostileHubs(t *testing.T) {
	onEvents := func(do func(c *eventhubtest.Conn)) func(*eventhubtest.Peer) {
		return func(p *eventhubtest.Peer) {
			p.Behave(eventhubtest.Behavior{Answer: func(c *eventhubtest.Conn, operation string) bool {
				if operation == "READ" {
					do(c)
				}
				return operation == "READ"
			}})
		}
	}
	raw := func(b ...byte) func(*eventhubtest.Peer) { return onEvents(func(c *eventhubtest.Conn) { c.Write(b) }) }
	send := func(x amqp.Performative) func(*eventhubtest.Peer) {
		return onEvents(func(c *eventhubtest.Conn) { c.Send(x) })
	}
	// a list as the key of a map, in the info of an error
	key := []byte{0, 0x53, 0x1d, 0xc0, 12, 3, 0xa3, 1, 'x', 0x40, 0xc1, 5, 2, 0xc0, 2, 1, 0x40, 0x40}
	body := append([]byte{0, 0x53, amqp.CodeClose, 0xc0, byte(len(key) + 1), 1}, key...)
	frame, start := amqp.BeginFrame(nil, amqp.FrameAMQP, 0)
	frame = amqp.EndFrame(append(frame, body...), start)
	answers := func(body func([]byte) []byte) func(*eventhubtest.Peer) {
		return onEvents(func(c *eventhubtest.Conn) {
			handle, _ := c.Link("$management-answers")
			b := amqp.AppendProperties(nil, &amqp.Properties{CorrelationID: amqp.AppendString(nil, "r2")})
			b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
			b = amqp.EndMap(amqp.AppendInt(amqp.AppendString(b, "status-code"), 200), start, 1)
			c.Transfer(handle, body(amqp.AppendBody(b)), true)
		})
	}
	many := make([]string, mostPartitions+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, do := range map[string]func(*eventhubtest.Peer){
		"a frame of 2 GB":       raw(0x7f, 0xff, 0xff, 0xff, 2, 0, 0, 0),
		"no frame":              raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")...),
		"a list as a key":       raw(frame...),
		"a close":               send(&amqp.Close{}),
		"an end":                send(&amqp.End{}),
		"a second session":      send(&amqp.Begin{HasRemote: true}),
		"an unknown link":       send(&amqp.Attach{Name: []byte("who"), HasSource: true, HasTarget: true, InitialDeliveryCount: amqp.Some(0)}),
		"an unknown handle":     send(&amqp.Detach{Handle: 99}),
		"credit for nobody":     send(&amqp.Flow{Handle: amqp.Some(99)}),
		"a message for nobody":  send(&amqp.Transfer{Handle: 99, DeliveryID: amqp.Some(1)}),
		"a message by a sender": send(&amqp.Transfer{Handle: 0, DeliveryID: amqp.Some(1)}),
		"an endless message": onEvents(func(c *eventhubtest.Conn) {
			for i := range 40 {
				x := amqp.Transfer{Handle: 1, More: true}
				if i == 0 {
					x.DeliveryID = amqp.Some(c.Next())
				}
				c.Write(amqp.AppendFrame(nil, 7, &x, make([]byte, 60<<10)))
			}
		}),
		"no partitions":       answers(func(b []byte) []byte { return amqp.AppendNull(b) }),
		"too many partitions": answers(func(b []byte) []byte { return hubMap(b, many...) }),
		"a partition twice":   answers(func(b []byte) []byte { return hubMap(b, "1", "1") }),
		"a quote in an id":    answers(func(b []byte) []byte { return hubMap(b, "1' or '") }),
		"silence":             onEvents(func(*eventhubtest.Conn) {}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := eventhubtest.New(t, 2)
				do(p)
				x := read(t, p, nil)
				time.Sleep(40 * time.Second)
				s := x.Stats()
				if x.isAttached() || len(p.Dials()) < 3 || s.Err == nil || len(s.Err.Error()) > 700 {
					t.Errorf("attached: %v, %d connections, %+v", x.isAttached(), len(p.Dials()), s)
				}
				p.Behave(eventhubtest.Behavior{})
				time.Sleep(40 * time.Second)
				if !x.isAttached() {
					t.Error("it did not go on trying")
				}
				x.stop()
				t.Log(s.Err)
			})
		})
	}
}

func hubMap(b []byte, ids ...string) []byte {
	b, start := amqp.BeginMap(b)
	b = amqp.AppendStrings(amqp.AppendString(b, "partition_ids"), ids...)
	return amqp.EndMap(b, start, 1)
}

func TestEndpointOf(t *testing.T) {
	info := func(pairs ...any) amqp.Value {
		b, start := amqp.BeginMap(nil)
		for i := 0; i < len(pairs); i += 2 {
			b = amqp.AppendSymbol(b, pairs[i].(string))
			switch v := pairs[i+1].(type) {
			case string:
				b = amqp.AppendString(b, v)
			case int:
				b = amqp.AppendInt(b, int32(v))
			}
		}
		return amqp.EndMap(b, start, len(pairs)/2)
	}
	const host = "ihsuprodamres042dednamespace.servicebus.windows.net"
	for name, c := range map[string]struct {
		info amqp.Value
		want *endpoint
	}{
		"the service": {
			info("hostname", host, "network-host", host, "port", 5671, "address", "amqps://"+host+":5671/iothub-ehub-x-1-abc/$management"),
			&endpoint{host + ":5671", host, "iothub-ehub-x-1-abc"},
		},
		"address alone":          {info("address", "amqps://h:5671/eh/"), &endpoint{"h:5671", "h", "eh"}},
		"another port":           {info("hostname", "localhost", "port", 9000, "address", "amqps://localhost:9000/eh/"), &endpoint{"localhost:9000", "localhost", "eh"}},
		"nothing":                {nil, nil},
		"no event hub":           {info("hostname", "h", "port", 1, "address", "amqps://h:1/"), nil},
		"a host of another kind": {info("hostname", "h/../x", "address", "amqps://h:1/eh"), nil},
		"no port":                {info("hostname", "h", "port", 70000, "address", "amqps://h:1/eh"), nil},
		"a long name":            {info("hostname", "h", "address", "amqps://h:1/"+strings.Repeat("e", 300)), nil},
	} {
		got, err := endpointOf(c.info)
		if c.want == nil && !errors.Is(err, ErrProtocol) || c.want != nil && (err != nil || *got != *c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// How long messages waited in the process is known, and is no part of when they came: one that handles each for a tenth of a second is
// behind by all of them.
func TestKnowsThatItIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := eventhubtest.New(t, 1)
		var slow atomic.Int64
		var came []time.Time
		x := read(t, p, func(o *Options) {
			o.Deliver = func(m Message) {
				came = append(came, m.At)
				time.Sleep(time.Duration(slow.Load()))
			}
		})
		for range 5 {
			p.Put(0, "x")
			time.Sleep(time.Second)
		}
		if d := x.Behind(); d != 0 {
			t.Errorf("behind by %v when it waits for messages", d)
		}
		slow.Store(int64(100 * time.Millisecond))
		began := time.Now()
		for range 20 {
			p.Put(0, "x")
		}
		time.Sleep(time.Minute / 2)
		if d := x.Behind(); d != 2*time.Second {
			t.Errorf("behind by %v; want 2s", d)
		}
		if d := x.Behind(); d != 0 {
			t.Errorf("behind by %v once it has caught up", d)
		}
		x.stop()
		if got := came[5].Sub(began); got != 0 {
			t.Errorf("the first message came after %v", got)
		}
	})
}
