package hub_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

const version = "?api-version=2021-04-12"

// managed is a bench on a hub that looks at changed twins as soon as it can.
func managed(t *testing.T, o hub.Options) *bench {
	t.Helper()
	o.ConfigurationsEvery = time.Millisecond
	h, c := open(t, o)
	d := newDevice(t, c, "dev-1")
	return &bench{t, h, c, d.Authentication.SymmetricKey.Primary}
}

// configure makes a configuration of devices.
func (b *bench) configure(id, condition string, priority int, content string) answer {
	b.Helper()
	return b.must("PUT", "/configurations/"+id+version,
		fmt.Sprintf(`{"id":%q,"content":{"deviceContent":%s},"targetCondition":%q,"priority":%d}`, id, content, condition, priority))
}

// settled asks until an answer has a text that a configuration brings sooner or later.
func (b *bench) settled(path, text string) answer {
	b.Helper()
	var a answer
	eventually(b, path+" has "+text, func() bool {
		a = call(b, b.hub, "GET", path+version, "") // what a configuration makes may not be there yet
		return strings.Contains(a.body, text)
	})
	return a
}

// The life of a configuration as it was recorded from the service.
func TestConfigurationLifecycle(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	const path = "/configurations/c1" + version
	made := b.must("PUT", path, `{"id":"c1","labels":{"a":"b"},"content":{"deviceContent":{"properties.desired.k":1}},"targetCondition":"*","priority":2}`, "If-Match", `""`)
	b.equal("ETag", made.header.Get("ETag"), `"MQ=="`)
	for _, want := range []string{
		`{"id":"c1","schemaVersion":null,"labels":{"a":"b"},"content":{"deviceContent":{"properties.desired.k":1}},"targetCondition":"*","createdTimeUtc":"`,
		`"priority":2,"systemMetrics":{"results":{},"queries":{"appliedCount":"select deviceId from devices where configurations.[[c1]].status = 'Applied'",` +
			`"targetedCount":"select deviceId from devices"}},"metrics":{"results":{},"queries":{}},"etag":"MQ=="}`,
	} {
		if !strings.Contains(made.body, want) {
			t.Errorf("no %s in %s", want, made.body)
		}
	}
	b.equal("lastUpdatedTimeUtc", made.member("lastUpdatedTimeUtc"), made.member("createdTimeUtc"))
	b.equal("exists", call(t, b.hub, "PUT", path, made.body).header.Get("iothub-errorcode"), "ConfigurationAlreadyExists")
	b.equal("an ETag without quotes counts for none", call(t, b.hub, "PUT", path, made.body, "If-Match", "MQ==").status, 409)
	b.equal("stale", call(t, b.hub, "PUT", path, made.body, "If-Match", `"OQ=="`).status, 412)
	changed := strings.Replace(strings.Replace(made.body, `"priority":2`, `"priority":3`, 1), `desired.k":1`, `desired.k":2`, 1)
	updated := b.must("PUT", path, changed, "If-Match", "*")
	b.equal("etag", updated.member("etag"), "Mg==")
	b.equal("priority", updated.member("priority"), 3)
	b.equal("content is never changed", updated.member("content", "deviceContent", "properties.desired.k"), 1)
	b.equal("createdTimeUtc", updated.member("createdTimeUtc"), made.member("createdTimeUtc"))
	if updated.member("lastUpdatedTimeUtc") == made.member("lastUpdatedTimeUtc") {
		t.Error("lastUpdatedTimeUtc did not move")
	}
	b.equal("by its ETag", call(t, b.hub, "PUT", path, changed, "If-Match", `"Mg=="`).member("etag"), "Mw==")
	b.equal("GET", b.must("GET", path, "").header.Get("ETag"), `"Mw=="`)
	list := b.must("GET", "/configurations"+version+"&top=1", "")
	if !strings.HasPrefix(list.body, `[{"id":"c1"`) || list.header.Get("ETag") != "" {
		t.Errorf("list %s, ETag %q", list.body, list.header.Get("ETag"))
	}
	b.equal("stale delete", call(t, b.hub, "DELETE", path, "", "If-Match", `"MQ=="`).status, 412)
	b.equal("delete", call(t, b.hub, "DELETE", path, "").status, 204)
	for _, gone := range []answer{
		call(t, b.hub, "GET", path, ""), call(t, b.hub, "DELETE", path, "", "If-Match", "*"), call(t, b.hub, "PUT", path, changed, "If-Match", "*"),
	} {
		b.equal("gone", gone.status, 404)
		b.equal("gone", gone.header.Get("iothub-errorcode"), "ConfigurationNotFound")
	}
	b.equal("empty list", b.must("GET", "/configurations"+version, "").body, "[]")
}

// What a twin shows of configurations, and the content in it, is as recorded.
func TestConfigurationReachesTwinsAndDevices(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	w := b.online()
	w.Subscribe(0, topics.FilterDesired)
	b.must("PATCH", twinPath, `{"tags":{"plant":"r43"},"properties":{"desired":{"own":1}}}`)
	w.Expect(mqtt.PUBLISH)
	newDevice(t, b.service, "dev-2")
	made := b.configure("c1", "tags.plant = 'r43'", 0, `{"properties.desired.a.b":{"x":1,"y":[2]}}`)
	told := w.Expect(mqtt.PUBLISH)
	b.equal("the device is told", told.Payload, `{"a":{"b":{"x":1,"y":[2]}},"$version":3}`)
	twin := b.settled("/twins/dev-1", `"configurations":{"c1":{"status":"Applied"}},"capabilities"`)
	b.equal("version", twin.member("version"), 4)
	b.equal("etag", twin.member("etag"), "AAAAAAAAAAM=")
	at := func(path ...string) any {
		return twin.member(append([]string{"properties", "desired", "$metadata"}, path...)...)
	}
	b.equal("leaf", at("a", "b", "x", "$lastUpdatedBy"), "c1")
	b.equal("list", at("a", "b", "y", "$lastUpdatedBy"), "c1")
	for _, path := range [][]string{{"$lastUpdatedBy"}, {"a", "$lastUpdatedBy"}, {"a", "b", "$lastUpdatedBy"}, {"own", "$lastUpdatedBy"}} {
		b.equal(strings.Join(path, "."), at(path...), nil)
	}
	updated, err := time.Parse(time.RFC3339, made.member("lastUpdatedTimeUtc").(string))
	if err != nil {
		t.Fatal(err)
	}
	b.equal("digest", at("a", "b", "x", "$lastUpdatedByDigest"), fmt.Sprint(621355968000000000+updated.UnixNano()/100))
	if other := b.must("GET", "/twins/dev-2"+version, ""); strings.Contains(other.body, "c1") {
		t.Errorf("a device that does not match has it: %s", other.body)
	}
	b.settled("/configurations/c1", `"results":{"appliedCount":1,"targetedCount":1}`)

	// One that comes to match gets it, one that is made so too; one that ceases keeps it, and so do all when it is deleted.
	b.must("PATCH", "/twins/dev-2"+version, `{"tags":{"plant":"r43"}}`)
	b.settled("/twins/dev-2", `"x":1`)
	b.must("POST", "/devices"+version, `[{"id":"dev-3","importMode":"create","tags":{"plant":"r43"}}]`)
	b.settled("/twins/dev-3", `"x":1`)
	b.settled("/configurations/c1", `"results":{"appliedCount":3,"targetedCount":3}`)
	b.must("PATCH", "/twins/dev-3"+version, `{"tags":{"plant":null}}`)
	b.settled("/configurations/c1", `"results":{"appliedCount":2,"targetedCount":2}`)
	left := b.must("GET", "/twins/dev-3"+version, "")
	b.equal("kept", left.member("properties", "desired", "a", "b", "x"), 1)
	b.equal("not targeted", left.member("configurations"), nil)
	b.equal("delete", call(t, b.hub, "DELETE", "/configurations/c1"+version, "").status, 204)
	eventually(b, "the twin forgets a configuration that is gone", func() bool {
		twin = b.must("GET", twinPath, "")
		return twin.member("configurations") == nil
	})
	b.equal("kept", twin.member("properties", "desired", "a", "b", "x"), 1)
	w.Silent()
}

// A service that writes over what a configuration says is written over in turn.
func TestConfigurationStands(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	b.configure("c1", "*", 0, `{"properties.desired.a":1}`)
	b.settled("/twins/dev-1", `"a":1`)
	b.must("PATCH", twinPath, `{"properties":{"desired":{"a":2,"b":3}}}`)
	twin := b.settled("/twins/dev-1", `"$version":4`)
	b.equal("a", twin.member("properties", "desired", "a"), 1)
	b.equal("b", twin.member("properties", "desired", "b"), 3)
	b.must("PATCH", twinPath, `{"properties":{"desired":{"a":null}}}`)
	b.settled("/twins/dev-1", `"$version":6`)
}

// Where two want the same, the higher priority has it, of equal ones the one made later; of what only the weaker one
// wants nothing is lost.
func TestConfigurationsInConflict(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	b.configure("low", "*", 1, `{"properties.desired.a":"low","properties.desired.only":"low"}`)
	b.settled("/twins/dev-1", `"a":"low"`)
	b.configure("high", "deviceId = 'dev-1'", 2, `{"properties.desired.a":"high"}`)
	b.settled("/twins/dev-1", `"a":"high","only":"low"`)
	b.settled("/twins/dev-1", `"configurations":{"high":{"status":"Applied"},"low":{"status":"Applied"}}`)
	b.configure("lost", "*", 1, `{"properties.desired.a":{"below":1}}`)
	b.settled("/twins/dev-1", `"lost":{"status":"Targeted"}`)
	b.settled("/configurations/lost", `"results":{"appliedCount":0,"targetedCount":1}`)
	b.configure("later", "*", 2, `{"properties.desired.a":"later"}`)
	b.settled("/twins/dev-1", `"a":"later","only":"low"`)
	b.settled("/twins/dev-1", `"high":{"status":"Targeted"},"later":{"status":"Applied"}`)
	b.equal("delete", call(t, b.hub, "DELETE", "/configurations/later"+version, "").status, 204)
	b.settled("/twins/dev-1", `"a":"high","only":"low"`)
	// Priority can be changed.
	doc := b.must("GET", "/configurations/lost"+version, "").body
	b.must("PUT", "/configurations/lost"+version, strings.Replace(doc, `"priority":1`, `"priority":9`, 1), "If-Match", "*")
	b.settled("/twins/dev-1", `"a":{"below":1},"only":"low"`)
}

func TestCustomMetricsCountTwins(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	newDevice(t, b.service, "dev-2")
	b.must("PUT", "/configurations/c1"+version, `{"id":"c1","content":{"deviceContent":{"properties.desired.a":1}},"targetCondition":"deviceId = 'none'","metrics":{"queries":{
		"done":"SELECT deviceId FROM devices WHERE properties.reported.done = true", "one":"SELECT TOP 1 deviceId FROM devices","modules":"SELECT moduleId FROM devices.modules"}}}`)
	b.settled("/configurations/c1", `"metrics":{"results":{"done":0,"modules":0,"one":1}`)
	w := b.online()
	w.Subscribe(0, topics.FilterTwinResponses)
	w.Publish(0, topics.Report("1"), `{"done":true}`)
	w.Expect(mqtt.PUBLISH)
	b.must("PUT", "/devices/dev-1/modules/m1"+version, `{"deviceId":"dev-1","moduleId":"m1"}`)
	b.settled("/configurations/c1", `"metrics":{"results":{"done":1,"modules":1,"one":1}`)
	b.settled("/configurations/c1", `"results":{"appliedCount":0,"targetedCount":0}`)
}

func TestConfigurationsOfModules(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	b.must("PUT", "/devices/dev-1/modules/m1"+version, `{"deviceId":"dev-1","moduleId":"m1"}`)
	b.must("PUT", "/devices/dev-1/modules/m2"+version, `{"deviceId":"dev-1","moduleId":"m2"}`)
	b.must("PUT", "/configurations/c1"+version, `{"id":"c1","content":{"moduleContent":{"properties.desired.a":1}},"targetCondition":"FROM devices.modules WHERE moduleId = 'm1'"}`)
	b.settled("/twins/dev-1/modules/m1", `"configurations":{"c1":{"status":"Applied"}}`)
	b.settled("/configurations/c1", `"results":{"appliedCount":1,"targetedCount":1}`)
	for _, path := range []string{"/twins/dev-1", "/twins/dev-1/modules/m2"} {
		if a := b.must("GET", path+version, ""); strings.Contains(a.body, `"c1"`) {
			t.Errorf("%s has it: %s", path, a.body)
		}
	}
	found := b.must("POST", queryPath, `{"query":"SELECT moduleId FROM devices.modules WHERE configurations.[[c1]].status = 'Applied'"}`)
	b.equal("query", found.body, `[{"moduleId":"m1"}]`)
}

func TestDeploymentsOfEdgeDevices(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	b.must("PUT", "/devices/edge-1"+version, `{"deviceId":"edge-1","capabilities":{"iotEdge":true}}`)
	deploy := func(id string, priority int, content string) {
		b.must("PUT", "/configurations/"+id+version, fmt.Sprintf(`{"id":%q,"priority":%d,"targetCondition":"*","content":{"modulesContent":%s}}`, id, priority, content))
	}
	deploy("base", 1, `{"$edgeAgent":{"properties.desired":{"modules":{"m":1}}},"m":{"properties.desired":{"a":1,"b":2}}}`)
	b.settled("/twins/edge-1/modules/m", `"configurations":{"base":{"status":"Applied"}}`)
	b.settled("/twins/edge-1/modules/$edgeAgent", `"modules":{"m":1}`)
	b.settled("/twins/edge-1", `"configurations":{"base":{"status":"Applied"}}`)
	b.settled("/configurations/base", `"results":{"appliedCount":1,"targetedCount":1}`)
	deploy("layer", 2, `{"m":{"properties.desired.b":3}}`)
	b.settled("/twins/edge-1/modules/m", `"a":1,"b":3`)
	deploy("new", 3, `{"$edgeAgent":{"properties.desired":{"modules":{}}},"m":{"properties.desired":{"c":4}}}`)
	b.settled("/twins/edge-1/modules/m", `"desired":{"c":4,"$metadata"`)
	b.settled("/twins/edge-1", `"configurations":{"base":{"status":"Targeted"},"layer":{"status":"Targeted"},"new":{"status":"Applied"}}`)
	b.equal("no gateway", b.must("GET", twinPath, "").member("configurations"), nil)
}

func TestApplyConfigurationContent(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	b.must("PUT", "/devices/edge-1"+version, `{"deviceId":"edge-1","capabilities":{"iotEdge":true}}`)
	apply := func(device, body string) answer {
		return call(t, b.hub, "POST", "/devices/"+device+"/applyConfigurationContent"+version, body)
	}
	const content = `{"modulesContent":{"$edgeAgent":{"properties.desired":{"a":1}},"mine":{"properties.desired.x.y":2}}}`
	b.equal("apply", apply("edge-1", content).status, 204)
	b.equal("whole", b.must("GET", "/twins/edge-1/modules/$edgeAgent"+version, "").member("properties", "desired", "a"), 1)
	b.equal("part", b.must("GET", "/twins/edge-1/modules/mine"+version, "").member("properties", "desired", "x", "y"), 2)
	b.equal("again", apply("edge-1", `{"modulesContent":{"mine":{"properties.desired":{"z":3}}}}`).status, 204)
	b.equal("replaced", b.must("GET", "/twins/edge-1/modules/mine"+version, "").member("properties", "desired", "x"), nil)
	for name, c := range map[string]struct {
		device, body string
		status       int
		code         string
	}{
		"no gateway":        {"dev-1", content, 400, "ArgumentInvalid"},
		"unknown":           {"none", content, 404, "DeviceNotFound"},
		"content of others": {"edge-1", `{"deviceContent":{"properties.desired.a":1}}`, 400, "InvalidConfigurationContent"},
		"no content":        {"edge-1", `{}`, 400, "InvalidConfigurationContent"},
		"a bad path":        {"edge-1", `{"modulesContent":{"mine":{"properties.desired.ok":1},"other":{"tags.a":1}}}`, 400, "InvalidConfigurationContent"},
		"no JSON":           {"edge-1", `{`, 400, "ArgumentInvalid"},
	} {
		a := apply(c.device, c.body)
		if a.status != c.status || a.header.Get("iothub-errorcode") != c.code {
			t.Errorf("%s: %d %s; want %d %s", name, a.status, a.header.Get("iothub-errorcode"), c.status, c.code)
		}
	}
	b.equal("nothing half-written", b.must("GET", "/twins/edge-1/modules/mine"+version, "").member("properties", "desired", "ok"), nil)
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	good := `"content":{"deviceContent":{"properties.desired.a":1}}`
	for name, c := range map[string]struct{ id, body, code string }{
		"id in capitals":      {"C1", `{"id":"C1",` + good + `}`, "ArgumentInvalid"},
		"id too long":         {strings.Repeat("a", 129), `{"id":"` + strings.Repeat("a", 129) + `",` + good + `}`, "ArgumentInvalid"},
		"another id":          {"c1", `{"id":"c2",` + good + `}`, "ArgumentInvalid"},
		"no JSON":             {"c1", `{"id":`, "ArgumentInvalid"},
		"a list":              {"c1", `[]`, "ArgumentInvalid"},
		"no content":          {"c1", `{"id":"c1"}`, "InvalidConfigurationContent"},
		"empty content":       {"c1", `{"id":"c1","content":{"deviceContent":{}}}`, "InvalidConfigurationContent"},
		"two contents":        {"c1", `{"id":"c1","content":{"deviceContent":{"properties.desired.a":1},"moduleContent":{"properties.desired.a":1}}}`, "InvalidConfigurationContent"},
		"tags":                {"c1", `{"id":"c1","content":{"deviceContent":{"tags.a":1}}}`, "InvalidConfigurationContent"},
		"reported":            {"c1", `{"id":"c1","content":{"deviceContent":{"properties.reported.a":1}}}`, "InvalidConfigurationContent"},
		"a prefix of another": {"c1", `{"id":"c1","content":{"deviceContent":{"properties.desiredX":1}}}`, "InvalidConfigurationContent"},
		"an empty name":       {"c1", `{"id":"c1","content":{"deviceContent":{"properties.desired..a":1}}}`, "InvalidConfigurationContent"},
		"a name of the hub":   {"c1", `{"id":"c1","content":{"deviceContent":{"properties.desired.$version":1}}}`, "InvalidConfigurationContent"},
		"null":                {"c1", `{"id":"c1","content":{"deviceContent":{"properties.desired.a":null}}}`, "InvalidConfigurationContent"},
		"too large":           {"c1", `{"id":"c1","content":{"deviceContent":{"properties.desired.a":["` + strings.Repeat(strings.Repeat("x", 4000)+`","`, 9) + `"]}}}`, "InvalidConfigurationContent"},
		"priority below 0":    {"c1", `{"id":"c1","priority":-1,` + good + `}`, "ArgumentInvalid"},
		"priority no number":  {"c1", `{"id":"c1","priority":"high",` + good + `}`, "ArgumentInvalid"},
		"no condition":        {"c1", `{"id":"c1","targetCondition":"tags.a ==",` + good + `}`, "ArgumentInvalid"},
		"another attribute":   {"c1", `{"id":"c1","targetCondition":"connectionState = 'Connected'",` + good + `}`, "ArgumentInvalid"},
		"a desired property":  {"c1", `{"id":"c1","targetCondition":"properties.desired.a = 1",` + good + `}`, "ArgumentInvalid"},
		"* for modules":       {"c1", `{"id":"c1","targetCondition":"*","content":{"moduleContent":{"properties.desired.a":1}}}`, "ArgumentInvalid"},
		"a bad metric":        {"c1", `{"id":"c1","metrics":{"queries":{"m":"SELECT"}},` + good + `}`, "ArgumentInvalid"},
		"a metric of jobs":    {"c1", `{"id":"c1","metrics":{"queries":{"m":"SELECT * FROM devices.jobs"}},` + good + `}`, "ArgumentInvalid"},
		"six metrics": {"c1", `{"id":"c1","metrics":{"queries":{"a":"SELECT * FROM devices","b":"SELECT * FROM devices","c":"SELECT * FROM devices",
			"d":"SELECT * FROM devices","e":"SELECT * FROM devices","f":"SELECT * FROM devices"}},` + good + `}`, "ArgumentInvalid"},
	} {
		a := call(t, b.hub, "PUT", "/configurations/"+c.id+version, c.body)
		if a.status != 400 || a.header.Get("iothub-errorcode") != c.code {
			t.Errorf("%s: %d %s; want 400 %s", name, a.status, a.body, c.code)
		}
	}
	b.equal("nothing was kept", b.must("GET", "/configurations"+version, "").body, "[]")
}

func TestQueriesOfConfigurationsAreTested(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	a := b.must("POST", "/configurations/testQueries"+version, `{"targetCondition":"tags.a = 1","customMetricQueries":{"good":"SELECT deviceId FROM devices","bad":"SELECT deviceId"}}`)
	b.equal("sound", a.member("targetConditionError"), "")
	if bad, _ := a.member("customMetricQueryErrors", "bad").(string); bad == "" || a.member("customMetricQueryErrors", "good") != nil {
		t.Error(a.body)
	}
	for _, condition := range []string{"*", "tags.a ==", "status = 'enabled'", "FROM devices WHERE deviceId = 'x'"} {
		a := b.must("POST", "/configurations/testQueries"+version, fmt.Sprintf(`{"targetCondition":%q}`, condition))
		if text, _ := a.member("targetConditionError").(string); text == "" {
			t.Errorf("%s is sound: %s", condition, a.body)
		}
	}
	b.equal("modules", b.must("POST", "/configurations/testQueries"+version, `{"targetCondition":"FROM devices.modules WHERE moduleId = 'm'"}`).body,
		`{"targetConditionError":"","customMetricQueryErrors":{}}`)
	b.equal("no JSON", call(t, b.hub, "POST", "/configurations/testQueries"+version, `[`).status, 400)
}

// A twin without room for the content keeps what it has, and is not counted as applied.
func TestContentWithoutRoom(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	long := strings.Repeat("x", 4000)
	b.must("PATCH", twinPath, fmt.Sprintf(`{"properties":{"desired":{"full":["%[1]s","%[1]s","%[1]s","%[1]s","%[1]s","%[1]s","%[1]s","%[1]s"]}}}`, long))
	b.configure("c1", "*", 0, `{"properties.desired.a":"`+long+`"}`)
	b.settled("/twins/dev-1", `"configurations":{"c1":{"status":"Targeted"}}`)
	b.settled("/configurations/c1", `"results":{"appliedCount":0,"targetedCount":1}`)
	b.must("PATCH", twinPath, `{"properties":{"desired":{"full":null}}}`)
	b.settled("/twins/dev-1", `"configurations":{"c1":{"status":"Applied"}}`)
}

// A hub that was stopped knows its configurations, and goes on applying them.
func TestConfigurationsSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := hub.Options{DataDir: dir, ConfigurationsEvery: time.Millisecond}
	first, err := hub.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	must(t, first, "PUT", devicePath, `{"deviceId":"dev-1"}`)
	made := must(t, first, "PUT", "/configurations/c1"+version, `{"id":"c1","content":{"deviceContent":{"properties.desired.a":1}},"targetCondition":"*"}`)
	before := must(t, first, "GET", twinPath, "").body
	eventually(t, "it is applied", func() bool {
		before = must(t, first, "GET", twinPath, "").body
		return strings.Contains(before, "Applied")
	})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	h, c := open(t, o)
	b := &bench{T: t, hub: h, service: c}
	again := b.settled("/configurations/c1", `"results":{"appliedCount":1,"targetedCount":1}`)
	b.equal("etag", again.member("etag"), made.member("etag"))
	b.equal("createdTimeUtc", again.member("createdTimeUtc"), made.member("createdTimeUtc"))
	if after := b.must("GET", twinPath, "").body; !strings.Contains(after, "Applied") || after != before {
		t.Errorf("the twin was\n%s\nand is\n%s", before, after)
	}
	newDevice(t, c, "dev-2")
	b.settled("/twins/dev-2", `"$lastUpdatedBy":"c1"`)
	b.equal("delete", call(t, h, "DELETE", "/configurations/c1"+version, "").status, 204)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	last, _ := open(t, o)
	b.hub = last
	b.equal("deleted for good", b.must("GET", "/configurations"+version, "").body, "[]")
}

func TestLimitsOfConfigurations(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{Tier: "F1", Units: 1})
	for i := range 10 {
		b.configure(fmt.Sprintf("c%d", i), "", 0, `{"properties.desired.a":1}`)
	}
	a := call(t, b.hub, "PUT", "/configurations/one-more"+version, `{"id":"one-more","content":{"deviceContent":{"properties.desired.a":1}}}`)
	b.equal("the eleventh", a.status, 403)
	inVirtualTime(t, hub.Options{Tier: "S1", Units: 1, Shape: shut()}, func(t *testing.T, h *hub.Hub, _ *service.Client) {
		h.Arm()
		for i, want := range []int{200, 429} {
			if got := call(t, h, "GET", "/configurations"+version, "").status; got != want {
				t.Errorf("call %d at once: %d; want %d", i+1, got, want)
			}
		}
	})
	basic := tiered(t, hub.Options{Tier: "B1", Units: 1})
	b.equal("basic", call(t, basic.hub, "GET", "/configurations"+version, "").header.Get("iothub-errorcode"), "OperationNotAvailableInCurrentTier")
	b.equal("no token", call(t, b.hub, "GET", "/configurations"+version, "", "Authorization", "").status, 401)
}

// A deployment whose module a device has no room for leaves others out of nothing.
func TestDeploymentWithoutRoomForItsModule(t *testing.T) {
	t.Parallel()
	b := managed(t, hub.Options{})
	b.must("PUT", "/devices/a-full"+version, `{"deviceId":"a-full","capabilities":{"iotEdge":true}}`)
	b.must("PUT", "/devices/b-edge"+version, `{"deviceId":"b-edge","capabilities":{"iotEdge":true}}`)
	full := false
	for i := range 60 {
		path := fmt.Sprintf("/devices/a-full/modules/m%d", i)
		if a := call(t, b.hub, "PUT", path+version, fmt.Sprintf(`{"deviceId":"a-full","moduleId":"m%d"}`, i)); a.status == 400 {
			full = true
			break
		}
	}
	b.equal("the device is full", full, true)
	b.must("PUT", "/configurations/edge"+version, `{"id":"edge","content":{"modulesContent":{"$edgeAgent":{"properties.desired.a":1},"more":{"properties.desired.b":2}}},"targetCondition":"*","priority":1}`)
	b.configure("plain", "*", 1, `{"properties.desired.c":3}`)
	b.settled("/twins/dev-1", `"c":3`)
	b.settled("/twins/b-edge/modules/more", `"b":2`)
	b.settled("/twins/a-full/modules/$edgeAgent", `"a":1`)
	b.equal("no room", call(t, b.hub, "GET", "/twins/a-full/modules/more"+version, "").status, 404)
}
