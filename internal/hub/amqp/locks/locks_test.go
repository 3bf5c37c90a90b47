package locks_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/locks"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

func TestSettle(t *testing.T) {
	token := uuid.New()
	for _, tt := range []struct {
		state amqp.State
		want  lockqueue.Outcome
	}{
		{amqp.State{Code: amqp.Accepted}, lockqueue.Complete},
		{amqp.State{}, lockqueue.Complete},
		{amqp.State{Code: amqp.Rejected}, lockqueue.Reject},
		{amqp.State{Code: amqp.Released}, lockqueue.Abandon},
		{amqp.State{Code: amqp.Modified}, lockqueue.Abandon},
		{amqp.State{Code: amqp.Modified, UndeliverableHere: true}, lockqueue.Reject},
	} {
		said := engine.Outcome{Tag: locks.Tag(token), State: tt.state}
		got := lockqueue.Outcome(99)
		if s := locks.Settle(said, func(named lockqueue.Token, o lockqueue.Outcome) error {
			if named != token {
				t.Errorf("the lock is %s", named)
			}
			got = o
			return nil
		}); got != tt.want || s.Code != tt.state.Code {
			t.Errorf("%+v is %d, answered with %+v", tt.state, got, s)
		}
		lost := locks.Settle(said, func(lockqueue.Token, lockqueue.Outcome) error { return iothub.ErrMessageLockLost })
		if lost.Code != amqp.Rejected || lost.Error == nil {
			t.Errorf("a lost lock: %+v", lost)
		}
	}
	if s := locks.Settle(engine.Outcome{Tag: "short", State: amqp.State{Code: amqp.Accepted}}, nil); s.Code != amqp.Accepted {
		t.Errorf("what is under no lock: %+v", s)
	}
}
