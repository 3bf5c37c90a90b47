package username

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawID draws an id that the registry takes and a connection string can hold.
func drawID(t *rapid.T, label string) string {
	return rapid.StringMatching(`[A-Za-z0-9.+%_#*?!(),=@$':-]{1,40}`).
		Filter(func(s string) bool { return !strings.Contains(strings.ToLower(s), "sharedaccesskey=") }).Draw(t, label)
}

func drawHost(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-z][a-z0-9.-]{0,20}[a-z0-9](:[1-9][0-9]{0,4})?`).Draw(t, label)
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Name
	}{
		{
			"localhost:18883/dev-1/?api-version=2021-04-12&DeviceClientType=a%20b",
			Name{Host: "localhost:18883", DeviceID: "dev-1", APIVersion: "2021-04-12", Query: "api-version=2021-04-12&DeviceClientType=a%20b"},
		},
		{"h/dev-1/api-version=2016-11-14", Name{Host: "h", DeviceID: "dev-1", APIVersion: "2016-11-14", Query: "api-version=2016-11-14"}},
		{"h/dev-1", Name{Host: "h", DeviceID: "dev-1"}},
		{"h/dev-1/mod/?api-version=2020-09-30", Name{Host: "h", DeviceID: "dev-1", ModuleID: "mod", APIVersion: "2020-09-30", Query: "api-version=2020-09-30"}},
		{"h/dev-1/mod", Name{Host: "h", DeviceID: "dev-1", ModuleID: "mod"}},
	} {
		got, err := Parse(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "h", "h/", "/d"} {
		if _, err := Parse(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("Parse(%q) = %v; want ErrMalformed", bad, err)
		}
	}
	if (Name{APIVersion: "2018-06-30"}).AllowsArrays() || !(Name{APIVersion: "2019-10-01"}).AllowsArrays() || !(Name{}).AllowsArrays() {
		t.Error("arrays are allowed from 2019-10-01 on")
	}
}

func TestNamesReadBack(t *testing.T) {
	module := rapid.StringMatching(`[A-Za-z0-9.+%_#*!(),@$':;-]{1,40}`) // neither "?" nor "=": they begin parameters
	rapid.Check(t, func(t *rapid.T) {
		u := Name{Host: drawHost(t, "host"), DeviceID: drawID(t, "device")}
		if rapid.Bool().Draw(t, "module") {
			u.ModuleID = module.Draw(t, "module id")
		}
		if rapid.Bool().Draw(t, "version") {
			u.APIVersion = rapid.StringMatching(`20[12][0-9]-[01][0-9]-[0-3][0-9]`).Draw(t, "api-version")
		}
		got, err := Parse(u.String())
		if u.APIVersion != "" {
			u.Query = "api-version=" + u.APIVersion
		}
		if err != nil || got != u {
			t.Fatalf("%q reads back as %+v, %v", u.String(), got, err)
		}
	})
}

func TestParameters(t *testing.T) {
	u, err := Parse("h/d/?api-version=2021-04-12&model-id=dtmi%3Acom%3Aexample%3Btherm%3B1&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20)&odd=%zz&flag")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"model-id": "dtmi:com:example;therm;1", "DeviceClientType": "azure-iot-device/1.18.4 (node v20)", "api-version": "2021-04-12", "odd": "%zz",
		"flag": "", "none": "",
	} {
		if got := u.Parameter(name); got != want {
			t.Errorf("Parameter(%q) = %q; want %q", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"h/d/?api-version=2021-04-12", "h/d/api-version=2016-11-14", "h/d", "h/d/m/?api-version=2020-09-30&model-id=a", "h/d/m/n",
		"h/d//?",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%v is not ErrUsername", err)
			}
			return
		}
		if u.Host == "" || u.DeviceID == "" || strings.Contains(u.ClientID(), "?") && !strings.Contains(s, "?") {
			t.Errorf("%q reads as %+v", s, u)
		}
		second, err := Parse(u.String())
		if err != nil || second != u {
			t.Errorf("%q reads as %+v and back as %+v, %v", s, u, second, err)
		}
	})
}

// An id that no registry has is refused before anything is kept of it.
func TestLongIDs(t *testing.T) {
	long := strings.Repeat("x", 129)
	for _, s := range []string{"h/" + long, "h/d/" + long, "h/d/" + long + "/?api-version=1"} {
		if u, err := Parse(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %+v, %v", len(s), u.DeviceID, err)
		}
	}
	if u, err := Parse("h/" + long[1:] + "/" + long[1:] + "/?api-version=1"); err != nil || len(u.ModuleID) != 128 {
		t.Errorf("%+v, %v", u, err)
	}
}
