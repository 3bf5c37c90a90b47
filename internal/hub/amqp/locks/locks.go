// Package locks is messages that are delivered over AMQP under a lock of a queue: the delivery tag is the lock's token, and what the
// receiver says of a delivery ends the lock.
package locks

import (
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
)

// Tag is the delivery tag of what is under a lock.
func Tag(t lockqueue.Token) string { return string(t[:]) }

// Settle ends the lock of a delivery of which the receiver has said something, and returns the state to answer with: the receiver's own,
// or why the lock is lost.
func Settle(o engine.Outcome, end func(lockqueue.Token, lockqueue.Outcome) error) amqp.State {
	if len(o.Tag) != len(lockqueue.Token{}) {
		return o.State
	}
	if err := end(lockqueue.Token([]byte(o.Tag)), outcome(o.State)); err != nil {
		return amqp.State{Code: amqp.Rejected, Error: condition.Of(err)}
	}
	return o.State
}

// outcome is what a state says of a message; who settles without a word is done with it.
func outcome(s amqp.State) lockqueue.Outcome {
	switch {
	case s.Code == amqp.Released, s.Code == amqp.Modified && !s.UndeliverableHere:
		return lockqueue.Abandon
	case s.Code == amqp.Rejected, s.Code == amqp.Modified:
		return lockqueue.Reject
	}
	return lockqueue.Complete
}
