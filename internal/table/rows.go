package table

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
)

// MostErrors is how many lines Rows complains about before it gives up.
const MostErrors = 5

// Rows is how a file of rows is read: JSON lines when it begins with a brace, and else CSV. What JSON and Row return is wrong with a line; the next one
// is read all the same, but after Useless.
type Rows struct {
	Class error                                  // of all errors
	JSON  func(line int, text []byte) error      // takes a line of JSON, without white space around it
	CSV   func(text []byte) (*csv.Reader, error) // reads a file that is not JSON lines
	Row   func(line int, fields []string) error  // takes a line of it
}

// useless is what is wrong with a line without which the others mean nothing.
type useless struct{ error }

func (u useless) Unwrap() error { return u.error }

// Useless is an error after which no further line is read, such as that of a header.
func Useless(err error) error { return useless{err} }

// Read reads a file in UTF-8, or in UTF-16 with a byte-order mark. Errors match Class, name their lines, and are joined, one a line.
func (r *Rows) Read(b []byte) error {
	var errs []error
	note := func(line int, err error) (goOn bool) {
		if err == nil {
			return true
		}
		errs = append(errs, fmt.Errorf("%w: line %d: %w", r.Class, line, err))
		return len(errs) < MostErrors && !errors.As(err, new(useless))
	}
	text, err := Text(b)
	var at *Error
	switch trimmed := bytes.TrimSpace(text); {
	case errors.As(err, &at):
		note(at.Line, err)
	case len(trimmed) > 0 && trimmed[0] == '{':
		r.lines(text, note)
	default:
		r.records(text, note)
	}
	return errors.Join(errs...)
}

func (r *Rows) lines(b []byte, note func(int, error) bool) {
	line := 0
	for text := range bytes.Lines(b) {
		line++
		if text = bytes.TrimSpace(text); len(text) > 0 && !note(line, r.JSON(line, text)) {
			return
		}
	}
}

func (r *Rows) records(b []byte, note func(int, error) bool) {
	in, err := r.CSV(b)
	if err != nil {
		note(1, err)
		return
	}
	for {
		fields, err := in.Read()
		var syntax *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &syntax):
			note(syntax.Line, syntax.Err)
			return
		case err != nil:
			note(1, err)
			return
		}
		if line, _ := in.FieldPos(0); !note(line, r.Row(line, fields)) {
			return
		}
	}
}
