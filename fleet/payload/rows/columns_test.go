package rows_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/payload/rows"
)

func TestColumns(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		columns    []string
		values     map[string][]string // by column; empty for none
	}{
		{
			"a.csv", "t,site,on\n21.5,Redmond 43,true\n,\"a,\"\"}\",false\n",
			[]string{"t", "site", "on"},
			map[string][]string{"t": {"21.5", ""}, "site": {`"Redmond 43"`, `"a,\"}"`}, "on": {"true", "false"}},
		},
		{
			"b.jsonl", `{"a" : {"b":[1,"}"],"c":{}} , "a\u0062":"x\\" ,"e":null }` + "\n" + `{ }` + "\n" + `{"ab":1,"ab":-2e3,"":[ ]}` + "\n" + `[{"a":1}]` + "\n",
			[]string{"a", "ab", "e", ""},
			map[string][]string{
				"a": {`{"b":[1,"}"],"c":{}}`, "", "", ""}, "ab": {`"x\\"`, "", "-2e3", ""}, "e": {"null", "", "", ""}, "": {"", "", "[ ]", ""},
			},
		},
	} {
		r, err := rows.Read(file(t, tt.name, tt.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Columns(); !slices.Equal(got, tt.columns) {
			t.Errorf("%s has the columns %q; want %q", tt.name, got, tt.columns)
		}
		for name, want := range tt.values {
			value := r.Column(name)
			for i := range r.Len() {
				if got := string(value(i)); got != want[i] {
					t.Errorf("%s: %s of row %d is %s; want %s", tt.name, name, i, got, want[i])
				}
			}
		}
		if r.Column("none") != nil {
			t.Errorf("%s has a column that is not there", tt.name)
		}
	}
}

// A template takes the row that the file itself would send.
func TestRowsAsData(t *testing.T) {
	r, err := rows.Read(file(t, "rows.jsonl", "{\"n\":0}\n{\"n\":1}\n{\"n\":22}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := payload.Compiler{Data: r}.Compile(payload.Object{{Name: "n", Value: "{{ data n }}"}})
	if err != nil {
		t.Fatal(err)
	}
	for index := range 5 {
		for seq := range int64(7) {
			c := &payload.Context{Index: index, Seq: seq + 1}
			if got, want := string(p.Append(nil, c)), string(r.Append(nil, c)); got != want {
				t.Errorf("message %d of device %d is %s; want %s", seq, index, got, want)
			}
		}
	}
	if r.Longest() != len(`{"n":22}`) {
		t.Errorf("the longest row has %d bytes", r.Longest())
	}
}

// Values of members are those that another program reads.
func FuzzColumns(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":{"b":"}"},"c":[1,{"d":"\""}]}`, `{ "a" : "\\" , "b":"\u00e9"}`, `[]`, `{"a":1,"a":2}`, `"a"`, `{"":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		if bytes.ContainsAny(row, "\r\n") || !json.Valid(row) {
			return
		}
		r, err := rows.ReadBy("x.jsonl", func(string) ([]byte, error) { return row, nil })
		if err != nil {
			return // such as no UTF-8
		}
		want := make(map[string]json.RawMessage)
		if !r.Objects() || json.Unmarshal(row, &want) != nil {
			want = nil
		}
		got := make(map[string]json.RawMessage)
		for _, name := range r.Columns() {
			got[name] = bytes.Clone(r.Column(name)(0))
		}
		for name, v := range got {
			if w, ok := want[name]; !ok || !same(v, w) {
				t.Errorf("%s: %q is %s; want %s", row, name, v, want[name])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s has members %v; want %v", row, got, want)
		}
	})
}

func same(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y) && strings.TrimSpace(string(a)) == string(a)
}
