// Package consumers says who may read a partition of the Event-Hubs-compatible endpoint: consumer groups, their readers, and who of them
// ends whom. It knows nothing of messages.
//
// The rules and the texts are those of Event Hubs (event-hubs-event-processor-host, event-hubs-quotas). A reader with an epoch, or owner
// level, is the only one of its group and partition: it ends those without one, and those whose epoch is not above its own.
package consumers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Default is the group that is always there.
const Default = "$Default"

// MaxReaders is how many readers a group may have at a partition (event-hubs-quotas).
const MaxReaders = 5

// maxName is the longest name of a group (event-hubs-quotas).
const maxName = 50

// Errors of New and Attach, and what an owner is told whose reader was ended. Their texts reach clients.
var (
	ErrName    = errors.New("no consumer group can have this name")
	ErrNoGroup = errors.New("the consumer group does not exist")   // amqp:not-found
	ErrStolen  = errors.New("another receiver owns the partition") // amqp:link:stolen, for who is refused and for who is ended
	ErrTooMany = errors.New("too many receivers")                  // amqp:resource-limit-exceeded
)

// Groups are the consumer groups of a hub. The zero value has every group that somebody names. Its methods may be called by any number of
// goroutines.
type Groups struct {
	names []string // lower-case; nil for any

	mu      sync.Mutex            // protects readers
	readers map[place][]*Attached // none of a place without any
}

// place is where readers meet.
type place struct {
	group     string // lower-case
	partition int
}

// New makes groups: Default and those named. Without a name there is every group that a reader asks for, since none has to be made. The
// case of names does not matter. The error for a name that no group can have matches ErrName.
func New(names ...string) (*Groups, error) {
	g := &Groups{}
	for _, name := range names {
		if !valid(name) {
			return nil, fmt.Errorf("%w: %q; it has up to %d letters, digits, periods, hyphens and underscores", ErrName, name, maxName)
		}
		g.names = append(g.names, strings.ToLower(name))
	}
	return g, nil
}

// valid reports whether a name can be that of a group.
func valid(name string) bool {
	if strings.EqualFold(name, Default) {
		return true
	}
	other := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("._-", r)
	}
	return name != "" && len(name) <= maxName && strings.IndexFunc(name, other) < 0
}

// Exists reports whether there is a group.
func (g *Groups) Exists(name string) bool {
	return valid(name) && (g.names == nil || strings.EqualFold(name, Default) || slices.Contains(g.names, strings.ToLower(name)))
}

// Reader is who asks to read.
type Reader struct {
	Group     string          // in any case
	Partition int             // that it reads
	Name      string          // for the texts of errors; "nil" when empty, as the service writes
	Epoch     int64           // with HasEpoch: of several the highest reads
	HasEpoch  bool            // it wants to read alone
	Stolen    func(why error) // told, once, when another reader ends it; why matches ErrStolen. It must wait for nobody; may be nil
}

func (r *Reader) name() string {
	if r.Name == "" {
		return "nil"
	}
	return r.Name
}

// Attached is a reader that may read, until it is told that it may not or is detached.
type Attached struct {
	groups *Groups
	place  place
	Reader
}

// Attach lets a reader read, and ends those that its epoch ends: each of them is detached already when its Stolen is called. The errors
// match ErrNoGroup, ErrStolen or ErrTooMany.
func (g *Groups) Attach(r Reader) (*Attached, error) {
	if !g.Exists(r.Group) {
		return nil, fmt.Errorf("%w: %q", ErrNoGroup, r.Group)
	}
	a := &Attached{groups: g, place: place{strings.ToLower(r.Group), r.Partition}, Reader: r}
	g.mu.Lock()
	others := g.readers[a.place]
	if err := admit(&r, others); err != nil {
		g.mu.Unlock()
		return nil, err
	}
	var ended []*Attached
	if r.HasEpoch {
		ended, others = others, nil
	}
	if g.readers == nil {
		g.readers = make(map[place][]*Attached)
	}
	g.readers[a.place] = append(others, a)
	g.mu.Unlock()
	for _, other := range ended {
		if other.Stolen == nil {
			continue
		}
		text := ""
		if other.HasEpoch {
			text = fmt.Sprintf(" with epoch '%d'", other.Epoch)
		}
		other.Stolen(fmt.Errorf("%w: New receiver '%s' with higher epoch of '%d' is created hence current receiver '%s'%s is getting disconnected. "+
			"If you are recreating the receiver, make sure a higher epoch is used", ErrStolen, r.name(), r.Epoch, other.name(), text))
	}
	return a, nil
}

// admit is the error for a reader that may not join others.
func admit(r *Reader, others []*Attached) error {
	for _, other := range others {
		switch {
		case !other.HasEpoch:
		case !r.HasEpoch:
			return fmt.Errorf("%w: At least one receiver for the endpoint is created with epoch of '%d', and so non-epoch receiver is not allowed. "+
				"Either reconnect with a higher epoch, or make sure all epoch receivers are closed or disconnected", ErrStolen, other.Epoch)
		case other.Epoch > r.Epoch:
			return fmt.Errorf("%w: Receiver '%s' with a higher epoch '%d' already exists. Receiver '%s' with epoch %d cannot be created. "+
				"Make sure you are creating receiver with increasing epoch value to ensure connectivity, or ensure all old epoch receivers "+
				"are closed or disconnected", ErrStolen, other.name(), other.Epoch, r.name(), r.Epoch)
		}
	}
	if !r.HasEpoch && len(others) >= MaxReaders {
		return fmt.Errorf("%w: Exceeded the maximum number of allowed receivers per partition in a consumer group which is %d", ErrTooMany, MaxReaders)
	}
	return nil
}

// Detach ends the reader; a second call, and one for a reader that another has ended, does nothing.
func (a *Attached) Detach() {
	g := a.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	rest := slices.DeleteFunc(g.readers[a.place], func(other *Attached) bool { return other == a })
	if len(rest) == 0 {
		delete(g.readers, a.place)
		return
	}
	g.readers[a.place] = rest
}

// Readers is how many readers there are.
func (g *Groups) Readers() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, readers := range g.readers {
		n += len(readers)
	}
	return n
}
