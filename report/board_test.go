package report_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// A report links to the board at the times of its run.
func ExampleRun_Board() {
	began := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	r := report.Run{Grafana: "https://metrics.example/grafana/", Started: began, Ended: began.Add(time.Minute)}
	fmt.Println(r.Board())
	// Output: https://metrics.example/grafana/d/twinfleet-overview?from=1795607970000&to=1795608090000
}

// The board that is linked to is one of ours.
func TestBoardIsThere(t *testing.T) {
	b, err := os.ReadFile("../grafana/dashboards/fleet-overview.json")
	if err != nil || !strings.Contains(string(b), `"uid": "twinfleet-overview"`) {
		t.Errorf("the first board has another uid (%v)", err)
	}
}

// An address is kept in records and shown to all who read reports: what is no address, or holds a password, is refused.
func TestCheckGrafana(t *testing.T) {
	for address, want := range map[string]string{
		"": "", "http://127.0.0.1:3000": "", "https://host/grafana": "",
		"host:3000": "write http://", "javascript:alert(1)": "write http://", "http://": "write http://", "ftp://host": "write http://",
		"http://me:secret@host": "without name and password", "http://h/?orgId=1": "without what follows ?", "http://h:x%": "cannot be read",
	} {
		err := report.CheckGrafana(address)
		if (want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %v; want %q", address, err, want)
		}
		r := report.Run{Grafana: address}
		if got := r.Board(); (got != "") != (err == nil && address != "") {
			t.Errorf("%q links to %q", address, got)
		}
	}
}
