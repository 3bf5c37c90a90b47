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
	name = plain(name)
	return slices.IndexFunc(names, func(x string) bool { return plain(x) == name })
}

// plain is a name without what differs by who wrote it.
func plain(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.TrimSpace(name)))
}

// Parse reads a file of credentials: CSV with a header that names some of the columns client_id, username, password, certificate, key and
// key_password, separated by commas, semicolons, tabs or |, or JSON lines with members of these names. Other columns are passed over, as are lines
// that begin with # before the header. It is in UTF-8, or in UTF-16 with a byte-order mark. Errors match ErrFile; several are joined, one a line.
func Parse(b []byte) ([]Row, error) {
	p := &parser{seen: make(map[string]int), slips: make(map[string]int)}
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
	slips   map[string]int // meant, by the name of a member that was seen
	seen    map[string]int // line by client id
	columns []int          // which one each field of a row is of, -1 for another; nil before the header
}

// mostSlips bounds how many names of members are remembered.
const mostSlips = 1000

// meant is the function of this name, of which lines with the same members ask once.
func (p *parser) meant(name string) int {
	column, seen := p.slips[name]
	if !seen {
		column = meant(name)
		if len(p.slips) < mostSlips {
			p.slips[name] = column
		}
	}
	return column
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
	all := slices.Sorted(maps.Keys(members))
	there := make([]int, len(all)) // the column of each member
	for i, name := range all {
		there[i] = columnOf(name)
	}
	for i, name := range all {
		column := there[i]
		if column < 0 {
			if err := misnamed(name, p.meant(name), there); err != nil {
				return err
			}
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
		if columns[i] >= 0 {
			continue
		}
		if err := misnamed(name, meant(name), columns); err != nil {
			return nil, err
		}
	}
	return columns, nil
}

// misnamed is what is wrong with a column of a name that is not read, beside those that are: devices would connect without what stands there. One
// of another purpose is passed over.
func misnamed(name string, column int, there []int) error {
	if column < 0 || slices.Contains(there, column) {
		return nil
	}
	return fmt.Errorf("the column %q is none that is read; did you mean %s?", strings.TrimSpace(name), names[column])
}

// meant is the column that a name is likely to stand for, which is none that is read: with a slip, or as other programs call it; -1 for none.
func meant(name string) int {
	name = strings.ToLower(strings.TrimSpace(name))
	for i, x := range names {
		if len(name) > 3 && len(name) >= len(x)-2 && len(name) <= len(x)+2 && strings.HasPrefix(problem.DidYouMean(name, []string{x}), "did you mean") {
			return i
		}
	}
	bare := strings.TrimPrefix(plain(name), "mqtt")
	return slices.IndexFunc(others(), func(all []string) bool { return slices.Contains(all, bare) })
}

// others are what other programs call the columns, in their order, in the plain form.
func others() [][]string {
	return [][]string{
		{"clientid", "client", "clientidentifier"},
		{"username", "user", "usr", "uname", "login", "loginname"},
		{"password", "pass", "passwd", "pwd", "psw"},
		{"cert", "crt", "certfile", "certificatefile", "clientcert"},
		{"keyfile", "privatekey", "clientkey"},
		{"keypass", "keypwd", "passphrase", "keypassphrase"},
	}
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
