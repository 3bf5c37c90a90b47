package table_test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/table"
)

// Rows come with their lines, in either form, until too much is wrong with them, or one without which the others mean nothing.
func TestRows(t *testing.T) {
	class := errors.New("class")
	for name, tt := range map[string]struct{ in, rows, want string }{
		"CSV":            {"a,b\n\n\"c\nd\",e\n", "1 a|b, 3 c\nd|e", ""},
		"JSON lines":     {"\ufeff {\"a\":1}\n\n  {\"b\":2}\r\n", "1 {\"a\":1}, 3 {\"b\":2}", ""},
		"nothing":        {"\n\n", "", ""},
		"bad rows":       {"a\nbad\nb\nbad\n", "1 a, 3 b", "class: line 2: it is bad\nclass: line 4: it is bad"},
		"too many":       {strings.Repeat("bad\n", 9), "", "class: line 1: it is bad\nclass: line 2: it is bad\nclass: line 3: it is bad\nclass: line 4: it is bad\nclass: line 5: it is bad"},
		"useless":        {"bad\nuseless\nbad\n", "", "class: line 1: it is bad\nclass: line 2: it is useless"},
		"a quote":        {"a\n\"b", "1 a", "class: line 2: extraneous or missing \" in quoted-field"},
		"no text":        {"a\n\xff\n", "", "class: line 2: the byte 0xFF is not UTF-8, as in Latin-1 or Windows-1252; save the file as UTF-8"},
		"cannot be read": {"unreadable", "", "class: line 1: nobody knows how"},
	} {
		var rows []string
		take := func(line int, text string) error {
			switch text {
			case "bad":
				return errors.New("it is bad")
			case "useless":
				return table.Useless(errors.New("it is useless"))
			}
			rows = append(rows, fmt.Sprint(line, " ", text))
			return nil
		}
		err := (&table.Rows{
			Class: class,
			JSON:  func(line int, text []byte) error { return take(line, string(text)) },
			CSV: func(text []byte) (*csv.Reader, error) {
				if string(text) == "unreadable" {
					return nil, errors.New("nobody knows how")
				}
				r := table.Reader(text, ',')
				r.FieldsPerRecord = -1
				return r, nil
			},
			Row: func(line int, fields []string) error { return take(line, strings.Join(fields, "|")) },
		}).Read([]byte(tt.in))
		if got := strings.Join(rows, ", "); got != tt.rows {
			t.Errorf("%s: %q; want %q", name, got, tt.rows)
		}
		if err == nil && tt.want != "" || err != nil && (err.Error() != tt.want || !errors.Is(err, class)) {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
}
