package main

import (
	"fmt"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/raw"
)

// rawOutput is the file that takes every operation of a run; file is nil when none was asked for.
type rawOutput struct {
	name string
	file *raw.File
}

// openRaw begins the file of a name; none has none.
func openRaw(name string) (*rawOutput, error) {
	if name == "" {
		return &rawOutput{}, nil
	}
	f, err := raw.Create(name)
	if err != nil {
		return nil, usagef("--raw: %w", err)
	}
	return &rawOutput{name, f}, nil
}

// tap is what the Recorder tells operations to; nil for nobody.
func (r *rawOutput) tap() func(metrics.Ended) {
	if r.file == nil {
		return nil
	}
	return r.file.Tap
}

// watching is who watches the run for it.
func (r *rawOutput) watching() []report.Observer {
	if r.file == nil {
		return nil
	}
	return []report.Observer{r.file}
}

// abandon ends a file whose run never began.
func (r *rawOutput) abandon() {
	if r.file != nil {
		_ = r.file.Close() // what went wrong after the run has been said in its record
	}
}

// say tells where the operations are.
func (r *rawOutput) say(e env, s settings) {
	if r.file != nil && !s.v.GetBool("quiet") && !s.v.GetBool("json") {
		fmt.Fprintf(e.stderr, "raw output: %s in %s\n", human.Number(int(r.file.Written()), "operation"), clean.Text(r.name))
	}
}
