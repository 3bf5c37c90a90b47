// Package files makes the reports of a run as files in the folder of its record.
package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/html"
	"github.com/twinfleet/twinfleet/report/junit"
	"github.com/twinfleet/twinfleet/report/markdown"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/report/summary"
)

// The reports of a run.
const (
	HTML     = "report.html"  // for people
	JSON     = "summary.json" // for programs
	JUnit    = "junit.xml"    // for continuous integration
	Markdown = "report.md"    // for a comment on a pull request
)

// Write reads the record in a folder and writes every report beside it. A report is there whole or not at all; those
// that can be written are, also when another cannot.
func Write(dir string) (*report.History, error) { return WriteWith(dir, Options{}) }

// Options of WriteWith. The zero value is what Write does.
type Options struct {
	Percentiles account.Percentiles // that tables show; none for the default of each report
	Grafana     string              // takes the place of the one that the record names; empty for that one
}

// WriteWith is Write with choices of one's own.
func WriteWith(dir string, o Options) (*report.History, error) {
	h, err := record.Read(dir)
	if err != nil {
		return nil, err
	}
	if o.Grafana != "" {
		h.Run.Grafana = o.Grafana
	}
	scenario, err := record.Scenario(dir)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, r := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{HTML, func(w io.Writer) error { return html.WriteWith(w, h, []byte(scenario), o.Percentiles) }},
		{JSON, func(w io.Writer) error { return summary.Write(w, h.Run) }},
		{JUnit, func(w io.Writer) error { return junit.Write(w, h.Run) }},
		{Markdown, func(w io.Writer) error { return markdown.WriteWith(w, h.Run, o.Percentiles) }},
	} {
		if err := Whole(filepath.Join(dir, r.name), r.write); err != nil {
			errs = append(errs, fmt.Errorf("writing %s: %w", r.name, err))
		}
	}
	return h, errors.Join(errs...)
}

// Existing are those of the reports that are in a folder: what may be named to a reader.
func Existing(dir string) []string {
	var names []string
	for _, name := range []string{HTML, JSON, JUnit, Markdown} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	return names
}

// Whole writes a file beside its place and moves it there. Its owner alone may read it.
func Whole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	b := bufio.NewWriter(f)
	if err := errors.Join(write(b), b.Flush(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
