package hub_test

import (
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// What the real service answered in api-version 2020-03-13 to Microsoft's own suites (Azure/azure-sdk-for-net,
// sdk/iot/Azure.IoT.Hub.Service/tests/SessionRecords): the members and their order, with what differs from call to call
// between angle brackets.
const (
	recordedDevice = `{"deviceId":"<d>","generationId":"<ticks>","etag":"<etag>","connectionState":"Disconnected","status":"enabled",` +
		`"statusReason":null,"connectionStateUpdatedTime":"<zero>","statusUpdatedTime":"<zero>","lastActivityTime":"<zero>",` +
		`"cloudToDeviceMessageCount":0,"authentication":{"symmetricKey":{"primaryKey":"<key>","secondaryKey":"<key>"},` +
		`"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"type":"sas"},"capabilities":{"iotEdge":false}}`
	recordedModule = `{"moduleId":"<m>","managedBy":null,"deviceId":"<d>","generationId":"<ticks>","etag":"<etag>",` +
		`"connectionState":"Disconnected","connectionStateUpdatedTime":"<zero>","lastActivityTime":"<zero>","cloudToDeviceMessageCount":0,` +
		`"authentication":{"symmetricKey":{"primaryKey":"<key>","secondaryKey":"<key>"},` +
		`"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"type":"sas"}}`
	recordedTwinHead = `"etag":"<twin>","deviceEtag":"<etag>","status":"enabled","statusUpdateTime":"<never>","connectionState":"Disconnected",` +
		`"lastActivityTime":"<never>","cloudToDeviceMessageCount":0,"authenticationType":"sas",` +
		`"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},`
)

// shape puts the brackets of the records into an answer.
func shape(body string) string {
	for _, c := range []struct{ pattern, with string }{
		{`"generationId":"\d{18}"`, `"generationId":"<ticks>"`},
		{`"(primaryKey|secondaryKey)":"[A-Za-z0-9+/]{43}="`, `"$1":"<key>"`},
		{`"deviceEtag":"[A-Za-z0-9+/=]+"`, `"deviceEtag":"<etag>"`},
		{`"etag":"AAAAAAAAA[A-Z]{2}="`, `"etag":"<twin>"`},
		{`"etag":"[A-Za-z0-9+/=]+"`, `"etag":"<etag>"`},
		{`"0001-01-01T00:00:00"`, `"<zero>"`},
		{`"0001-01-01T00:00:00Z"`, `"<never>"`},
		{`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?Z"`, `"<t>"`},
	} {
		body = regexp.MustCompile(c.pattern).ReplaceAllString(body, c.with)
	}
	return body
}

// number is the decimal number in the ETag of an identity.
func number(t *testing.T, etag any) int {
	t.Helper()
	text, _ := etag.(string)
	digits, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("ETag %v: %v", etag, err)
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil || n >= 1<<31 {
		t.Fatalf("ETag %v is %s", etag, digits)
	}
	return n
}

// ticksAsTime writes a generation id, which counts ticks since year 1, as documents write times.
func ticksAsTime(t *testing.T, generation any) string {
	t.Helper()
	text, _ := generation.(string)
	ticks, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return (timestamp.Never + timestamp.Ticks(ticks)).String()
}

const recordedVersion = "?api-version=2020-03-13"

// TestRecordedIdentities replays the lifecycles of a device and of a module.
func TestRecordedIdentities(t *testing.T) {
	h, _ := open(t, hub.Options{})
	for _, c := range []struct{ path, create, created, change string }{
		{"/devices/rec", `{"deviceId":"rec"}`, strings.ReplaceAll(recordedDevice, "<d>", "rec"), `{"deviceId":"rec","status":"disabled","authentication":{"type":"sas"}}`},
		{"/devices/own/modules/rec", `{"moduleId":"rec","deviceId":"own"}`, strings.NewReplacer("<d>", "own", "<m>", "rec").Replace(recordedModule), `{"moduleId":"rec","deviceId":"own","managedBy":"x"}`},
	} {
		module := strings.Contains(c.path, "modules")
		if module {
			must(t, h, "PUT", "/devices/own"+recordedVersion, `{"deviceId":"own"}`, "If-Match", `""`)
		}
		a := must(t, h, "PUT", c.path+recordedVersion, c.create, "If-Match", `""`)
		if got := shape(a.body); got != c.created {
			t.Errorf("PUT %s\n%s\nrecorded\n%s", c.path, got, c.created)
		}
		first := number(t, a.member("etag"))
		if tag := a.header.Get("ETag"); (tag != "") == module || !module && tag != `"`+a.member("etag").(string)+`"` {
			t.Errorf("PUT %s: header ETag %s", c.path, tag)
		}
		a = must(t, h, "GET", c.path+recordedVersion, "")
		if got, want := shape(a.body), strings.ReplaceAll(c.created, "<zero>", "<never>"); got != want || number(t, a.member("etag")) != first {
			t.Errorf("GET %s\n%s\nrecorded\n%s", c.path, got, want)
		}
		stale := `"` + a.member("etag").(string) + `"`
		a = must(t, h, "PUT", c.path+recordedVersion, c.change, "If-Match", stale)
		if n := number(t, a.member("etag")); n != first+1 {
			t.Errorf("PUT %s: ETag %d after %d", c.path, n, first)
		}
		a = call(t, h, "PUT", c.path+recordedVersion, c.change, "If-Match", stale)
		if want := "existingVersion:" + strconv.Itoa(first+1) + " newVersion:" + strconv.Itoa(first); a.status != 412 || a.header.Get("iothub-errorcode") != "PreconditionFailed" || !strings.Contains(a.body, want) {
			t.Errorf("PUT %s with a stale ETag: %d %s; want …%s", c.path, a.status, a.body, want)
		}
		must(t, h, "PUT", c.path+recordedVersion, strings.Replace(c.change, "disabled", "enabled", 1), "If-Match", "*")
		if a = must(t, h, "DELETE", c.path+recordedVersion, "", "If-Match", "*"); a.status != 204 || a.header.Get("Content-Type") != "" {
			t.Errorf("DELETE %s: %d %v", c.path, a.status, a.header)
		}
	}
}

// TestRecordedTwins replays the twins of a device and of a module, from their creation over a patch that brings back all
// that was read, to a stale one.
func TestRecordedTwins(t *testing.T) {
	h, _ := open(t, hub.Options{})
	must(t, h, "PUT", "/devices/rec"+recordedVersion, `{"deviceId":"rec"}`)
	must(t, h, "PUT", "/devices/rec/modules/m"+recordedVersion, `{"deviceId":"rec","moduleId":"m"}`)
	empty := func(at string) string { return `{"$metadata":{"$lastUpdated":"` + at + `"},"$version":1}` }
	written := `{"username":"test","$metadata":{"$lastUpdated":"<t>","$lastUpdatedVersion":2,"username":{"$lastUpdated":"<t>","$lastUpdatedVersion":2}},"$version":2}`
	for _, c := range []struct{ path, ids, root, tail string }{
		{"/twins/rec", `"deviceId":"rec",`, "<t>", `,"capabilities":{"iotEdge":false}}`},
		{"/twins/rec/modules/m", `"deviceId":"rec","moduleId":"m",`, "<never>", `}`},
	} {
		a := must(t, h, "GET", c.path+recordedVersion, "")
		fresh := "{" + c.ids + recordedTwinHead + `"version":2,"properties":{"desired":` + empty(c.root) + `,"reported":` + empty(c.root) + "}" + c.tail
		if got := shape(a.body); got != fresh || a.header.Get("ETag") != "" || a.member("etag") != "AAAAAAAAAAE=" {
			t.Errorf("GET %s\n%s\nrecorded\n%s", c.path, got, fresh)
		}
		if created := must(t, h, "GET", "/devices/rec"+recordedVersion, ""); c.root == "<t>" {
			at := ticksAsTime(t, created.member("generationId"))
			if got := a.member("properties", "reported", "$metadata", "$lastUpdated"); got != at {
				t.Errorf("reported was updated last at %v; want the creation, %s", got, at)
			}
		}
		back := strings.Replace(a.body, `"desired":{`, `"desired":{"username":"test",`, 1)
		a = must(t, h, "PATCH", c.path+recordedVersion, back, "If-Match", "*")
		patched := "{" + c.ids + recordedTwinHead + `"version":3,"properties":{"desired":` + written + `,"reported":` + empty(c.root) + "}" + c.tail
		if got := shape(a.body); got != patched || a.member("etag") != "AAAAAAAAAAI=" {
			t.Errorf("PATCH %s\n%s\nrecorded\n%s", c.path, got, patched)
		}
		a = call(t, h, "PATCH", c.path+recordedVersion, back, "If-Match", `"AAAAAAAAAAE="`)
		if a.status != 412 || a.header.Get("iothub-errorcode") != "PreconditionFailed" || !strings.Contains(a.body, "'rec'") {
			t.Errorf("PATCH %s with a stale ETag: %d %s", c.path, a.status, a.body)
		}
	}
	must(t, h, "PUT", "/devices/tagged"+recordedVersion, `{"deviceId":"tagged"}`)
	a := must(t, h, "PATCH", "/twins/tagged"+recordedVersion, `{"tags":{"a":"b"},"properties":{"desired":{"$metadata":{},"$version":1}}}`, "If-Match", `"AAAAAAAAAAE="`)
	if a.member("version") != 3.0 || a.member("etag") != "AAAAAAAAAAI=" || a.member("properties", "desired", "$version") != 1.0 || !strings.Contains(a.body, `"version":3,"tags":{"a":"b"},"properties"`) {
		t.Errorf("tags beside desired properties that hold only what is read-only: %s", a.body)
	}
	rows := must(t, h, "POST", "/devices/query"+recordedVersion, `{"query":"select * from devices.modules"}`)
	if got, want := shape(rows.body), `"moduleId":"m",`; !strings.Contains(got, want) || !strings.HasSuffix(got, `,"capabilities":{"iotEdge":false}}]`) || rows.header.Get("x-ms-item-type") != "Twin" {
		t.Errorf("a row of devices.modules: %s", got)
	}
}
