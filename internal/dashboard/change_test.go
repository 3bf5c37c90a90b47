package dashboard

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// post asks for a change as the page does, but for what a test spoils.
func post(t *testing.T, url, token, kind, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/do/change", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// The load is changed by a small, strict document from whoever has the token; what cannot be is answered in words.
func TestChangingTheLoad(t *testing.T) {
	const kind = "application/json"
	b := &buttons{}
	s := New(Options{Controls: b})
	url := serve(t, s)
	if err := s.Begin(reporttest.Example(2).Run); err != nil { // of 3,000 devices
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, token, kind, body string
		refuses                 error
		code                    int
		want                    string // in the answer, or what was pressed
	}{
		{"devices", s.token, kind, `{"devices": 200}`, nil, 204, "change to 200 devices"},
		{"all", s.token, kind, `{"devices": 0, "report_rate": 2.5, "telemetry_rate": 0}`, nil, 204, "change to 0 devices, reports at 2.50/s, telemetry at 0.00/s"},
		{"with a charset", s.token, kind + "; charset=utf-8", `{"devices": 1}`, nil, 204, "change to 1 device"},
		{"the engine will not", s.token, kind, `{"devices": 5}`, errors.New("no stage runs"), 409, "no stage runs"},
		{"nothing", s.token, kind, `{}`, nil, 400, "nothing is to be changed"},
		{"null", s.token, kind, `null`, nil, 400, "nothing is to be changed"},
		{"too many devices", s.token, kind, `{"devices": 3001}`, nil, 400, "from 0 to the scenario's 3000"},
		{"a rate below 0", s.token, kind, `{"report_rate": -1}`, nil, 400, "report_rate is -1"},
		{"half a device", s.token, kind, `{"devices": 1.5}`, nil, 400, "cannot be read"},
		{"an unknown field", s.token, kind, `{"device": 1}`, nil, 400, `unknown field "device"`},
		{"no document", s.token, kind, ``, nil, 400, "cannot be read"},
		{"two documents", s.token, kind, `{"devices": 1} {"devices": 2}`, nil, 400, "something follows it"},
		{"too large", s.token, kind, `{"devices": 1` + strings.Repeat(" ", maxChange) + `}`, nil, 413, "at most 4096 bytes"},
		{"a form of another page", s.token, "text/plain", `{"devices": 1}`, nil, 415, "application/json"},
		{"a wrong token", "x", kind, `{"devices": 1}`, nil, 401, "token"},
	} {
		b.pressed, b.refuses = nil, tt.refuses
		code, text := post(t, url, tt.token, tt.kind, tt.body)
		if code == 204 {
			text = strings.Join(b.pressed, " ")
		} else if len(b.pressed) > 0 && tt.refuses == nil {
			t.Errorf("%s: was done: %v", tt.name, b.pressed)
		}
		if code != tt.code || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %q; want %d, %q", tt.name, code, text, tt.code, tt.want)
		}
	}
	if err := s.End(reporttest.Example(2).Run); err != nil {
		t.Fatal(err)
	}
	if code, text := post(t, url, s.token, kind, `{"devices": 1}`); code != 409 || text != "the run is over" {
		t.Errorf("after the end: %d %q", code, text)
	}
}

// The report is there when the run is over, as a page of its own that reaches nothing else; a page that is open takes it before the
// program goes, and one that is not there is not waited for.
func TestReportOfAFinishedRun(t *testing.T) {
	h := reporttest.Example(4)
	s := New(Options{Controls: &buttons{}, Scenario: []byte("name: example # as it ran")})
	url := serve(t, s)
	if err := s.Begin(h.Run); err != nil {
		t.Fatal(err)
	}
	for _, x := range reporttest.Live(h) {
		s.Sample(x)
	}
	get := func() (*http.Response, string) {
		resp, err := http.Get(url + "/report.html")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	if resp, _ := get(); resp.StatusCode != http.StatusNotFound {
		t.Errorf("while it runs: %s", resp.Status)
	}
	_, next := s.watch()
	defer s.forget(next)
	if err := s.End(h.Run); err != nil {
		t.Fatal(err)
	}
	if !s.expected() {
		t.Error("nobody is waited for, though a page is open")
	}
	resp, body := get()
	if policy := resp.Header.Get("Content-Security-Policy"); resp.StatusCode != 200 || !strings.Contains(body, "as it ran") || !strings.Contains(body, "badge missed") ||
		!strings.HasPrefix(policy, "sandbox allow-scripts; default-src 'none'; ") {
		t.Errorf("%s, %q: %d bytes", resp.Status, policy, len(body))
	}
	if s.expected() {
		t.Error("a page is waited for that has the report")
	}
	get() // once more is no harm
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A page that is open and never asks for the report holds the program up for no longer than a moment.
func TestNobodyTakesTheReport(t *testing.T) {
	s := New(Options{Controls: &buttons{}})
	_, next := s.watch()
	defer s.forget(next)
	if err := s.End(reporttest.Example(2).Run); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < goodbye {
		t.Errorf("it closed after %v", took)
	}
}

// The small charts of thresholds keep the whole run, and a bounded number of values.
func TestCourse(t *testing.T) {
	var c course
	states := reporttest.Live(reporttest.Example(6))[5].Standing.Thresholds
	for n := range 10 * keepCourse {
		c.add(time.Duration(n)*time.Second, states)
	}
	n := len(c.Times)
	if n > keepCourse || n < keepCourse/2 || len(c.Values) != 2 || len(c.Values[0]) != n || len(c.Values[1]) != n {
		t.Fatalf("%d times, %d values", n, len(c.Values[0]))
	}
	if c.Times[0] > 60 || c.Times[n-1] != 10*keepCourse-1 {
		t.Errorf("it goes from %v to %v", c.Times[0], c.Times[n-1])
	}
	if c.Values[0][n-1] == nil || *c.Values[0][n-1] != *states[0].Value {
		t.Error("the last value is not there")
	}
}

// What was done by hand is on the page whoever did it, here or on the terminal.
func TestByHand(t *testing.T) {
	s := New(Options{Controls: &buttons{}})
	for _, x := range []struct {
		event  report.Event
		paused bool
		byHand string
	}{
		{report.Event{Kind: report.KindWarning, Text: "the hub is slow"}, false, ""},
		{report.Event{Kind: report.KindPaused, Text: "the load was paused by hand"}, true, "the load was paused by hand"},
		{report.Event{Kind: report.KindResumed, Text: "the load goes on"}, false, "the load was paused by hand"},
		{report.Event{Kind: report.KindChanged, Text: "the load was changed by hand", Detail: "to 1 device"}, false, "the load was changed by hand: to 1 device"},
		{report.Event{Kind: report.KindChanged, Text: "stage hold was ended early by hand"}, false, "stage hold was ended early by hand"},
	} {
		if s.Event(x.event); s.run.Paused != x.paused || s.run.ByHand != x.byHand {
			t.Errorf("after %q: paused %v, %q", x.event.Text, s.run.Paused, s.run.ByHand)
		}
	}
}
