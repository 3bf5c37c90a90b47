package main

import (
	"fmt"
	"os"
	"strconv"

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

// rawName is the file of a run that is taken over: the one that was asked for has what the process wrote that is gone, so that this one has a file
// beside it.
func rawName(name string, takenOver bool) string {
	if name == "" || !takenOver || !isThere(name) {
		return name
	}
	for i := 1; ; i++ {
		part := "resumed"
		if i > 1 {
			part += "-" + strconv.Itoa(i)
		}
		if other := raw.Beside(name, part); !isThere(other) {
			return other
		}
	}
}

// isThere reports whether a file is there for certain: where nothing can be looked at nothing can be made either, and who tries says why.
func isThere(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
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

// whole ends the file of a process that has no record; the error is that something is not in it.
func (r *rawOutput) whole() error {
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("the raw output is not whole: after %s: %w", human.Number(int(r.file.Written()), "operation"), err)
	}
	if n := r.file.Lost(); n > 0 {
		return fmt.Errorf("the raw output is not whole: %s came faster than they could be written", human.Number(int(n), "operation"))
	}
	return nil
}

// kept is what an agent asks at the end of a run, for its record: whether all is kept. After the last run the file ends with that, which may fail
// too. It is nil when there is no file.
func (r *rawOutput) kept(last bool) func() (note string, err error) {
	if r.file == nil {
		return nil
	}
	return func() (string, error) {
		if last {
			_ = r.file.Close() // Whole says it
		}
		return r.file.Whole()
	}
}

// say tells where the operations are.
func (r *rawOutput) say(e env, s settings) {
	if r.file == nil || s.v.GetBool("quiet") || s.v.GetBool("json") {
		return
	}
	n := human.Number(int(r.file.Written()), "operation")
	switch agents := s.v.GetInt("agents"); {
	case agents == 0:
		fmt.Fprintf(e.stderr, "raw output: %s in %s\n", n, clean.Text(r.name))
	case len(s.v.GetStringSlice("nats")) > 0:
		fmt.Fprintf(e.stderr, "raw output: %s of this process in %s; those of devices are with agents that were started with --raw\n", n, clean.Text(r.name))
	default:
		fmt.Fprintf(e.stderr, "raw output: %s of this process in %s, those of devices in %s and so on, a file each agent\n", n, clean.Text(r.name),
			clean.Text(raw.Beside(r.name, localAgent(0))))
	}
}
