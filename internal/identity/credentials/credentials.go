// Package credentials reads files of what the devices of a broker prove themselves with: a row for each of them.
package credentials

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/language/topic"
	"github.com/twinfleet/twinfleet/internal/table"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// ErrFile is the class of errors of Parse. Their texts name the line and never hold what a device proves itself with.
var ErrFile = errors.New("file of credentials")

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
	p := &parser{seen: make(map[string]int)}
	if err := (&table.Rows{Class: ErrFile, JSON: p.json, CSV: p.csv, Row: p.row}).Read(b); err != nil {
		return nil, err
	}
	if len(p.rows) == 0 {
		return nil, fmt.Errorf("%w: there is no device in it; write a header such as client_id,username,password, and a row for each device", ErrFile)
	}
	return p.rows, nil
}

type parser struct {
	rows    []Row
	seen    map[string]int // line by client id
	columns []int          // which one each field of a row is of, -1 for another; nil before the header
}

// add takes a row, or says what is wrong with it.
func (p *parser) add(r Row) error {
	for i, name := range names {
		switch text := *r.field(i); {
		case len(text) > longest:
			return fmt.Errorf("%s has %d bytes; MQTT takes %d", name, len(text), longest)
		case name != "password" && name != "key_password" && topic.Character(text) != "":
			return fmt.Errorf("%s has a control character, or one that is none, for which servers end the connection", name)
		}
	}
	first, twice := p.seen[r.ClientID]
	switch {
	case r == Row{Line: r.Line}:
		return errors.New("nothing is in it; remove the line")
	case (r.Certificate == "") != (r.Key == ""):
		return errors.New("a device proves itself with a certificate and its key: give both, or neither")
	case r.Key == "" && r.KeyPassword != "":
		return errors.New("there is no key that key_password would open; give certificate and key, too")
	case twice && r.ClientID != "":
		return fmt.Errorf("client_id %q stands in line %d already; a server ends the older of two connections with one client id", r.ClientID, first)
	}
	p.seen[r.ClientID] = r.Line
	p.rows = append(p.rows, r)
	return nil
}

func (p *parser) json(line int, text []byte) error {
	if twice := repeated(text); twice != "" {
		return fmt.Errorf("it has %s twice; which of them holds is not known, so give one", twice)
	}
	var members map[string]any
	if json.Unmarshal(text, &members) != nil { // the error may hold a password
		return errors.New(`it is no JSON object such as {"client_id": "a", "username": "u", "password": "p"}`)
	}
	r, found := Row{Line: line}, false
	for _, name := range slices.Sorted(maps.Keys(members)) {
		column := columnOf(name)
		if column < 0 {
			continue
		}
		s, isText := members[name].(string)
		if found = true; !isText {
			return fmt.Errorf("%s is no text; write it in quotes", names[column])
		}
		*r.field(column) = s
	}
	if !found {
		return fmt.Errorf("it has none of %s", strings.Join(names, ", "))
	}
	return p.add(r)
}

func (p *parser) csv(b []byte) (*csv.Reader, error) {
	separator, rest, err := table.Separator(uncommented(b))
	if err != nil {
		return nil, err
	}
	r := table.Reader(rest, separator)
	r.FieldsPerRecord = -1 // and no comments: what begins with # is a device's client id, or password
	return r, nil
}

func (p *parser) row(line int, fields []string) (err error) {
	switch {
	case p.columns == nil:
		if p.columns, err = header(fields); err != nil {
			return table.Useless(err)
		}
		return nil
	case len(fields) != len(p.columns) && strings.HasPrefix(fields[0], "#"):
		return fmt.Errorf("comments stand before the header, as a client id may begin with #; remove the line, or give it %d fields", len(p.columns))
	case len(fields) != len(p.columns):
		return fmt.Errorf("it has %d fields, and the header names %d", len(fields), len(p.columns))
	}
	x := Row{Line: line}
	for i, column := range p.columns {
		if column >= 0 {
			*x.field(column) = fields[i]
		}
	}
	return p.add(x)
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

// header is which column each field of a row is of, -1 for another; or why the row is no header.
func header(fields []string) (columns []int, err error) {
	known := 0
	for _, name := range fields {
		column := columnOf(name)
		if column >= 0 && slices.Contains(columns, column) {
			return nil, fmt.Errorf("the header names %s twice", names[column])
		}
		if column >= 0 {
			known++
		}
		columns = append(columns, column)
	}
	if known == 0 { // what stands there may be a device's credentials
		return nil, fmt.Errorf("the first line names no column that is known; write a header with some of %s", strings.Join(names, ", "))
	}
	for i, name := range fields {
		if hint := problem.DidYouMean(strings.TrimSpace(name), names); columns[i] < 0 && near(name) {
			return nil, fmt.Errorf("the column %q is none that is read; %s", strings.TrimSpace(name), hint)
		}
	}
	return columns, nil
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
