package main

import (
	"errors"
	"fmt"
)

// Exit codes, the same for every command. An orchestrator must not retry on codeSaturated and codeThreshold.
const (
	codeOK          = 0   // passed
	codeFailed      = 1   // the run failed
	codeUsage       = 2   // the scenario or the usage is wrong
	codeCannotTell  = 97  // a comparison, or a capacity, cannot be told
	codeSaturated   = 98  // the generator was the bottleneck
	codeThreshold   = 99  // a threshold was missed or had no data
	codeInterrupted = 130 // stopped by a signal
)

var errInterrupted = errors.New("interrupted")

// exitError carries the exit code that an error stands for.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func withCode(code int, err error) error {
	if err == nil || (code == codeOK && errors.Is(err, errSilent)) {
		return nil
	}
	return &exitError{code: code, err: err}
}

func usagef(format string, a ...any) error { return withCode(codeUsage, fmt.Errorf(format, a...)) }

// codeOf finds the exit code of an error; one that carries none failed the run.
func codeOf(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return codeOK
	case errors.As(err, &e):
		return e.code
	default:
		return codeFailed
	}
}
