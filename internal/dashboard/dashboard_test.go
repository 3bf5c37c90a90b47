package dashboard

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/dashboard/tables"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/charts"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buttons notes what was pressed.
type buttons struct {
	refuses error // what a change of the load ends with

	mu      sync.Mutex
	pressed []string
}

func (b *buttons) press(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pressed = append(b.pressed, what)
}

func (b *buttons) Pause(paused bool) {
	if paused {
		b.press("pause")
	} else {
		b.press("resume")
	}
}
func (b *buttons) Next() { b.press("next") }
func (b *buttons) Stop() { b.press("stop") }

func (b *buttons) Change(c report.LoadChange) error {
	b.press("change " + c.String())
	return b.refuses
}

// stream reads the page's stream.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	r    *bufio.Reader
}

func open(t *testing.T, url string) *stream {
	t.Helper()
	resp, err := http.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("the stream is %s", got)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &stream{t, resp.Body, bufio.NewReader(resp.Body)}
}

// next reads one message into a value and returns its kind.
func (s *stream) next(into any) string {
	s.t.Helper()
	kind := ""
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if k, ok := strings.CutPrefix(line, "event: "); ok {
			kind = strings.TrimSpace(k)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), into); err != nil {
				s.t.Fatalf("%s: %v", kind, err)
			}
			return kind
		}
	}
}

func serve(t *testing.T, s *Server) string {
	t.Helper()
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

// A page that comes late gets what there was, and then what comes, in order.
func TestStream(t *testing.T) {
	h := reporttest.Example(6)
	s := New(Options{Controls: &buttons{}, Stages: []Stage{{"ramp", 3}, {"hold", 3}}})
	url := serve(t, s)
	s.Begin(h.Run)
	s.Event(h.Events[0])
	samples := reporttest.Live(h)
	for _, x := range samples[:4] {
		s.Sample(x)
	}
	page := open(t, url)
	var all struct {
		Run    headline
		Plan   []Stage
		Events []report.Event
		Data   charts.Data
	}
	if kind := page.next(&all); kind != "all" || len(all.Data.Times) != 4 || len(all.Events) != 1 || len(all.Plan) != 2 || all.Run.Name != "example" ||
		all.Run.Stage != "hold" {
		t.Errorf("%s: %+v", kind, all)
	}
	s.Sample(samples[4])
	var run headline
	if kind := page.next(&run); kind != "run" || run.At != 5 {
		t.Errorf("%s: %+v", kind, run)
	}
	var now tables.Tables
	if kind := page.next(&now); kind != "tables" || len(now.Operations) == 0 || len(now.Stages) != 2 {
		t.Errorf("%s: %+v", kind, now)
	}
	var more charts.Data
	if kind := page.next(&more); kind != "sample" || len(more.Times) != 1 || more.Times[0] != 5 || len(more.Stages) != 2 {
		t.Errorf("%s: %+v", kind, more)
	}
	s.End(h.Run)
	if kind := page.next(&now); kind != "tables" || now.Answer.Verdict != "missed" || len(now.Thresholds) != 2 {
		t.Errorf("%s: %+v", kind, now)
	}
	if kind := page.next(&run); kind != "run" || run.Outcome != report.Missed || !run.Report {
		t.Errorf("%s: %+v", kind, run)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(page.r); err != nil {
		t.Errorf("the stream did not end whole: %v", err)
	}
}

// What is kept does not grow with the run.
func TestLongRun(t *testing.T) {
	h := reporttest.Example(50)
	s := New(Options{Controls: &buttons{}})
	for n := range 100 {
		for _, x := range h.Samples {
			x.At += time.Duration(n) * 50 * time.Second
			s.Sample(x)
			s.Event(report.Event{})
		}
	}
	if len(s.samples) > keepSamples || len(s.events) > keepEvents {
		t.Errorf("%d samples and %d events are kept", len(s.samples), len(s.events))
	}
}

// A page that does not read is cut off, and nobody waits for it.
func TestSlowPage(t *testing.T) {
	h := reporttest.Example(2)
	s := New(Options{Controls: &buttons{}})
	_, next := s.watch()
	for range backlog + 1 {
		s.Sample(h.Samples[0])
	}
	for range next { // ends only when it was closed
	}
	s.forget(next)
}

func TestButtons(t *testing.T) {
	b := &buttons{}
	s := New(Options{Controls: b})
	url := serve(t, s)
	for _, tt := range []struct {
		name, action, token string
		header              map[string]string
		want                int
		pressed             string
	}{
		{"pause", "pause", s.token, nil, 204, "pause"},
		{"resume", "resume", s.token, map[string]string{"Origin": url, "Sec-Fetch-Site": "same-origin"}, 204, "resume"},
		{"next stage", "next", s.token, nil, 204, "next"},
		{"stop", "stop", s.token, nil, 204, "stop"},
		{"no token", "stop", "", nil, 401, ""},
		{"a wrong token", "stop", s.token + "x", nil, 401, ""},
		{"from another page", "stop", s.token, map[string]string{"Origin": "http://evil.example"}, 403, ""},
		{"from another site", "stop", s.token, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, ""},
		{"no such button", "explode", s.token, nil, 404, ""},
	} {
		b.pressed = nil
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/do/"+tt.action, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.token != "" {
			req.Header.Set("Authorization", "Bearer "+tt.token)
		}
		for k, v := range tt.header {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want || strings.Join(b.pressed, " ") != tt.pressed {
			t.Errorf("%s: status %d, pressed %v; want %d, %q", tt.name, resp.StatusCode, b.pressed, tt.want, tt.pressed)
		}
	}
	if resp, err := http.Get(url + "/do/stop"); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a button was pressed by looking: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
}

// The page and its parts are there, and only for those who ask this machine by its address.
func TestPages(t *testing.T) {
	s := New(Options{Controls: &buttons{}})
	url := serve(t, s)
	kinds := map[string]string{".html": "text/html", ".js": "javascript", ".css": "text/css"}
	for _, name := range append([]string{""}, Files()...) {
		path, kind := "/"+name, kinds[cmp.Or(filepath.Ext(name), ".html")]
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Content-Type"), kind) || len(body) < 500 ||
			!strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v, %d bytes", path, resp.StatusCode, resp.Header, len(body))
		}
		if strings.Contains(string(body), s.token) {
			t.Errorf("%s holds the token", path)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("asked by another name: %d", resp.StatusCode)
	}
}

func TestStart(t *testing.T) {
	s := New(Options{Controls: &buttons{}})
	url, err := s.Start(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(url, "/#"+s.token) {
		t.Errorf("the address is %s", url)
	}
	page := open(t, strings.SplitN(url, "/#", 2)[0])
	var all json.RawMessage
	page.next(&all)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	page.body.Close()
	http.DefaultClient.CloseIdleConnections()
	if _, err := New(Options{Controls: &buttons{}}).Start(context.Background(), "127.0.0.1:1:2"); err == nil {
		t.Error("a wrong address was taken")
	}
}

// A stage that is over before anything is sampled is there all the same, and a sample of the one before comes late.
func TestStages(t *testing.T) {
	h := reporttest.Example(4)
	s := New(Options{Controls: &buttons{}})
	began := func(name string, at time.Duration) {
		s.Event(report.Event{Kind: report.KindStage, Text: name, At: at})
	}
	began("ramp", 0)
	began("steps", 900*time.Millisecond)
	s.Sample(reporttest.Live(h)[0]) // of ramp, at 1 s
	began("hold", 1100*time.Millisecond)
	s.Sample(reporttest.Live(h)[3]) // of hold, at 4 s
	want := []report.Stage{
		{Name: "ramp", To: time.Second},
		{Name: "steps", From: 900 * time.Millisecond, To: 1100 * time.Millisecond},
		{Name: "hold", From: 1100 * time.Millisecond, To: 4 * time.Second},
	}
	if !slices.Equal(s.stages, want) {
		t.Errorf("%+v; want %+v", s.stages, want)
	}
}
