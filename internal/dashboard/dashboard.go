// Package dashboard is the live page of a run: it shows how the run stands and its figures as they come, once a second, lets whoever has
// its token pause, resume, change and stop the run, and stays as its report when it is over.
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

	"github.com/twinfleet/twinfleet/internal/dashboard/tables"
	"github.com/twinfleet/twinfleet/internal/httpserve"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/charts"
)

// Controls are what the page's buttons do. All may be called at any time, more than once.
type Controls interface {
	Pause(paused bool) // stops what devices do on their schedules, or lets it go on
	Next()             // ends the stage that runs
	Stop()             // ends the run politely
	// Change changes the load of the stage that runs. Its error says why it cannot be, for people.
	Change(c report.LoadChange) error
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
	// Thresholds are those of the scenario, in its order; without them the page knows no bounds.
	Thresholds []threshold.Threshold
	// Recorder takes the run's operations: it tells the stages apart and knows the generator's figures. Nil shows neither before the end.
	Recorder *metrics.Recorder
	Probe    string // name of the queries with which the run watches itself: they are no headline; empty for none
	Scenario []byte // the file, without secrets, for the report
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
	last     report.Sample         // with its Total; the zero value before the first
	devices  []metrics.DeviceCount // of the last sample in which a stage ran
	figures  []metrics.Figure      // that are registered with the Recorder, at the last sample
	peaks    map[string]float64    // of the generator
	course   course
	final    *tables.Tables // nil while the run goes on
	page     []byte         // the report; nil while the run goes on
	waited   int            // pages that were open when the run ended and have not asked for the report
	taken    chan struct{}  // closed when none of these is left
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
	ByHand      string         `json:"by_hand"` // what was last done to the load by hand; empty when nothing was
	Probe       string         `json:"probe"`   // see Options
	Report      bool           `json:"report"`  // there is a report to ask for
}

const (
	keepSamples = 1200 // then neighbours are merged, so that a long run takes no more memory
	keepEvents  = 200
	backlog     = 32 // messages that a slow page may be behind before it is cut off; it reconnects
)

// New makes a Server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		opts: o, token: rand.Text(), done: make(chan struct{}), watchers: make(map[chan []byte]struct{}), peaks: make(map[string]float64),
		taken: make(chan struct{}), run: headline{Probe: o.Probe},
	}
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

// goodbye is how long Close waits for pages that are open to take the report with them.
const goodbye = time.Second

// Close ends the page; pages that are open take the report, and are let go first.
func (s *Server) Close() error {
	if s.expected() {
		timer := time.NewTimer(goodbye)
		defer timer.Stop()
		select {
		case <-s.taken:
		case <-timer.C:
		}
	}
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
		"run": s.run, "plan": s.opts.Stages, "events": s.events, "data": charts.New(s.samples, s.stages), "tables": s.tablesLocked(), "course": s.course,
	}), next
}

func (s *Server) forget(w chan []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}
