// Package rows is payloads that stand in a file, one a row, which devices send in turn.
package rows

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/regular"
	"github.com/twinfleet/twinfleet/internal/table"
)

// Bounds of a file of rows: more belongs into a generator than into the memory of one.
const (
	MaxRowsFile = 64 << 20  // bytes of all rows as JSON
	MaxRow      = 256 << 10 // bytes of one row, the most that IoT Hub takes as a message
)

// ErrRows is the class of errors of Read. Their texts begin with file and line.
var ErrRows = errors.New("rows of payloads")

// Rows are payloads from a file, one a row. The n-th message of a device, counted from 0, is row
// (index of the device + n) mod rows: devices go through the same file, each from another place. Rows
// are immutable and safe for concurrent use.
type Rows struct {
	text []byte
	ends []uint32 // of each row in text, which is no longer than MaxRowsFile
	list bool     // some row is no JSON object
	most int      // bytes of text
}

var _ payload.Source = (*Rows)(nil)

// Len is how many rows there are; never 0.
func (r *Rows) Len() int { return len(r.ends) }

// Mean is the bytes of a row on average.
func (r *Rows) Mean() int { return (len(r.text) + len(r.ends) - 1) / len(r.ends) }

// Objects reports whether every row is a JSON object.
func (r *Rows) Objects() bool { return !r.list }

// Row is the n-th row, counted from 0. It must not be changed.
func (r *Rows) Row(n int) []byte {
	start := uint32(0)
	if n > 0 {
		start = r.ends[n-1]
	}
	return r.text[start:r.ends[n]:r.ends[n]]
}

// Longest is the bytes of the longest row.
func (r *Rows) Longest() (most int) {
	for i := range r.ends {
		most = max(most, len(r.Row(i)))
	}
	return most
}

// Append appends the row of the context's device and message.
func (r *Rows) Append(dst []byte, c *payload.Context) []byte {
	return append(dst, r.Row(c.Row(len(r.ends)))...)
}

// Read reads a file. With the ending .csv or .tsv its first line names the members of the objects that its
// other lines become, and shows what separates them: commas, semicolons, tabs or |. True, false and numbers, written
// as JSON writes them, are sent as such, all else as text, and an empty field is left out. With the ending .jsonl or
// .ndjson every line is JSON and is sent as it is. Files are in UTF-8, or in UTF-16 with a byte-order mark. Errors
// match ErrRows, or are about the file.
func Read(file string) (*Rows, error) { return read(file, MaxRowsFile, open) }

// ReadBy is Read for a file that somebody else opens.
func ReadBy(file string, readFile func(file string) ([]byte, error)) (*Rows, error) {
	return read(file, MaxRowsFile, func(file string) (io.ReadCloser, error) {
		b, err := readFile(file)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRows, err)
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	})
}

func read(file string, most int, open func(file string) (io.ReadCloser, error)) (*Rows, error) {
	ending := strings.ToLower(filepath.Ext(file))
	if !slices.Contains([]string{".csv", ".tsv", ".jsonl", ".ndjson"}, ending) {
		return nil, fmt.Errorf("%w: %s: the name ends in none of .csv, .tsv, .jsonl, .ndjson", ErrRows, file)
	}
	text, err := readText(file, 4*most+MaxRow, open)
	if err != nil {
		return nil, err
	}
	r := &Rows{most: most}
	if ending == ".csv" || ending == ".tsv" {
		err = r.readCSV(file, text)
	} else {
		err = r.readLines(file, bytes.NewReader(text))
	}
	if err == nil && len(r.ends) == 0 {
		err = fmt.Errorf("%w: %s: there is no row in it", ErrRows, file)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// open opens a regular file.
func open(file string) (io.ReadCloser, error) {
	f, err := regular.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRows, err)
	}
	return f, nil
}

// readText reads a file of at most so many bytes.
func readText(file string, most int, open func(file string) (io.ReadCloser, error)) ([]byte, error) {
	f, err := open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRows, err)
	}
	if len(b) > most {
		return nil, fmt.Errorf("%w: %s: the file has more than %d bytes, which is all that is read", ErrRows, file, most)
	}
	text, err := table.Text(b)
	var at *table.Error
	if errors.As(err, &at) {
		return nil, fmt.Errorf("%w: %s:%d: %w", ErrRows, file, at.Line, err)
	}
	return text, err
}

// add ends the row that begins at start.
func (r *Rows) add(start int) error {
	switch {
	case len(r.text)-start > MaxRow:
		return fmt.Errorf("the row has %d bytes; a message may have %d", len(r.text)-start, MaxRow)
	case len(r.text) > r.most:
		return fmt.Errorf("the rows up to here have more than %d bytes, which is all that is kept", r.most)
	}
	r.ends = append(r.ends, uint32(len(r.text)))
	return nil
}

func (r *Rows) readLines(file string, in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(nil, MaxRow+2)
	line := 0
	bad := func(err error) error { return fmt.Errorf("%w: %s:%d: %w", ErrRows, file, line, err) }
	for s.Scan() {
		line++
		row := bytes.TrimSpace(s.Bytes())
		if len(row) == 0 {
			continue
		}
		if !json.Valid(row) {
			var v any
			return bad(fmt.Errorf("this is no JSON: %w", json.Unmarshal(row, &v)))
		}
		r.list = r.list || row[0] != '{'
		start := len(r.text)
		r.text = append(r.text, row...)
		if err := r.add(start); err != nil {
			return bad(err)
		}
	}
	line++
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return bad(fmt.Errorf("the line has more than %d bytes", MaxRow))
	}
	if err := s.Err(); err != nil {
		return bad(err)
	}
	return nil
}

// numberPattern is a number as JSON writes it (RFC 8259 section 6).
func numberPattern() *regexp.Regexp {
	return regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
}

// decimalComma is a number as German or French programs write it, beside other separators than commas.
func decimalComma() *regexp.Regexp { return regexp.MustCompile(`^-?[0-9]+,[0-9]+$`) }

func (r *Rows) readCSV(file string, text []byte) error {
	separator, text, err := table.Separator(text)
	if err != nil {
		return fmt.Errorf("%w: %s:1: %w", ErrRows, file, err)
	}
	c := table.Reader(text, separator)
	c.ReuseRecord = true
	line := 1
	bad := func(err error) error {
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			line, err = parse.Line, parse.Err
		}
		if errors.Is(err, csv.ErrFieldCount) {
			err = fmt.Errorf("the line does not have the %d fields of the first", c.FieldsPerRecord)
		}
		return fmt.Errorf("%w: %s:%d: %w", ErrRows, file, line, err)
	}
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return bad(errors.New("the file is empty; its first line names the members"))
	}
	if err != nil {
		return bad(err)
	}
	names, err := memberNames(header)
	if err != nil {
		return bad(err)
	}
	number, comma := numberPattern(), decimalComma()
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bad(err)
		}
		line, _ = c.FieldPos(0)
		start := len(r.text)
		r.text = append(r.text, '{')
		for i, field := range record {
			if field == "" {
				continue
			}
			if len(r.text) > start+1 {
				r.text = append(r.text, ',')
			}
			if separator != ',' && comma.MatchString(field) {
				return bad(fmt.Errorf("%s is a number with a comma, which would be sent as text; write %s", field, strings.Replace(field, ",", ".", 1)))
			}
			r.text = append(append(r.text, names[i]...), ':')
			if plain := strings.TrimSpace(field); plain == "true" || plain == "false" || number.MatchString(plain) {
				r.text = append(r.text, plain...)
				continue
			}
			quoted, _ := json.Marshal(field) // strings are always encoded
			r.text = append(r.text, quoted...)
		}
		r.text = append(r.text, '}')
		if err := r.add(start); err != nil {
			return bad(err)
		}
	}
}

// memberNames are the names of a header, quoted.
func memberNames(header []string) ([]string, error) {
	names, seen := make([]string, len(header)), make(map[string]bool)
	for i, name := range header {
		name = strings.TrimSpace(name)
		if name == "" || seen[name] {
			return nil, fmt.Errorf("column %d: the name %q is empty or there twice", i+1, name)
		}
		seen[name] = true
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		names[i] = string(quoted)
	}
	return names, nil
}
