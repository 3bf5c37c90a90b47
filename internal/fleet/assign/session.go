package assign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/fleet/status"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/metrics"
)

// session is one connection to the service.
type session struct {
	client     *Client
	conn       link.Conn
	retryAfter time.Duration // of the last answer; 0 for none
	shed       bool          // the last answer was that the service throttles
	lastRID    uint64

	gone context.Context // ends, with the cause, when nothing is left of the connection
	end  context.CancelCauseFunc

	mu     sync.Mutex // protects the following fields
	rid    string     // of the request that waits; empty for none
	answer chan response
}

// response is an answer of the service.
type response struct {
	dps.Response
	body []byte
	at   time.Time
}

func newSession(c *Client) *session {
	s := &session{client: c, answer: make(chan response, 1)}
	s.gone, s.end = context.WithCancelCause(context.Background())
	return s
}

// open connects and subscribes.
func (s *session) open(ctx context.Context) (err error) {
	if s.conn, err = s.client.Connect(ctx, s.received); err != nil {
		s.end(nil)
		return err
	}
	s.conn.Serve(func(err error) { s.end(errors.Join(link.ErrLost, err)) })
	granted := make(chan error, 1)
	s.conn.Subscribe(func(err error) { granted <- err }, link.Filter{Topic: dps.ResponseFilter, QoS: 1})
	timer := time.NewTimer(s.client.Timeout)
	defer timer.Stop()
	select {
	case err = <-granted:
		if errors.As(err, new(*link.LoweredError)) { // an answer that is lost is asked for once more
			err = nil
		}
	case <-s.gone.Done():
		err = context.Cause(s.gone)
	case <-timer.C:
		err = ErrNoAnswer
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		s.close()
	}
	return err
}

// close says goodbye and waits until nothing is left of the connection.
func (s *session) close() {
	s.conn.Close()
	<-s.gone.Done()
}

// after is the time that the last answer asks for, or another when it asks for none.
func (s *session) after(usual time.Duration) time.Duration {
	if s.retryAfter > 0 {
		return s.retryAfter
	}
	return usual
}

// received takes what the service sent, on the driver's goroutine.
func (s *session) received(m link.Message) {
	r, err := dps.ParseResponse(m.Topic)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rid == "" || r.RequestID != s.rid {
		return // to nothing that is still waited for
	}
	s.rid = ""
	s.answer <- response{r, bytes.Clone(m.Payload), time.Now()}
}

// await names the request that waits for an answer.
func (s *session) await(rid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rid = rid
	select { // one that came when nobody waited any more
	case <-s.answer:
	default:
	}
}

// request asks the service for something that was due at a time, and measures it: a poll when there is an operation.
func (s *session) request(ctx context.Context, series *metrics.Series, operation string, intended time.Time) (response, error) {
	s.lastRID++
	rid := strconv.FormatUint(s.lastRID, 16)
	m := link.Message{Topic: dps.RegisterTopic(rid), QoS: 1}
	if series == s.client.Get {
		m.Topic, m.Payload = dps.PollTopic(rid, operation), []byte(" ")
	} else {
		m.Payload = registerBody(s.client.ID)
	}
	s.await(rid)
	defer s.await("")
	sent := time.Now()
	op := series.Start(intended, sent)
	timer := time.NewTimer(s.client.Timeout)
	defer timer.Stop()
	failed := make(chan error, 1)
	s.conn.Publish(m, func(err error) {
		if err != nil && !errors.Is(err, context.DeadlineExceeded) { // what waits to be sent has its time as if it had been
			failed <- err
		}
	})
	var err error
	select {
	case r := <-s.answer:
		if r.at.Sub(sent) < s.client.Timeout {
			op.EndBecause(r.at, status.Outcome(r.Status), reasonOf(r))
			return r, nil
		}
		err = ErrNoAnswer
	case <-timer.C:
		err = ErrNoAnswer
	case err = <-failed:
	case <-s.gone.Done():
		err = context.Cause(s.gone)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		op.EndBecause(time.Now(), metrics.Timeout, "")
	case ctx.Err() != nil:
		op.Unanswered(time.Now(), stoppedFirst)
	default:
		op.EndBecause(time.Now(), metrics.Failed, link.ErrLost.Error())
	}
	return response{}, fmt.Errorf("asking the provisioning service: %w", err)
}

// stoppedFirst is why a request has no answer that was still waited for.
const stoppedFirst = "the run was stopped first"

// registerBody names the device, as most SDKs do.
func registerBody(id string) []byte {
	b, err := json.Marshal(dps.RegisterRequest{RegistrationID: id})
	if err != nil {
		panic(err) // text always marshals
	}
	return b
}

// reasonOf is why an answer is no good one.
func reasonOf(r response) string {
	if r.Status < 300 {
		return ""
	}
	return statusError(r).Error()
}

// codeOf is the code in the body of an error; 0 for none.
func codeOf(body []byte) int {
	var e struct{ ErrorCode int }
	if json.Unmarshal(body, &e) != nil {
		return 0
	}
	return e.ErrorCode
}
