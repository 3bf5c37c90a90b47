package scan

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError is a mistake in a query, with its place. It is the only type of error that the parser returns.
type SyntaxError struct {
	Line, Column int    // From 1; columns count characters, a tab is one.
	Offset       int    // Bytes from the start of the query.
	Message      string // What is wrong, and what was expected.
	Hint         string // What would be right, where that can be guessed; else empty.
}

// Error says the place, the mistake and the hint, in one line.
func (e *SyntaxError) Error() string {
	if e.Hint == "" {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
	}
	return fmt.Sprintf("line %d, column %d: %s; %s", e.Line, e.Column, e.Message, e.Hint)
}

// ErrorAt is a mistake at a place of a query, in bytes.
func ErrorAt(sql string, offset int, format string, a ...any) *SyntaxError {
	offset = min(offset, len(sql))
	before := sql[:offset]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return &SyntaxError{Line: line, Column: column, Offset: offset, Message: fmt.Sprintf(format, a...)}
}

// WithHint adds a hint, and returns the error for chaining.
func (e *SyntaxError) WithHint(format string, a ...any) *SyntaxError {
	e.Hint = fmt.Sprintf(format, a...)
	return e
}
