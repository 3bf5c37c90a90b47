package hub_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

const digitalPath = "/digitaltwins/dev-1" + version

// What a Plug and Play device reported, and what of it is desired and acknowledged (howto-manage-digital-twin).
func TestDigitalTwin(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.equal("of a plain device", b.must("GET", digitalPath, "").body, `{"$dtId":"dev-1","$metadata":{"$model":""}}`)
	w := b.online()
	w.Subscribe(0, topics.FilterTwinResponses)
	w.Publish(0, topics.Report("1"), `{"serialNumber":"s1","thermostat1":{"__t":"c","maxTemp":25.3,"targetTemperature":{"value":20.4,"ac":200,"av":2,"ad":"done"}}}`)
	w.Expect(mqtt.PUBLISH)
	b.must("PATCH", twinPath, `{"properties":{"desired":{"thermostat1":{"__t":"c","targetTemperature":21},"mode":"eco"}}}`)
	a := b.must("GET", digitalPath, "")
	b.equal("ETag", a.header.Get("ETag"), `"AAAAAAAAAAI="`)
	b.equal("root", a.member("serialNumber"), "s1")
	b.equal("property", a.member("thermostat1", "maxTemp"), 25.3)
	b.equal("acknowledged", a.member("thermostat1", "targetTemperature"), 20.4)
	b.equal("marker", a.member("thermostat1", "__t"), nil)
	about := func(name string) any { return a.member("thermostat1", "$metadata", "targetTemperature", name) }
	b.equal("desired", about("desiredValue"), 21)
	b.equal("version", about("desiredVersion"), 2)
	b.equal("av", about("ackVersion"), 2)
	b.equal("ac", about("ackCode"), 200)
	b.equal("ad", about("ackDescription"), "done")
	if about("lastUpdateTime") == nil || a.member("$metadata", "serialNumber", "lastUpdateTime") == nil {
		t.Errorf("no times in %s", a.body)
	}
	b.equal("desired alone has no value", a.member("mode"), nil)
	b.equal("desired alone", a.member("$metadata", "mode", "desiredValue"), "eco")
	b.equal("unknown", call(t, b.hub, "GET", "/digitaltwins/none"+version, "").header.Get("iothub-errorcode"), "DeviceNotFound")
}

func TestDigitalTwinPatches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.online()
	w.Subscribe(0, topics.FilterDesired)
	for i, c := range []struct{ patch, told string }{
		{`[{"op":"add","path":"/mode","value":"eco"}]`, `{"mode":"eco","$version":2}`},
		{`[{"op":"replace","path":"/thermostat1/target","value":21.5}]`, `{"thermostat1":{"__t":"c","target":21.5},"$version":3}`},
		{`[{"op":"add","path":"/thermostat1/other","value":{"a":1}},{"op":"remove","path":"/mode"}]`, `{"thermostat1":{"__t":"c","other":{"a":1}},"mode":null,"$version":4}`},
		{`[{"op":"replace","path":"/thermostat1","value":{"target":3,"$metadata":{}}}]`, `{"thermostat1":{"__t":"c","target":3,"other":null},"$version":5}`},
		{`[{"op":"add","path":"/new","value":{"x":1,"$metadata":{}}},{"op":"replace","path":"/new/x","value":2}]`, `{"new":{"__t":"c","x":2},"$version":6}`},
		{`[{"op":"remove","path":"/new/x"}]`, `{"new":{"__t":"c","x":null},"$version":7}`},
		{`[{"op":"remove","path":"/thermostat1"}]`, `{"thermostat1":null,"$version":8}`},
		{`[{"op":"add","path":"/a~1b~0c","value":1}]`, `{"a/b~c":1,"$version":9}`},
	} {
		a := call(t, b.hub, "PATCH", digitalPath, c.patch)
		b.equal("status", a.status, 202)
		b.equal("body", a.body, "")
		b.equal("Location", a.header.Get("Location"), "/digitaltwins/dev-1")
		if want := b.must("GET", digitalPath, "").header.Get("ETag"); a.header.Get("ETag") != want || want == "" {
			t.Errorf("%d: ETag %s; want %s", i, a.header.Get("ETag"), want)
		}
		b.equal(c.patch, w.Expect(mqtt.PUBLISH).Payload, c.told)
	}
	before := b.must("GET", twinPath, "").body
	for name, patch := range map[string]string{
		"no JSON": `[`, "no list": `{}`, "an empty list": `[]`, "no path": `[{"op":"add","value":1}]`, "no slash": `[{"op":"add","path":"mode","value":1}]`,
		"the root": `[{"op":"add","path":"/","value":1}]`, "too deep": `[{"op":"add","path":"/a/b/c","value":1}]`, "no value": `[{"op":"add","path":"/mode"}]`,
		"test": `[{"op":"test","path":"/mode","value":1}]`, "no operation": `[{"path":"/mode","value":1}]`, "metadata": `[{"op":"add","path":"/$metadata","value":{}}]`,
		"a marker": `[{"op":"add","path":"/new/__t","value":"c"}]`, "a component without its marker": `[{"op":"replace","path":"/new","value":{"x":1}}]`,
		"the second of two": `[{"op":"add","path":"/good","value":1},{"op":"move","path":"/mode","from":"/good"}]`, "a name of twins": `[{"op":"add","path":"/a.b","value":1}]`,
		"a null": `[{"op":"add","path":"/mode","value":null}]`, "below a property": `[{"op":"add","path":"/plain","value":1},{"op":"add","path":"/plain/x","value":1}]`,
	} {
		if a := call(t, b.hub, "PATCH", digitalPath, patch); a.status != 400 || a.header.Get("iothub-errorcode") != "ArgumentInvalid" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	b.equal("nothing half-written", b.must("GET", twinPath, "").body, before)
	const good = `[{"op":"add","path":"/mode","value":1}]`
	b.equal("stale", call(t, b.hub, "PATCH", digitalPath, good, "If-Match", `"AAAAAAAAAAE="`).status, 412)
	b.equal("*", call(t, b.hub, "PATCH", digitalPath, good, "If-Match", `"*"`).status, 202)
	now := b.must("GET", digitalPath, "").header.Get("ETag")
	b.equal("its ETag", call(t, b.hub, "PATCH", digitalPath, good, "If-Match", now).status, 202)
	b.equal("unknown", call(t, b.hub, "PATCH", "/digitaltwins/none"+version, good).status, 404)
}

func TestDigitalTwinCommands(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.online()
	w.Subscribe(0, topics.FilterMethods)
	for path, method := range map[string]string{"/commands/reboot": "reboot", "/components/thermostat1/commands/getMaxMin": "thermostat1*getMaxMin"} {
		answers := make(chan answer)
		go func() {
			answers <- call(t, b.hub, "POST", "/digitaltwins/dev-1"+path+version+"&responseTimeoutInSeconds=10&connectTimeoutInSeconds=5", `{"delay":3}`)
		}()
		f := w.Expect(mqtt.PUBLISH)
		name, rid, _ := strings.Cut(strings.TrimPrefix(f.Topic, "$iothub/methods/POST/"), "/?$rid=")
		b.equal("method", name, method)
		b.equal("payload", f.Payload, `{"delay":3}`)
		w.Publish(0, "$iothub/methods/res/207/?$rid="+rid, `{"ok":true}`)
		a := <-answers
		b.equal("status", a.status, 200)
		b.equal("command's status", a.header.Get("x-ms-command-statuscode"), "207")
		b.equal("body", a.body, `{"ok":true}`)
	}
	newDevice(t, b.service, "away")
	for name, c := range map[string]struct {
		path, body string
		status     int
	}{
		"not online":     {"/digitaltwins/away/commands/reboot", `1`, 404},
		"unknown":        {"/digitaltwins/none/commands/reboot", `1`, 404},
		"no JSON":        {"/digitaltwins/dev-1/commands/reboot", `{`, 400},
		"a bad name":     {"/digitaltwins/dev-1/commands/re%2Bboot", `1`, 400},
		"a bad time-out": {"/digitaltwins/dev-1/commands/reboot?responseTimeoutInSeconds=soon", `1`, 400},
	} {
		path := c.path + version
		if strings.Contains(c.path, "?") {
			path = c.path + "&" + version[1:]
		}
		if a := call(t, b.hub, "POST", path, c.body); a.status != c.status {
			t.Errorf("%s: %d %s; want %d", name, a.status, a.body, c.status)
		}
	}
}

// Writers that meet lose nothing of each other.
func TestDigitalTwinPatchesAtOnce(t *testing.T) {
	t.Parallel()
	h, c := open(t, hub.Options{})
	newDevice(t, c, "dev-1")
	const writers = 8
	done := make(chan answer, writers)
	for i := range writers {
		go func() {
			done <- call(t, h, "PATCH", digitalPath, fmt.Sprintf(`[{"op":"add","path":"/room/p%d","value":%d}]`, i, i))
		}()
	}
	for range writers {
		if a := <-done; a.status != 202 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	a := must(t, h, "GET", twinPath, "")
	for i := range writers {
		if a.member("properties", "desired", "room", fmt.Sprintf("p%d", i)) != float64(i) {
			t.Errorf("p%d is lost: %s", i, a.body)
		}
	}
}
