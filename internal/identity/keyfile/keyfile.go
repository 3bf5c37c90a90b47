// Package keyfile reads and writes files of device connection strings.
package keyfile

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/table"
)

// ErrFile is the class of errors of Parse. Their texts name the line and never hold a key.
var ErrFile = errors.New("file of devices")

// Parse reads a file of device connection strings: CSV with a column connection_string, separated by commas,
// semicolons or tabs, CSV of a single column, or JSON lines such as {"connectionString": "…"}. It is in UTF-8, or in
// UTF-16 with a byte-order mark. Errors match ErrFile; several are joined, one a line.
func Parse(b []byte) ([]connstring.Device, error) {
	p := &parser{seen: make(map[string]int), column: -1}
	if err := (&table.Rows{Class: ErrFile, JSON: p.json, CSV: p.csv, Row: p.row}).Read(b); err != nil {
		return nil, err
	}
	if len(p.devices) == 0 {
		return nil, fmt.Errorf("%w: there is no device in it", ErrFile)
	}
	return p.devices, nil
}

type parser struct {
	devices []connstring.Device
	seen    map[string]int // line by device id
	column  int            // of connection strings; -1 before the first row
}

func (p *parser) add(line int, text string) error {
	c, err := connstring.ParseDevice(text)
	first, twice := p.seen[c.DeviceID]
	switch {
	case err != nil:
		return err
	case c.ModuleID != "":
		return errors.New("it is a module's; modules are not simulated")
	case c.X509:
		return errors.New("it says x509=true and the file holds no certificates; use identity: {x509: {ca: …, key: …}}")
	case twice:
		return fmt.Errorf("device %s stands in line %d already", c.DeviceID, first)
	}
	p.seen[c.DeviceID] = line
	p.devices = append(p.devices, c)
	return nil
}

func (p *parser) json(line int, text []byte) error {
	var row struct {
		ConnectionString string `json:"connectionString"`
		Snake            string `json:"connection_string"`
	}
	switch err := json.Unmarshal(text, &row); {
	case err != nil:
		return errors.New(`it is no JSON object such as {"connectionString": "HostName=…"}`)
	case row.ConnectionString == "" && row.Snake == "":
		return errors.New("it has no connectionString")
	case row.ConnectionString != "" && row.Snake != "":
		return errors.New("it has connectionString and connection_string; give one")
	}
	return p.add(line, row.ConnectionString+row.Snake)
}

func (p *parser) csv(b []byte) (*csv.Reader, error) {
	r := table.Reader(b, separatorOf(b))
	r.FieldsPerRecord, r.Comment = -1, '#'
	return r, nil
}

func (p *parser) row(line int, fields []string) error {
	if p.column < 0 {
		var header bool
		if p.column, header = columnOf(fields); p.column < 0 {
			return table.Useless(errors.New("there is no column connection_string; write a header that has one, or one connection string a line"))
		}
		if header {
			return nil
		}
	}
	if p.column >= len(fields) {
		return errors.New("the column connection_string is missing")
	}
	return p.add(line, fields[p.column])
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
