package query

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError is a mistake in a query, with its place. It is the only type of error that [Parse] and
// [Condition] return.
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

func errorAt(sql string, offset int, format string, a ...any) *SyntaxError {
	offset = min(offset, len(sql))
	before := sql[:offset]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return &SyntaxError{Line: line, Column: column, Offset: offset, Message: fmt.Sprintf(format, a...)}
}

// hint adds a hint, and returns the error for chaining.
func (e *SyntaxError) hint(format string, a ...any) *SyntaxError {
	e.Hint = fmt.Sprintf(format, a...)
	return e
}

// ErrContinuation is returned for a continuation that another query, another page size, or nobody gave.
var ErrContinuation = errors.New("the continuation token does not belong to this query and page size")

// ErrNotTwins is returned by [Plan.Run] for a query on devices.jobs: [Query.RunJobs] answers those.
var ErrNotTwins = errors.New("a query on devices.jobs is not answered from twins")

// wordHint is what to write instead of a word that other query languages have and this one has not;
// empty for other words.
func wordHint(word string) string {
	switch strings.ToUpper(word) {
	case "ORDER":
		return "the IoT Hub query language has no ORDER BY: rows come in no promised order, sort them where they are used"
	case "LIKE":
		return "the IoT Hub query language has no LIKE: write STARTSWITH(tags.plant, 'Red')"
	case "BETWEEN":
		return "the IoT Hub query language has no BETWEEN: write x >= 1 AND x <= 2"
	case "JOIN", "INNER", "OUTER", "LEFT", "RIGHT", "CROSS":
		return "the IoT Hub query language has no JOIN: a query reads one collection"
	case "DISTINCT":
		return "the IoT Hub query language has no DISTINCT: write GROUP BY"
	case "LIMIT", "FETCH":
		return "the IoT Hub query language has no " + strings.ToUpper(word) + ": write SELECT TOP 10"
	case "OFFSET":
		return "the IoT Hub query language has no OFFSET: further pages come by continuation token"
	case "HAVING":
		return "the IoT Hub query language has no HAVING: filter the groups where they are used"
	case "UNION", "EXCEPT", "INTERSECT":
		return "the IoT Hub query language has no " + strings.ToUpper(word) + ": write one condition with AND and OR"
	case "IS":
		return "the IoT Hub query language has no IS: write IS_DEFINED(tags.plant), or = null for a null that is stored"
	case "NOT":
		return "write NIN ['x', 'y'] for NOT IN, or put NOT before the whole comparison"
	case "VALUE":
		return "the IoT Hub query language has no VALUE: rows are always objects"
	}
	return ""
}
