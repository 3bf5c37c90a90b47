package keyfile

import (
	"errors"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/table"
)

const key = "aHVzaC1odXNo"

func row(id string) string {
	return "HostName=h.azure-devices.net;DeviceId=" + id + ";SharedAccessKey=" + key
}

func TestParse(t *testing.T) {
	for name, in := range map[string]string{
		"one column":                row("a") + "\n" + row("b") + "\n",
		"no end of line":            row("a") + "\r\n" + row("b"),
		"a header":                  "connection_string\n" + row("a") + "\n" + row("b") + "\n",
		"one of several columns":    "id,ConnectionString,plant\n1," + row("a") + ",x\n2,\"" + row("b") + "\",y\n",
		"comments and a byte order": "\ufeff# devices\n" + row("a") + "\n\n" + row("b") + "\n",
		"semicolons":                "id;connection_string\n1;\"" + row("a") + "\"\n2;\"" + row("b") + "\"\n",
		"tabs":                      "# devices\nid\tconnectionString\n1\t" + row("a") + "\n2\t" + row("b") + "\n",
		"UTF-16":                    "\xff\xfe" + strings.Join(strings.Split(row("a")+"\n"+row("b")+"\n", ""), "\x00") + "\x00",
		"JSON lines with a mark":    "\ufeff" + `{"connectionString":"` + row("a") + `"}` + "\n" + `{"connection_string":"` + row("b") + `"}`,
		"JSON lines":                `{"connectionString":"` + row("a") + `"}` + "\n\n" + `{"id":2,"connection_string":"` + row("b") + `"}`,
	} {
		got, err := Parse([]byte(in))
		if err != nil || len(got) != 2 || got[0].DeviceID != "a" || got[1].DeviceID != "b" || got[1].Key.Base64() != key {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, tt := range map[string]struct{ in, want string }{
		"empty":           {"", "there is no device in it"},
		"only a header":   {"connection_string\n", "there is no device in it"},
		"no column":       {"id,key\n1,2\n", "line 1: there is no column connection_string"},
		"short row":       {"id,connection_string\n1\n", "line 2: the column connection_string is missing"},
		"no string":       {"connection_string\nhush-hush\n", "line 2: connection string: part 1 has no equals sign"},
		"no device":       {row("a") + "\nHostName=h;SharedAccessKey=" + key + "\n", "line 2: connection string: DeviceId=… is missing"},
		"twice":           {row("a") + "\n" + row("b") + "\n" + row("a"), "line 3: device a stands in line 1 already"},
		"module":          {"HostName=h;DeviceId=a;ModuleId=m;SharedAccessKey=" + key, "line 1: it is a module's"},
		"certificate":     {"HostName=h;DeviceId=a;x509=true", "line 1: it says x509=true"},
		"quotes":          {"\"" + row("a"), "line "},
		"JSON":            {"{\"connectionString\":\"" + row("a") + "\"}\nnonsense", "line 2: it is no JSON object"},
		"JSON twice":      {"{\"connectionString\":\"" + row("a") + "\",\"connection_string\":\"" + row("a") + "\"}", "line 1: it has connectionString and connection_string; give one"},
		"JSON without":    {"{\"key\": 1}", "line 1: it has no connectionString"},
		"Latin-1":         {"connection_string\n" + row("a") + "\n" + row("\xe9"), "line 3: the byte 0xE9 is not UTF-8"},
		"several at once": {"connection_string\nx=1\ny=2\n", "line 3"},
	} {
		got, err := Parse([]byte(tt.in))
		if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v; want %s", name, got, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%s: the error holds a key: %v", name, err)
		}
	}
	_, err := Parse([]byte(strings.Repeat("x=1\n", 100)))
	if n := strings.Count(err.Error(), "\n") + 1; n != table.MostErrors {
		t.Errorf("%d complaints about 100 bad lines; want %d", n, table.MostErrors)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(row("a")))
	f.Add([]byte("id,connection_string\n1," + row("a")))
	f.Add([]byte(`{"connectionString":"` + row("a") + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		devices, err := Parse(b)
		if err != nil {
			return
		}
		var written []byte
		for _, d := range devices {
			written = AppendRow(written, d)
		}
		same, err := Parse(written)
		if err != nil || len(same) != len(devices) {
			t.Fatalf("%d devices were written and read as %d: %v", len(devices), len(same), err)
		}
		for i := range devices {
			if same[i].DeviceID != devices[i].DeviceID || same[i].Key != devices[i].Key || same[i].HostName != devices[i].HostName {
				t.Errorf("%v was read as %v", devices[i], same[i])
			}
		}
	})
}
