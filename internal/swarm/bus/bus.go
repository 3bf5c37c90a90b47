// Package bus is how the processes that carry one run talk: messages to whoever listens, questions to one process by its name, and stores of keys
// and values that outlast all of them. It is the contract; natsbus keeps it over NATS, membus in memory for tests, and bustest is what both must do.
package bus

import (
	"context"
	"time"
)

// Bus is one process's connection. All methods may be called from many goroutines at once.
//
// A connection that breaks comes back by itself, for as long as it takes, until Close; States tells.
type Bus interface {
	// Publish says something to those who listen now: at most once, and nobody tells whether anybody did. It does not wait for the network. While there is
	// no connection it keeps up to a bound of bytes (8 MiB unless told otherwise) and sends them when there is one; those who listen and have
	// not come back by then do not hear it. What must not be lost belongs into a Store.
	// Its errors: ErrTooLarge, ErrBacklog, ErrLost when the connection broke under it, ErrName, ErrClosed.
	Publish(subject string, data []byte) error
	// Subscribe listens to the subjects that match: words between dots, of which * is any one and > at the end any that follow. Its calls of handle come
	// one at a time in the order in which each publisher spoke; the data is the handler's to keep. It goes on after a lost connection, without what was
	// said meanwhile. ErrForbidden when the server refuses it. A handler that is slow delays nobody but itself, up to a bound beyond which it misses messages.
	Subscribe(subject string, handle func(subject string, data []byte)) (Subscription, error)
	// Serve answers questions until it is stopped.
	Serve(service Service) (Subscription, error)
	// Ask puts a question to one instance and waits for the answer. While there is no connection it waits for one; it then asks once. An error of the endpoint
	// comes back as *Error. Other errors: ErrNobody when no such instance or endpoint is there, ErrLost when the connection broke and it is not
	// known whether the question was heard, the cause of ctx (likewise), ErrTooLarge, ErrName, ErrClosed.
	Ask(ctx context.Context, instance, endpoint string, data []byte) ([]byte, error)
	// Services lists the instances of a service that answer, by name of the instance. It takes as long as answers come in (half a second of silence ends it) and
	// ctx lasts; an empty list is no error.
	Services(ctx context.Context, name string) ([]Instance, error)
	// Store opens a store of keys and values, and makes it if there is none and create is set. ErrNoStore when there is none, ErrName for a bad name.
	Store(ctx context.Context, name string, create bool) (Store, error)
	// Drop removes a store with all that is in it; that there is none is no error. What others do with it then ends in ErrNoStore.
	Drop(ctx context.Context, name string) error
	// States tells how the connection stands: at once how it does now, then at each change. Calls come one at a time; they must not wait, nor call States or Stop.
	States(handle func(State)) Subscription
	// MaxPayload is the most bytes of one message, question, answer or value.
	MaxPayload() int
	// Close sends what is to be sent and handles what has come, for a bounded time (some seconds), and ends everything that this Bus began.
	// It must not be called by a handler.
	Close() error
}

// Subscription is something that goes on until it is stopped.
type Subscription interface {
	// Stop ends it and waits for its handler, which therefore must not call it. More calls do nothing.
	Stop()
}

// Service is what one process answers to.
type Service struct {
	// Name is the kind of service, the same for all instances: letters, digits, - and _, no more than 64 of them.
	Name string
	// Instance names this one among all services of the bus; written like Name.
	Instance string
	// Version is a version by semver.org.
	Version string
	// Metadata is what others learn of the instance when they list it. The key "instance" is taken.
	Metadata map[string]string
	// Endpoints answer, by name (written like Name). Questions to one endpoint come one at a time in order; endpoints do not wait for one another. The
	// context ends when the service stops. Who asked may have given up by then. An error that is an *Error keeps its code, others are Failed.
	Endpoints map[string]func(ctx context.Context, data []byte) ([]byte, error)
}

// Instance is a service that answered.
type Instance struct {
	Name     string            // the service's
	Instance string            // the instance's
	Version  string            // by semver.org
	Metadata map[string]string // what it says of itself
}

// State is how a connection stands.
type State struct {
	// Connected says that messages go out and come in.
	Connected bool
	// Reason is why it is not, as far as known: the last thing that failed.
	Reason error
}

// Store is keys and values that outlast the processes. A key is words of letters, digits, -, _, = and / between dots.
//
// While there is no connection calls wait for one as long as ctx lasts, and a write whose fate a broken connection left open is told apart
// from a new one: when a call returns without error it was done once, and when it fails because ctx ended it was done once or not at all.
// A store that was dropped, or that the server has lost, is ErrNoStore.
type Store interface {
	// Put writes and returns the revision, a number that grows with each write to the store. ErrFull when the store holds no more, ErrTooLarge.
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)
	// Create is Put for a key that has no value, else ErrExists.
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	// Update is Put if the key's value is still that of the revision, else ErrConflict.
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Get reads; ErrNoKey when there is no value.
	Get(ctx context.Context, key string) (Entry, error)
	// Delete takes a key's value away; that there is none is no error.
	Delete(ctx context.Context, key string) error
	// Keys lists the keys that have values, sorted: those below prefix ("a" has "a.b" and "a.b.c" below it, not "a"), or all for an empty prefix.
	Keys(ctx context.Context, prefix string) ([]string, error)
	// Watch tells of the keys below prefix, or of all: first what there is, then Current once, then each change, deletions too, until ctx ends, whose cause
	// it returns. It calls handle one at a time, in the order of revisions; of several writes to a key in quick succession some may be skipped,
	// but never the last. It goes on after a lost connection and tells then what changed meanwhile.
	Watch(ctx context.Context, prefix string, handle func(Entry)) error
}

// Kind says what an Entry is.
type Kind int

// The kinds of entries.
const (
	Value   Kind = iota // the key has this value
	Deleted             // the key has no value any more
	Current             // no key: everything that there was when Watch began has been told
)

// Entry is a value of a store.
type Entry struct {
	Kind     Kind
	Key      string
	Value    []byte    // the receiver's to keep
	Revision uint64    // of the write
	At       time.Time // when it was written, by the clock of the store
}
