package rows_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/payload/rows"
)

func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRows(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
		objects    bool
	}{
		{
			"a.csv", "temperature,on,site,code\n21.5,true,Redmond 43,007\n-3e2,false,,\"a,\"\"b\"\"\"\n",
			[]string{`{"temperature":21.5,"on":true,"site":"Redmond 43","code":"007"}`, `{"temperature":-3e2,"on":false,"code":"a,\"b\""}`},
			true,
		},
		{"bom.CSV", "\ufeffa\n1\n", []string{`{"a":1}`}, true},
		{"bom.jsonl", "\ufeff{\"a\":1}\n", []string{`{"a":1}`}, true},
		{"utf-16.csv", "\xff\xfea\x00;\x00b\x00\n\x001\x00;\x00\xe9\x00\n\x00", []string{`{"a":1,"b":"é"}`}, true},
		{"utf-16.jsonl", "\xfe\xff\x00{\x00}\x00\n", []string{`{}`}, true},
		{"semicolons.csv", "temperature;site\n21.5;a,b\n", []string{`{"temperature":21.5,"site":"a,b"}`}, true},
		{"tabs.tsv", "a\tb\n\t x\n", []string{`{"b":" x"}`}, true},
		{"tabs.csv", "a\tb\n1\t2\n", []string{`{"a":1,"b":2}`}, true},
		{"told.csv", "sep=;\r\na;b\r\n1;2\r\n", []string{`{"a":1,"b":2}`}, true},
		{"spaces.csv", "a , b\n 1 , x\n", []string{`{"a":1,"b":"x"}`}, true},
		{"one-column.csv", "a\n1;2\n", []string{`{"a":"1;2"}`}, true},
		{"empty-fields.csv", "a,b\n,\n,2\n", []string{`{}`, `{"b":2}`}, true},
		{"numbers.csv", "a,b,c,d,e\n1.,+1,.5,NaN,01\n", []string{`{"a":"1.","b":"+1","c":".5","d":"NaN","e":"01"}`}, true},
		{"b.jsonl", "{\"a\": 1}\n\n  {\"a\":[2]}  \n{}", []string{`{"a": 1}`, `{"a":[2]}`, `{}`}, true},
		{"mean.jsonl", "{}\n{\"a\":12}\n", []string{`{}`, `{"a":12}`}, true},
		{"c.ndjson", "{\"a\":1}\r\n[1,2]\r\n\"text\"\r\n", []string{`{"a":1}`, `[1,2]`, `"text"`}, false},
	} {
		r, err := rows.Read(file(t, tt.name, tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for i := range r.Len() {
			got = append(got, string(r.Row(i)))
		}
		if n := len(strings.Join(got, "")); r.Mean() != (n+len(got)-1)/len(got) {
			t.Errorf("%s: %d bytes on average of %d in %d rows", tt.name, r.Mean(), n, len(got))
		}
		if !slices.Equal(got, tt.want) || r.Objects() != tt.objects {
			t.Errorf("%s: %s, objects %v; want %s", tt.name, got, r.Objects(), tt.want)
		}
	}
}

// Devices go through a file each from its own place, round and round.
func TestRowsByDeviceAndMessage(t *testing.T) {
	r, err := rows.Read(file(t, "rows.jsonl", "0\n1\n2\n3\n4\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ index, seq, want int }{{0, 1, 0}, {0, 2, 1}, {0, 6, 0}, {3, 1, 3}, {3, 3, 0}, {1_000_003, 2, 4}} {
		c := &payload.Context{Index: tt.index, Seq: int64(tt.seq)}
		if got := string(r.Append([]byte("x"), c)); got != fmt.Sprint("x", tt.want) {
			t.Errorf("message %d of device %d is %s; want x%d", tt.seq, tt.index, got, tt.want)
		}
	}
}

func TestBrokenRows(t *testing.T) {
	long := strings.Repeat("x", rows.MaxRow)
	for _, tt := range []struct{ name, text, want string }{
		{"a.csv", "", "a.csv:1: the file is empty"},
		{"a.csv", "a,b\n", "a.csv: there is no row in it"},
		{"a.csv", "a,b\n1,2\n1\n", "a.csv:3: the line does not have the 2 fields of the first"},
		{"a.csv", "a,b\n1,2\n\n\"1,2\n", "a.csv:4: extraneous or missing"},
		{"a.csv", "a,a\n1,2\n", `a.csv:1: column 2: the name "a" is empty or there twice`},
		{"a.csv", "a,\n1,2\n", `a.csv:1: column 2: the name "" is empty`},
		{"a.csv", "a\n1\n" + long + "\n", "a.csv:3: the row has"},
		{"a.jsonl", "{}\n{\"a\":}\n", "a.jsonl:2: this is no JSON: invalid character"},
		{"a.jsonl", "{}\n\"" + long + "\"\n", "a.jsonl:2: the "},
		{"a.jsonl", "\n\n", "a.jsonl: there is no row in it"},
		{"a.txt", "x", "the name ends in none of .csv"},
		{"latin-1.csv", "a,b\n1,gr\xf6n\n", "latin-1.csv:2: the byte 0xF6 is not UTF-8"},
		{"latin-1.jsonl", "{}\n{}\n{\"a\":\"\xe9\"}\n", "latin-1.jsonl:3: the byte 0xE9 is not UTF-8"},
		{"utf-16-without.csv", "a\x00\n\x00", "utf-16-without.csv:1: it holds a NUL byte"},
		{"both.csv", "a;b,c\n1;2,3\n", "both.csv:1: its names could be separated by commas or by semicolons"},
		{"comma.csv", "sep=;\na;b\n1;2\n1;21,5\n", "comma.csv:4: 21,5 is a number with a comma, which would be sent as text; write 21.5"},
	} {
		_, err := rows.Read(file(t, tt.name, tt.text))
		if !errors.Is(err, rows.ErrRows) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %.20q: %v; want %s", tt.name, tt.text, err, tt.want)
		}
	}
	if _, err := rows.Read(filepath.Join(t.TempDir(), "none.csv")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := rows.ReadUpTo(file(t, "big.jsonl", strings.Repeat("\"yyyyyyyy\"\n", 11)), 100); err == nil || !strings.Contains(err.Error(),
		"big.jsonl:11: the rows up to here have more than 100 bytes") {
		t.Errorf("110 bytes of rows: %v", err)
	}
}

func BenchmarkRows(b *testing.B) {
	var text strings.Builder
	text.WriteString("temperature,humidity,site\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "%d,%d,Redmond43\n", i, i)
	}
	r, err := rows.Read(file(b, "rows.csv", text.String()))
	if err != nil {
		b.Fatal(err)
	}
	c, buf := &payload.Context{Index: 7, Seq: 3}, make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		c.Seq++
		buf = r.Append(buf[:0], c)
	}
}
