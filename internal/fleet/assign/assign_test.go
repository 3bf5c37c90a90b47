package assign_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/fleet/assign"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// answer is what the service of a test says to one request.
type answer struct {
	status int
	after  time.Duration // retry-after
	body   string
	takes  time.Duration // before it is sent
	silent bool
	lost   bool // the connection ends instead
}

// service answers requests in their order; the last answer is that to all that follow.
type service struct {
	answers []answer
	asked   []time.Duration // since its beginning
	topics  []string
	began   time.Time
	handler func(link.Message)
	over    func(error)
	deaf    bool // it grants no subscription
	refuses error
	closed  int
}

func (s *service) Serve(over func(error)) { s.over = over }
func (s *service) Abort()                 { s.Close() }
func (s *service) Close()                 { s.closed++; go s.over(nil) }

func (s *service) Subscribe(done func(error), _ ...link.Filter) {
	switch {
	case s.refuses != nil:
		done(s.refuses)
	case !s.deaf:
		done(nil)
	}
}

func (s *service) Publish(m link.Message, done func(error)) {
	a := s.answers[min(len(s.asked), len(s.answers)-1)]
	s.asked, s.topics = append(s.asked, time.Since(s.began)), append(s.topics, m.Topic)
	done(nil)
	r, err := dps.ParseRequest(m.Topic)
	switch {
	case err != nil:
		panic(err)
	case a.lost:
		go s.over(errors.New("reset"))
	case !a.silent:
		time.AfterFunc(a.takes, func() {
			s.handler(link.Message{Topic: dps.ResponseTopic(a.status, r.RequestID, a.after), Payload: []byte(a.body)})
		})
	}
}

const (
	operation = `{"operationId":"5.1 2","status":"assigning"}`
	assigned  = `{"operationId":"5.1 2","status":"assigned","registrationState":{"assignedHub":"hub","deviceId":"dev","status":"assigned"}}`
	shed      = `{"errorCode":429001,"message":"slow down"}`
)

// run has a device assigned by a service, in virtual time, and waits for the connection's end.
func run(t *testing.T, s *service, within time.Duration, check func(a assign.Assignment, err error, rec *metrics.Snapshot)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		s.began = time.Now()
		c := assign.Client{
			ID: "dev", Timeout: 30 * time.Second, Within: within, Put: rec.Series(metrics.OpDPSPut, "g"), Get: rec.Series(metrics.OpDPSGet, "g"),
			Unit:    func() float64 { return 0.5 },
			Connect: func(_ context.Context, h func(link.Message)) (link.Conn, error) { s.handler = h; return s, nil },
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Hour, cancel) // Ctrl-C
		a, err := c.Assign(ctx)
		check(a, err, rec.Snapshot())
		synctest.Wait()
	})
}

// What a device asks, and when: at once, when the service says, and never sooner than it says after a refusal for load.
func TestAssigned(t *testing.T) {
	s := &service{answers: []answer{
		{status: 429, after: 7 * time.Second, body: shed},
		{status: 429, body: shed},
		{status: 503, body: ""},
		{status: 202, after: 3 * time.Second, body: operation},
		{status: 429, after: 20 * time.Second, body: shed},
		{status: 202, body: `{"status":"assigning"}`},
		{status: 200, body: `{"operationId":"5.1 2","status":"unassigned"}`},
		{status: 200, body: assigned},
	}}
	run(t, s, time.Hour, func(a assign.Assignment, err error, rec *metrics.Snapshot) {
		if err != nil || a != (assign.Assignment{Hub: "hub", Device: "dev"}) {
			t.Fatalf("%+v, %v", a, err)
		}
		// 7 s and a tenth by chance, 2 s, 4 s; 3 s; 20 s and a tenth, 2 s, 2 s.
		var want []time.Duration
		at := time.Duration(0)
		for _, d := range []float64{0, 7.7, 2, 4, 3, 22, 2, 2} {
			at += time.Duration(d * float64(time.Second))
			want = append(want, at)
		}
		if fmt.Sprint(s.asked) != fmt.Sprint(want) {
			t.Errorf("asked after %v; want %v", s.asked, want)
		}
		for i, topic := range s.topics {
			if poll := strings.Contains(topic, "GET/iotdps-get-operationstatus"); poll != (i > 3) {
				t.Errorf("request %d is %s", i, topic)
			}
			if i > 3 && !strings.HasSuffix(topic, "operationId=5.1+2") {
				t.Errorf("poll %s", topic)
			}
		}
		put, get := rec.Find(metrics.OpDPSPut, "g"), rec.Find(metrics.OpDPSGet, "g")
		if put.Count(metrics.Throttled) != 2 || put.Count(metrics.Failed) != 1 || put.Count(metrics.OK) != 1 {
			t.Errorf("requests: %v", put.Reasons)
		}
		if get.Count(metrics.Throttled) != 1 || get.Count(metrics.OK) != 3 || get.Late+put.Late > 0 {
			t.Errorf("polls: %v, %d late", get.Reasons, get.Late)
		}
	})
	if s.closed != 1 {
		t.Errorf("the connection was closed %d times", s.closed)
	}
}

// Whatever the service does wrong, the device comes to an end with a reason of a bounded set, and leaves nothing under way.
func TestNotAssigned(t *testing.T) {
	ok := answer{status: 202, after: 3 * time.Second, body: operation}
	state := func(status string, more string) answer {
		return answer{status: 200, body: fmt.Sprintf(`{"operationId":"","status":%q,"registrationState":{"status":%[1]q%s}}`, status, more)}
	}
	var status *assign.StatusError
	var failed *assign.FailedError
	for name, tt := range map[string]struct {
		s      service
		is     error // or
		as     any
		text   string
		asks   int
		within time.Duration
	}{
		"a wrong key": {
			s:  service{answers: []answer{{status: 401, body: `{"errorCode":401000,"message":"Unauthorized"}`}}},
			as: &status, text: "status 401 (401000)", asks: 1,
		},
		"an operation that is not known": {s: service{answers: []answer{ok, {status: 404, body: `{"errorCode":404203}`}}}, as: &status, text: "status 404 (404203)", asks: 2},
		"an error that is no JSON":       {s: service{answers: []answer{{status: 400, body: "<html>"}}}, as: &status, text: "status 400", asks: 1},
		"a failed allocation": {
			s:  service{answers: []answer{ok, state("failed", `,"errorCode":400207,"errorMessage":"no"`)}},
			as: &failed, text: "the registration failed (400207): no", asks: 2,
		},
		"a failure without words": {s: service{answers: []answer{{status: 200, body: `{"status":"failed"}`}}}, as: &failed, text: "the registration failed", asks: 1},
		"a disabled enrollment":   {s: service{answers: []answer{state("disabled", "")}}, as: &failed, text: "the enrollment is disabled", asks: 1},
		"a status nobody knows":   {s: service{answers: []answer{state("odd", "")}}, as: &failed, text: "the registration ended in a status that is not known", asks: 1},
		"assigned and failed": {
			s:  service{answers: []answer{{status: 200, body: strings.Replace(assigned, `"dev","status":"assigned"`, `"dev","status":"failed"`, 1)}}},
			is: assign.ErrAnswer, asks: 1,
		},
		"assigned to nothing":       {s: service{answers: []answer{state("assigned", "")}}, is: assign.ErrAnswer, asks: 1},
		"an answer that is no JSON": {s: service{answers: []answer{{status: 200, body: "{"}}}, is: assign.ErrAnswer, asks: 1},
		"an empty answer":           {s: service{answers: []answer{{status: 202}}}, is: assign.ErrAnswer, asks: 1},
		"no answer":                 {s: service{answers: []answer{{silent: true}}}, is: assign.ErrNoAnswer, asks: 1},
		"an answer that is late":    {s: service{answers: []answer{{status: 200, body: assigned, takes: 31 * time.Second}}}, is: assign.ErrNoAnswer, asks: 1},
		"no answer to a poll":       {s: service{answers: []answer{ok, {silent: true}}}, is: assign.ErrNoAnswer, asks: 2},
		"a connection lost":         {s: service{answers: []answer{{lost: true}}}, is: link.ErrLost, asks: 1},
		"no subscription":           {s: service{deaf: true}, is: assign.ErrNoAnswer},
		"a subscription refused":    {s: service{refuses: &link.SubscriptionError{Code: 128}}, is: link.ErrSubscription},
		"throttled for ever":        {s: service{answers: []answer{{status: 429, after: 40 * time.Second, body: shed}}}, is: assign.ErrShed, asks: 2, within: time.Minute},
		"assigning for ever":        {s: service{answers: []answer{ok}}, is: assign.ErrNotYet, asks: 20, within: 59 * time.Second},
		"stopped while it waits":    {s: service{answers: []answer{{status: 202, after: 2 * time.Hour, body: operation}}}, is: context.Canceled, asks: 1, within: 3 * time.Hour},
		"a retry-after beyond all bounds": {
			s:  service{answers: []answer{{status: 202, after: 1 << 62, body: operation}}},
			is: context.Canceled, asks: 1, within: 3 * time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			within := tt.within
			if within == 0 {
				within = 10 * time.Minute
			}
			run(t, &tt.s, within, func(a assign.Assignment, err error, rec *metrics.Snapshot) {
				switch {
				case !errors.Is(err, context.Canceled) && !errors.Is(err, link.ErrLost) && reason.Of(err) == reason.Other:
					t.Errorf("nobody is told why: %v", err)
				case tt.is != nil && !errors.Is(err, tt.is), tt.as != nil && !errors.As(err, tt.as), tt.text != "" && err.Error() != tt.text:
					t.Errorf("%v; want %v", err, tt)
				case a != (assign.Assignment{}):
					t.Errorf("assigned to %v", a)
				case len(tt.s.asked) != tt.asks:
					t.Errorf("asked %d times; want %d", len(tt.s.asked), tt.asks)
				}
				for i := range rec.Series {
					if x := &rec.Series[i]; x.InFlight() > 0 {
						t.Errorf("%d of %s under way", x.InFlight(), x.Operation)
					}
				}
			})
			if tt.s.closed != 1 && !errors.Is(tt.is, link.ErrLost) {
				t.Errorf("the connection was closed %d times", tt.s.closed)
			}
		})
	}
}

// A request that is under way when the run stops has no answer: it is neither good nor bad.
func TestStoppedMidRequest(t *testing.T) {
	s := &service{answers: []answer{{status: 202, after: 59*time.Minute + 50*time.Second, body: operation}, {silent: true}}}
	run(t, s, 3*time.Hour, func(_ assign.Assignment, err error, rec *metrics.Snapshot) {
		if x := rec.Find(metrics.OpDPSGet, "g"); !errors.Is(err, context.Canceled) || x.Count(metrics.Unanswered) != 1 || x.Ended() != 1 {
			t.Errorf("%v, %d unanswered of %d", err, x.Count(metrics.Unanswered), x.Ended())
		}
	})
}

// A connection that ends while a device waits to poll is noticed then.
func TestLostWhileWaiting(t *testing.T) {
	s := &service{answers: []answer{{status: 202, after: 10 * time.Minute, body: operation}}}
	began := time.Time{}
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		rec := metrics.NewRecorder(metrics.Options{})
		c := assign.Client{
			ID: "dev", Timeout: 30 * time.Second, Within: time.Hour, Put: rec.Series(metrics.OpDPSPut, "g"), Get: rec.Series(metrics.OpDPSGet, "g"),
			Unit: func() float64 { return 0.5 },
			Connect: func(_ context.Context, h func(link.Message)) (link.Conn, error) {
				s.handler = h
				time.AfterFunc(time.Minute, func() { s.over(errors.New("reset")) })
				return s, nil
			},
		}
		if _, err := c.Assign(t.Context()); !errors.Is(err, link.ErrLost) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
