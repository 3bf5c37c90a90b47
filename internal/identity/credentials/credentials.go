// Package credentials reads files of what the devices of a broker prove themselves with: a row for each of them.
package credentials

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/language/topic"
	"github.com/twinfleet/twinfleet/internal/table"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// ErrFile is the class of errors of Parse. Their texts name the line and never hold what a device proves itself with.
var ErrFile = errors.New("file of credentials")

// mostErrors is how many lines Parse complains about before it gives up.
const mostErrors = 5

// longest is how many bytes MQTT takes of each of these texts (MQTT 3.1.1 section 1.5.3).
const longest = 65535

// Row is what the file says of one device. What it does not say, or leaves empty, is empty.
type Row struct {
	Line                         int // in the file, from 1
	ClientID, Username, Password string
	Certificate, Key             string // files, as they are written
	KeyPassword                  string // of an encrypted key
}

// names are those of the columns.
var names = []string{"client_id", "username", "password", "certificate", "key", "key_password"}

// field is the one of a column.
func (r *Row) field(column int) *string {
	return []*string{&r.ClientID, &r.Username, &r.Password, &r.Certificate, &r.Key, &r.KeyPassword}[column]
}

// columnOf finds a column by its name, however it is written; -1 for another.
func columnOf(name string) int {
	plain := strings.NewReplacer("_", "", "-", "", " ", "")
	return slices.IndexFunc(names, func(x string) bool {
		return strings.EqualFold(plain.Replace(x), plain.Replace(strings.TrimSpace(name)))
	})
}

// Parse reads a file of credentials: CSV with a header that names some of the columns client_id, username, password, certificate, key and
// key_password, separated by commas, semicolons, tabs or |, or JSON lines with members of these names. Other columns are passed over, as are lines
// that begin with # before the header. It is in UTF-8, or in UTF-16 with a byte-order mark. Errors match ErrFile; several are joined, one a line.
func Parse(b []byte) ([]Row, error) {
	b, err := table.Text(b)
	var at *table.Error
	if errors.As(err, &at) {
		return nil, fmt.Errorf("%w: line %d: %w", ErrFile, at.Line, err)
	}
	p := &parser{seen: make(map[string]int)}
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '{' {
		p.jsonLines(b)
	} else {
		p.csv(b)
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	if len(p.rows) == 0 {
		return nil, fmt.Errorf("%w: there is no device in it; write a header such as client_id,username,password, and a row for each device", ErrFile)
	}
	return p.rows, nil
}

type parser struct {
	rows []Row
	seen map[string]int // line by client id
	errs []error
}

// fail notes what is wrong with a line and reports whether to go on.
func (p *parser) fail(line int, format string, a ...any) bool {
	p.errs = append(p.errs, fmt.Errorf("%w: line %d: "+format, append([]any{ErrFile, line}, a...)...))
	return len(p.errs) < mostErrors
}

// add takes a row, and reports whether to go on.
func (p *parser) add(r Row) bool {
	for i, name := range names {
		switch text := *r.field(i); {
		case len(text) > longest:
			return p.fail(r.Line, "%s has %d bytes; MQTT takes %d", name, len(text), longest)
		case name != "password" && name != "key_password" && topic.Character(text) != "":
			return p.fail(r.Line, "%s has a control character, or one that is none, for which servers end the connection", name)
		}
	}
	first, twice := p.seen[r.ClientID]
	switch {
	case r == Row{Line: r.Line}:
		return p.fail(r.Line, "nothing is in it; remove the line")
	case (r.Certificate == "") != (r.Key == ""):
		return p.fail(r.Line, "a device proves itself with a certificate and its key: give both, or neither")
	case r.Key == "" && r.KeyPassword != "":
		return p.fail(r.Line, "there is no key that key_password would open; give certificate and key, too")
	case twice && r.ClientID != "":
		return p.fail(r.Line, "client_id %q stands in line %d already; a server ends the older of two connections with one client id", r.ClientID, first)
	}
	p.seen[r.ClientID] = r.Line
	p.rows = append(p.rows, r)
	return true
}

func (p *parser) jsonLines(b []byte) {
	line := 0
	for text := range bytes.Lines(b) {
		line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		goOn, found, well := true, false, true
		if twice := repeated(text); twice != "" {
			if !p.fail(line, "it has %s twice; which of them holds is not known, so give one", twice) {
				return
			}
			continue
		}
		r := Row{Line: line}
		var members map[string]any
		if json.Unmarshal(text, &members) != nil { // the error may hold a password
			if !p.fail(line, `it is no JSON object such as {"client_id": "a", "username": "u", "password": "p"}`) {
				return
			}
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(members)) {
			column := columnOf(name)
			if column < 0 {
				continue
			}
			s, isText := members[name].(string)
			if found = true; !isText && well {
				goOn, well = p.fail(line, "%s is no text; write it in quotes", names[column]), false
			}
			*r.field(column) = s
		}
		switch {
		case !well:
		case !found:
			goOn = p.fail(line, "it has none of %s", strings.Join(names, ", "))
		default:
			goOn = p.add(r)
		}
		if !goOn {
			return
		}
	}
}

func (p *parser) csv(b []byte) {
	separator, rest, err := table.Separator(uncommented(b))
	if err != nil {
		p.fail(1, "%v", err)
		return
	}
	r := table.Reader(rest, separator)
	r.FieldsPerRecord = -1 // and no comments: what begins with # is a device's client id, or password
	var columns []int
	for {
		row, err := r.Read()
		var syntax *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &syntax):
			p.fail(syntax.Line, "%v", syntax.Err)
			return
		case err != nil:
			p.fail(1, "%v", err)
			return
		}
		line, _ := r.FieldPos(0)
		if columns == nil {
			if columns = p.header(line, row); columns == nil {
				return
			}
			continue
		}
		if len(row) != len(columns) && strings.HasPrefix(row[0], "#") {
			if !p.fail(line, "comments stand before the header, as a client id may begin with #; remove the line, or give it %d fields", len(columns)) {
				return
			}
			continue
		}
		if len(row) != len(columns) {
			if !p.fail(line, "it has %d fields, and the header names %d", len(row), len(columns)) {
				return
			}
			continue
		}
		x := Row{Line: line}
		for i, column := range columns {
			if column >= 0 {
				*x.field(column) = row[i]
			}
		}
		if !p.add(x) {
			return
		}
	}
}

// repeated is a column that two members of a JSON object name, however they write it; "" for none, and for what is no object.
func repeated(text []byte) string {
	d := json.NewDecoder(bytes.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return ""
	}
	var seen []int
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return ""
		}
		s, _ := name.(string)
		column := columnOf(s)
		if column >= 0 && slices.Contains(seen, column) {
			return names[column]
		}
		seen = append(seen, column)
	}
	return ""
}

// header is which column each field of a row is of, -1 for another; nil when the row is no header.
func (p *parser) header(line int, row []string) (columns []int) {
	known := 0
	for _, name := range row {
		column := columnOf(name)
		if column >= 0 && slices.Contains(columns, column) {
			p.fail(line, "the header names %s twice", names[column])
			return nil
		}
		if column >= 0 {
			known++
		}
		columns = append(columns, column)
	}
	if known == 0 { // what stands there may be a device's credentials
		p.fail(line, "the first line names no column that is known; write a header with some of %s", strings.Join(names, ", "))
		return nil
	}
	for i, name := range row {
		if hint := problem.DidYouMean(strings.TrimSpace(name), names); columns[i] < 0 && near(name) {
			p.fail(line, "the column %q is none that is read; %s", strings.TrimSpace(name), hint)
			return nil
		}
	}
	return columns
}

// near reports whether a name is one of a column with a slip: a column of another purpose is passed over.
func near(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	return len(name) > 3 && slices.ContainsFunc(names, func(x string) bool {
		return len(name) >= len(x)-2 && len(name) <= len(x)+2 && strings.HasPrefix(problem.DidYouMean(name, []string{x}), "did you mean")
	})
}

// uncommented is a text from its first line that is neither empty nor a comment, with as many empty lines before it.
func uncommented(b []byte) []byte {
	lines := 0
	for text := range bytes.Lines(b) {
		if t := bytes.TrimSpace(text); len(t) > 0 && t[0] != '#' {
			break
		}
		lines++
	}
	for range lines {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	return append(bytes.Repeat([]byte("\n"), lines), b...)
}
