// Package dashboard is the live page of a run: it shows the figures as they come, once a second, and lets
// whoever has its token pause, resume and stop the run.
package dashboard

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/httpserve"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/charts"
	"github.com/twinfleet/twinfleet/report/progress"
)

// Controls are what the page's buttons do. All may be called at any time, more than once.
type Controls interface {
	Pause(paused bool) // stops what devices do on their schedules, or lets it go on
	Next()             // ends the stage that runs
	Stop()             // ends the run politely
}

// Stage is a stage as the scenario plans it.
type Stage struct {
	Name     string  `json:"name"`    // as the scenario has it
	Duration float64 `json:"seconds"` // 0 when it ends with its steps
}

// Options of a Server.
type Options struct {
	Controls Controls     // required
	Logger   *slog.Logger // required
	Stages   []Stage      // that the run will go through
}

// Server serves the page of one run. It is safe for concurrent use.
type Server struct {
	opts  Options
	token string
	http  *http.Server
	serve sync.WaitGroup
	done  chan struct{} // closed when the page is to end

	mu       sync.Mutex // protects the following fields
	run      headline
	samples  []report.Sample
	stages   []report.Stage
	events   []report.Event
	watchers map[chan []byte]struct{}
}

// headline is what the page says of the run as a whole.
type headline struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Target      string         `json:"target"`
	Devices     int            `json:"devices"`
	Seed        uint64         `json:"seed"`
	Version     string         `json:"version"`
	Started     time.Time      `json:"started"`
	Stage       string         `json:"stage"`
	At          float64        `json:"at"` // seconds since the run began
	Paused      bool           `json:"paused"`
	Waiting     string         `json:"waiting"` // for the last answers, in words; empty before and after
	Outcome     report.Outcome `json:"outcome"` // empty while it runs
	Reason      string         `json:"reason"`
}

const (
	keepSamples = 1200 // then neighbours are merged, so that a long run takes no more memory
	keepEvents  = 200
	backlog     = 16 // messages that a slow page may be behind before it is cut off; it reconnects
)

// New makes a Server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{opts: o, token: rand.Text(), done: make(chan struct{}), watchers: make(map[chan []byte]struct{})}
}

// Start serves the page on an address, such as 127.0.0.1:9465, and returns the page's own: it ends in the token, in a part that
// browsers do not send. Close ends it.
func (s *Server) Start(ctx context.Context, addr string) (url string, err error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	httpserve.Warn(s.opts.Logger, l.Addr(), "the live page", "its buttons want the token")
	s.http = httpserve.New(s.Handler(), s.opts.Logger)
	s.serve.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.opts.Logger.Warn("the live page ended", "error", err)
		}
	})
	return "http://" + httpserve.Reached(l.Addr()) + "/#" + s.token, nil
}

// Close ends the page; pages that are open are let go first.
func (s *Server) Close() error {
	close(s.done)
	if s.http == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	s.serve.Wait()
	return err
}

// Begin tells of the run.
func (s *Server) Begin(r *report.Run) error {
	s.update(func(h *headline) {
		*h = headline{
			Name: r.Name, Description: r.Description, Target: r.Target, Devices: r.Devices, Seed: r.Seed, Version: r.Version, Started: r.Started,
			Paused: h.Paused,
		}
	})
	return nil
}

// End tells of its verdict.
func (s *Server) End(r *report.Run) error {
	s.update(func(h *headline) { h.Outcome, h.Reason, h.Target, h.Waiting = r.Outcome, r.Reason, r.Target, "" })
	return nil
}

// update changes the headline and tells everybody.
func (s *Server) update(change func(*headline)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.run)
	s.tellLocked("run", s.run)
}

// Sample tells of a second. After the last stage it also tells, in words, what is waited for.
func (s *Server) Sample(x report.Sample) {
	waiting := ""
	if x.Waiting > 0 {
		waiting = progress.Waiting(x.Waiting, x.Left)
	}
	x.Total = nil // what is kept shares nothing with the run
	s.mu.Lock()
	defer s.mu.Unlock()
	if name := x.Window.Stage; name != "" {
		if len(s.stages) == 0 || s.stages[len(s.stages)-1].Name != name {
			s.stages = append(s.stages, report.Stage{Name: name, From: x.At - x.Window.Elapsed})
		}
		s.stages[len(s.stages)-1].To = x.At
	}
	s.samples = append(s.samples, x)
	if len(s.samples) > keepSamples {
		h := report.History{Samples: s.samples}
		s.samples = h.Merged(keepSamples / 2)
	}
	s.run.Stage, s.run.At, s.run.Waiting = x.Window.Stage, x.At.Seconds(), waiting
	s.tellLocked("run", s.run)
	s.tellLocked("sample", charts.New([]report.Sample{x}, s.stages))
}

// Event tells of something that happened. Counts that go up are no news.
func (s *Server) Event(e report.Event) {
	if e.Counting() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	s.events = s.events[max(0, len(s.events)-keepEvents):]
	if e.Kind == report.KindTarget {
		s.run.Target = e.Detail
	}
	s.tellLocked("event", e)
}

// tellLocked sends a message to every page that is open; one that cannot keep up is cut off.
func (s *Server) tellLocked(kind string, value any) {
	if len(s.watchers) == 0 {
		return
	}
	b := s.message(kind, value)
	for w := range s.watchers {
		select {
		case w <- b:
		default:
			delete(s.watchers, w)
			close(w)
		}
	}
}

// message is a server-sent event (HTML Living Standard section 9.2).
func (s *Server) message(kind string, value any) []byte {
	b, err := json.Marshal(value)
	if err != nil {
		s.opts.Logger.Error("the live page cannot show something", "kind", kind, "error", err)
		b = []byte("null")
	}
	return append(append(append(append([]byte("event: "), kind...), "\ndata: "...), b...), "\n\n"...)
}

// watch is what there is so far, and what comes.
func (s *Server) watch() (soFar []byte, next chan []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = make(chan []byte, backlog)
	s.watchers[next] = struct{}{}
	return s.message("all", map[string]any{
		"run": s.run, "plan": s.opts.Stages, "events": s.events, "data": charts.New(s.samples, s.stages),
	}), next
}

func (s *Server) forget(w chan []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}
