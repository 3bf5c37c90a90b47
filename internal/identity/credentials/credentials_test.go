package credentials

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/table"
)

// What spreadsheets, scripts and people write is read, whatever the columns and their order.
func TestParse(t *testing.T) {
	want := []Row{{ClientID: "a", Username: "u", Password: "p,1"}, {ClientID: "b", Password: "p2"}}
	for name, in := range map[string]string{
		"commas":           "client_id,username,password\na,u,\"p,1\"\nb,,p2\n",
		"semicolons":       "client_id;username;password\na;u;p,1\nb;;p2\n",
		"tabs and CRLF":    "client_id\tusername\tpassword\r\na\tu\tp,1\r\nb\t\tp2",
		"told separator":   "sep=;\nclient_id;username;password\na;u;p,1\nb;;p2\n",
		"another order":    "\ufeff# made today\n\nPassword;plant;Client-ID;username\np,1;x;a;u\n\np2;y;b;\n",
		"UTF-16":           "\xff\xfe" + strings.Join(strings.Split("client_id;username;password\na;u;p,1\nb;;p2\n", ""), "\x00") + "\x00",
		"JSON lines":       `{"client_id":"a","username":"u","password":"p,1"}` + "\n\n" + `{"clientId":"b","password":"p2","plant":7}`,
		"other columns":    "client_id,username,password,user,login,site,pin,idx\na,u,\"p,1\",Ann,1,x,3,0\nb,,p2,,,,,\n", // what is there already, nobody meant
		"other members":    `{"client_id":"a","username":"u","password":"p,1","user":"Ann"}` + "\n" + `{"client_id":"b","username":"","password":"p2","pwd":""}`,
		"a mark, and JSON": "\ufeff" + `{"client_id":"a","username":"u","password":"p,1"}` + "\n" + `{"client_id":"b","username":"","password":"p2"}`,
	} {
		got, err := Parse([]byte(in))
		for i := range got {
			got[i].Line = 0
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	got, err := Parse([]byte("certificate,key,key_password\na.pem,a.key,hush\nb.pem,b.key,\n"))
	if rows, err := Parse([]byte("# all\nusername,password\n#1,hush\nb,#2\n")); err != nil || len(rows) != 2 || rows[0].Username != "#1" || rows[1].Password != "#2" {
		t.Errorf("what begins with #: %+v, %v", rows, err)
	}
	if err != nil || len(got) != 2 || got[0] != (Row{Line: 2, Certificate: "a.pem", Key: "a.key", KeyPassword: "hush"}) || got[1].Line != 3 {
		t.Errorf("certificates: %+v, %v", got, err)
	}
}

// Each mistake is told with its line and what to do, and never with what is secret.
func TestMistakes(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"empty":          {"", "there is no device in it"},
		"only a header":  {"client_id,password\n", "there is no device in it"},
		"no header":      {"device-1,hush\n", "line 1: the first line names no column that is known; write a header with some of client_id, username"},
		"a slip":         {"client_id,pasword\na,hush\n", `line 1: the column "pasword" is none that is read; did you mean password?`},
		"other names":    {"clientid,user,pass\na,u,hush\n", `line 1: the column "user" is none that is read; did you mean username?`},
		"another name":   {"username; MQTT-Pass \nu;hush\n", `line 1: the column "MQTT-Pass" is none that is read; did you mean password?`},
		"a login":        {"login,password\nu,hush\n", `line 1: the column "login" is none that is read; did you mean username?`},
		"a cert":         {"client_id,cert,key\na,a.pem,a.key\n", `line 1: the column "cert" is none that is read; did you mean certificate?`},
		"JSON slip":      {`{"client_id":"a","password":"x"}` + "\n" + `{"client_id":"b","pasword":"hush"}`, `line 2: the column "pasword" is none that is read; did you mean password?`},
		"JSON name":      {`{"client_id":"a","user":"u","password":"hush"}`, `line 1: the column "user" is none that is read; did you mean username?`},
		"twice a column": {"client_id,clientid\na,b\n", "line 1: the header names client_id twice"},
		"short row":      {"client_id,password\na\n", "line 2: it has 1 fields, and the header names 2"},
		"twice a device": {"client_id,password\na,hush\nb,hush\na,hush\n", `line 4: client_id "a" stands in line 2 already`},
		"no key":         {"client_id,certificate,key\na,a.pem,\n", "line 2: a device proves itself with a certificate and its key"},
		"no certificate": {"client_id,key\na,a.key\n", "line 2: a device proves itself with a certificate and its key"},
		"password alone": {"client_id,key_password\na,hush\n", "line 2: there is no key that key_password would open"},
		"empty row":      {"client_id,password\n,\n", "line 2: nothing is in it"},
		"control":        {"client_id,password\na\x01b,hush\n", "line 2: client_id has a control character"},
		"too long":       {"client_id,password\na," + strings.Repeat("hush", 20000) + "\n", "line 2: password has 80000 bytes; MQTT takes 65535"},
		"quotes":         {"client_id,password\n\"a,hush\n", "line "},
		"Latin-1":        {"client_id,password\n\xe9,hush\n", "line 2: the byte 0xE9 is not UTF-8"},
		"JSON":           {`{"client_id":"a"}` + "\nhush", "line 2: it is no JSON object"},
		"a comment":      {"client_id,password\na,hush\n# hush\n", "line 3: comments stand before the header"},
		"JSON twice":     {`{"client_id":"a","password":"hush","password":"hush2"}`, "line 1: it has password twice"},
		"JSON two ways":  {`{"client_id":"a","clientId":"hush"}`, "line 1: it has client_id twice"},
		"JSON number":    {`{"client_id":"a","password":12345}`, "line 1: password is no text; write it in quotes"},
		"JSON others":    {`{"id":"hush"}`, "line 1: it has none of client_id"},
		"separators":     {"client_id,a;password\n1,2;3\n", "line 1: its names could be separated by commas or by semicolons"},
	} {
		got, err := Parse([]byte(tt.in))
		if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v; want %s", name, got, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "12345")) {
			t.Errorf("%s: the error holds a secret: %v", name, err)
		}
	}
	_, err := Parse([]byte("client_id,key\n" + strings.Repeat("a,k\n", 100)))
	if n := strings.Count(err.Error(), "\n") + 1; n != table.MostErrors {
		t.Errorf("%d complaints about 100 bad lines; want %d", n, table.MostErrors)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("client_id,username,password\na,u,p\nb,v,q\n"))
	f.Add([]byte("certificate;key\na.pem;a.key\n"))
	f.Add([]byte(`{"client_id":"a","password":"p"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := Parse(b)
		if (err == nil) != (len(rows) > 0) {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		line, seen := 0, make(map[string]bool)
		for _, r := range rows {
			if r.Line <= line || (r.Certificate == "") != (r.Key == "") || r.ClientID != "" && seen[r.ClientID] {
				t.Fatalf("%+v after line %d", r, line)
			}
			line, seen[r.ClientID] = r.Line, true
		}
	})
}
