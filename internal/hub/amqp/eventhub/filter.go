package eventhub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

// Selector is the filter with which a reader says where it begins. Clients describe its value by this name, or by its code.
const (
	Selector     = "apache.org:selector-filter:string"
	selectorCode = 0x0000468C00000004
)

// ErrFilter is matched by errors of filters that the endpoint does not have, com.microsoft:argument-error.
var ErrFilter = errors.New("the filter is not one of the endpoint's")

// From reads the filters of a source: where the reader begins; at the start when there is none. An error matches ErrFilter.
func From(filters amqp.Value) (from eventlog.From, err error) {
	from = eventlog.Start()
	for key, value := range filters.Pairs() {
		if !key.Is(Selector) {
			return from, fmt.Errorf("%w: it has %s alone", ErrFilter, Selector)
		}
		if descriptor, described, ok := value.Describe(); ok {
			code, numeric := descriptor.Uint()
			if !descriptor.Is(Selector) && (!numeric || code != selectorCode) {
				return from, fmt.Errorf("%w: its value is described as something else", ErrFilter)
			}
			value = described
		}
		text, ok := value.Text()
		if !ok {
			return from, fmt.Errorf("%w: its value is a %v where it must be a string", ErrFilter, value.Kind())
		}
		if from, err = parse(text); err != nil {
			return from, err
		}
	}
	return from, nil
}

// parse reads an expression such as amqp.annotation.x-opt-offset > '42'.
func parse(text string) (from eventlog.From, err error) {
	wrong := func(why string) (eventlog.From, error) {
		if len(text) > 200 {
			text = text[:200] + "…"
		}
		return from, fmt.Errorf("%w: %s in %q; write one such as amqp.annotation.x-opt-offset > '-1'", ErrFilter, why, text)
	}
	name, rest, ok := strings.Cut(text, ">")
	if !ok {
		return wrong("no comparison with > or >=")
	}
	rest, inclusive := strings.CutPrefix(rest, "=")
	name, value := strings.TrimSpace(name), strings.TrimSpace(rest)
	if len(value) >= 2 && value[0] == '\'' && value[len(value)-1] == '\'' {
		value = value[1 : len(value)-1]
	}
	annotation, ok := strings.CutPrefix(name, "amqp.annotation.")
	if !ok {
		return wrong("no annotation")
	}
	if annotation == "x-opt-offset" && value == "@latest" {
		return eventlog.End(), nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return wrong("no number")
	}
	switch annotation {
	case "x-opt-offset":
		if n == -1 {
			return eventlog.Start(), nil
		}
		return eventlog.AfterOffset(n, inclusive), nil
	case "x-opt-sequence-number":
		if n == -1 {
			return eventlog.Start(), nil
		}
		return eventlog.AfterSequence(n, inclusive), nil
	case "x-opt-enqueued-time":
		return eventlog.AfterEnqueued(time.UnixMilli(n), inclusive), nil
	}
	return wrong("an annotation that is none of x-opt-offset, x-opt-sequence-number and x-opt-enqueued-time")
}
