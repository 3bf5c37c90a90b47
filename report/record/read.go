package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/twinfleet/twinfleet/internal/regular"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
)

// Errors of Read.
var (
	// ErrNoRecord is returned for a folder that holds no record, or one without a beginning.
	ErrNoRecord = errors.New("no record of a run")
	// ErrVersion is returned for a record that a newer version wrote.
	ErrVersion = errors.New("the record was written by a newer version")
)

// maxLine bounds a line; a sample of a large scenario takes some 100 KB.
const maxLine = 64 << 20

// Read reads the record in a folder. One that ends early is completed from what it has.
func Read(dir string) (*report.History, error) {
	f, err := regular.Open(filepath.Join(dir, File))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w; give the folder that a run printed", dir, ErrNoRecord)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the record: %w", err)
	}
	defer f.Close()
	h, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return h, nil
}

func read(r io.Reader) (*report.History, error) {
	h := &report.History{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			if lines.Scan() {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			break // the last line was cut when the program was killed
		}
		if h.Run == nil && (l.Type != "start" || l.Run == nil) {
			return nil, ErrNoRecord
		}
		switch {
		case l.Type == "start" && l.Version > Version:
			return nil, fmt.Errorf("%w: format %d, this version reads %d", ErrVersion, l.Version, Version)
		case l.Type == "start" && l.Run != nil:
			h.Run = l.Run
		case l.Type == "known" && l.Run != nil:
			h.Run = l.Run
		case l.Type == "sample" && l.Sample != nil && l.Sample.Window != nil:
			h.Samples = append(h.Samples, *l.Sample)
		case l.Type == "event" && l.Event != nil:
			h.Events = append(h.Events, *l.Event)
		case l.Type == "end" && l.Run != nil:
			h.Run, h.Whole = l.Run, true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if h.Run == nil {
		return nil, ErrNoRecord
	}
	if h.Run.Target == "" {
		h.Run.Target = target(h.Events) // a record's beginning is written before its target is opened
	}
	h.Complete()
	clean.All(h) // anybody may have written it
	return h, nil
}

// target is what a run told of what it loads.
func target(events []report.Event) string {
	for _, e := range events {
		if e.Kind == report.KindTarget {
			return e.Detail
		}
	}
	return ""
}

// maxScenario bounds the scenario of a record, in bytes: as it ran it is written anew, which takes more than the 4 MiB that its file may have.
const maxScenario = 64 << 20

// Scenario is the scenario of the record in a folder, as it ran; empty when it was not kept.
func Scenario(dir string) (string, error) {
	b, err := regular.Read(filepath.Join(dir, ScenarioFile), maxScenario)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the scenario of the record: %w", err)
	}
	return string(b), nil
}
