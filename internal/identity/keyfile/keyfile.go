// Package keyfile reads and writes files of device connection strings.
package keyfile

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/table"
)

// ErrFile is the class of errors of Parse. Their texts name the line and never hold a key.
var ErrFile = errors.New("file of devices")

// mostErrors is how many lines Parse complains about before it gives up.
const mostErrors = 5

// Parse reads a file of device connection strings: CSV with a column connection_string, separated by commas,
// semicolons or tabs, CSV of a single column, or JSON lines such as {"connectionString": "…"}. It is in UTF-8, or in
// UTF-16 with a byte-order mark. Errors match ErrFile; several are joined, one a line.
func Parse(b []byte) ([]connstring.Device, error) {
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
	if len(p.devices) == 0 {
		return nil, fmt.Errorf("%w: there is no device in it", ErrFile)
	}
	return p.devices, nil
}

type parser struct {
	devices []connstring.Device
	seen    map[string]int // line by device id
	errs    []error
}

// fail notes what is wrong with a line and reports whether to go on.
func (p *parser) fail(line int, err error) bool {
	p.errs = append(p.errs, fmt.Errorf("%w: line %d: %w", ErrFile, line, err))
	return len(p.errs) < mostErrors
}

func (p *parser) add(line int, text string) bool {
	c, err := connstring.ParseDevice(text)
	first, twice := p.seen[c.DeviceID]
	switch {
	case err != nil:
		return p.fail(line, err)
	case c.ModuleID != "":
		return p.fail(line, errors.New("it is a module's; modules are not simulated"))
	case c.X509:
		return p.fail(line, errors.New("it says x509=true and the file holds no certificates; use identity: {x509: {ca: …, key: …}}"))
	case twice:
		return p.fail(line, fmt.Errorf("device %s stands in line %d already", c.DeviceID, first))
	}
	p.seen[c.DeviceID] = line
	p.devices = append(p.devices, c)
	return true
}

func (p *parser) jsonLines(b []byte) {
	line := 0
	for text := range bytes.Lines(b) {
		line++
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			continue
		}
		var row struct {
			ConnectionString string `json:"connectionString"`
			Snake            string `json:"connection_string"`
		}
		goOn := true
		switch err := json.Unmarshal(text, &row); {
		case err != nil:
			goOn = p.fail(line, errors.New(`it is no JSON object such as {"connectionString": "HostName=…"}`))
		case row.ConnectionString == "" && row.Snake == "":
			goOn = p.fail(line, errors.New("it has no connectionString"))
		default:
			goOn = p.add(line, row.ConnectionString+row.Snake)
		}
		if !goOn {
			return
		}
	}
}

func (p *parser) csv(b []byte) {
	r := table.Reader(b, separatorOf(b))
	r.FieldsPerRecord, r.Comment = -1, '#'
	column := -1
	for {
		row, err := r.Read()
		var syntax *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &syntax):
			p.fail(syntax.Line, syntax.Err)
			return
		case err != nil:
			p.fail(1, err)
			return
		}
		line, _ := r.FieldPos(0)
		if column < 0 {
			var header bool
			if column, header = columnOf(row); column < 0 {
				p.fail(line, errors.New("there is no column connection_string; write a header that has one, or one connection string a line"))
				return
			}
			if header {
				continue
			}
		}
		if column >= len(row) {
			if !p.fail(line, errors.New("the column connection_string is missing")) {
				return
			}
			continue
		}
		if !p.add(line, row[column]) {
			return
		}
	}
}

// separatorOf is what separates the columns: of a file without a header commas, for connection strings hold semicolons.
func separatorOf(b []byte) rune {
	for _, separator := range ";\t|" {
		r := table.Reader(b, separator)
		r.Comment = '#'
		row, err := r.Read()
		if err != nil || len(row) < 2 {
			continue
		}
		if _, header := columnOf(row); header {
			return separator
		}
	}
	return ','
}

// columnOf finds the column of connection strings by the first row, and says whether that row is a header.
func columnOf(row []string) (column int, header bool) {
	column = slices.IndexFunc(row, func(name string) bool {
		return strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(name), "_", ""), "connectionstring")
	})
	switch {
	case column >= 0:
		return column, true
	case len(row) == 1 && strings.Contains(row[0], "="):
		return 0, false
	default:
		return -1, false
	}
}

// AppendRow appends a device to a file of JSON lines as Parse reads it. It reveals the key.
func AppendRow(dst []byte, c connstring.Device) []byte {
	row, _ := json.Marshal(struct { // strings are always encoded
		ConnectionString string `json:"connectionString"`
	}{c.Reveal()})
	return append(append(dst, row...), '\n')
}
