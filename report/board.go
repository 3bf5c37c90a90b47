package report

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// overviewBoard is the uid of the board that tells how a run stands, as grafana/ has it.
const overviewBoard = "twinfleet-overview"

// boardMargin is what a board shows before a run and after it: the last scrape comes after the end.
const boardMargin = 30 * time.Second

// ErrGrafana is the class of errors of CheckGrafana.
var ErrGrafana = errors.New("address of Grafana")

// CheckGrafana says what is wrong with the address of a Grafana that reports are to link to; nil when nothing is, or when it is empty.
func CheckGrafana(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("%w: it cannot be read; write http://host:3000", ErrGrafana) // the text may hold a password
	case u.User != nil:
		return fmt.Errorf("%w: it is kept in the record and shown in reports; write it without name and password", ErrGrafana)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%w %q: write http://host:3000 or https://host/grafana", ErrGrafana, address)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%w: write it without what follows ? or #, to which the link has its own", ErrGrafana)
	}
	return nil
}

// Board is the address of the first board of twinfleet in the run's Grafana, at the run's own times; "" without one.
func (r *Run) Board() string {
	if r.Grafana == "" || CheckGrafana(r.Grafana) != nil {
		return ""
	}
	u, err := url.Parse(r.Grafana)
	if err != nil {
		return ""
	}
	u = u.JoinPath("d", overviewBoard)
	ms := func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
	q := url.Values{"from": {ms(r.Started.Add(-boardMargin))}, "to": {ms(r.Ended.Add(boardMargin))}}
	u.RawQuery = q.Encode()
	return u.String()
}
