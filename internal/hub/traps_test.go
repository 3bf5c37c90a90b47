package hub_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// The traps of the contract's section 9, one case each, in its order.
func TestTraps(t *testing.T) {
	t.Parallel()
	for i, trap := range []struct {
		name string
		run  func(*bench)
	}{
		{"a kept session brings all its subscriptions back", func(b *bench) {
			first := b.online()
			first.Subscribe(0, topics.FilterTwinResponses, topics.FilterDesired, topics.FilterMethods)
			first.Subscribe(1, topics.FilterC2D("dev-1"))
			first.Conn.Close()
			second := b.online() // subscribes to nothing
			b.equal("twin", second.Twin(), `{"desired":{"$version":1},"reported":{"$version":1}}`)
			b.must("PATCH", twinPath, `{"properties":{"desired":{"a":1}}}`)
			b.equal("notification", second.Expect(mqtt.PUBLISH).Payload, `{"a":1,"$version":2}`)
			b.must("POST", "/devices/dev-1/messages/deviceBound?api-version=2021-04-12", "hello")
			b.equal("message", second.Expect(mqtt.PUBLISH).Payload, "hello")
		}},
		{"a refused report has a JSON body with errorCode and message", func(b *bench) {
			w := b.online()
			w.Subscribe(0, topics.FilterTwinResponses)
			w.Publish(0, topics.Report("7"), nullInArray)
			f := w.Expect(mqtt.PUBLISH)
			b.equal("topic", f.Topic, "$iothub/twin/res/400/?$rid=7")
			a := answer{body: f.Payload}
			b.equal("errorCode", a.member("errorCode"), 400004)
			for _, name := range []string{"message", "trackingId", "timestampUtc"} {
				if text, _ := a.member(name).(string); text == "" {
					b.Errorf("%s is missing in %s", name, f.Payload)
				}
			}
		}},
		{"204 without body for a report, 200 with bare sections for a get", func(b *bench) {
			w := b.online()
			w.Subscribe(0, topics.FilterTwinResponses)
			w.Publish(0, topics.Report("a b/ü"), `{"x":1}`)
			f := w.Expect(mqtt.PUBLISH)
			b.equal("report", f.Topic+f.Payload, "$iothub/twin/res/204/?$rid=a b/ü&$version=2")
			b.equal("get", w.Twin(), `{"desired":{"$version":1},"reported":{"x":1,"$version":2}}`)
		}},
		{"a desired notification has its $version, and removed keys as null", func(b *bench) {
			w := b.online()
			w.Subscribe(0, topics.FilterDesired)
			b.must("PATCH", twinPath, `{"properties":{"desired":{"a":1,"b":2}}}`)
			b.equal("patch", w.Expect(mqtt.PUBLISH).Payload, `{"a":1,"b":2,"$version":2}`)
			b.must("PATCH", twinPath, `{"properties":{"desired":{"a":1,"none":null}}}`)
			f := w.Expect(mqtt.PUBLISH)
			b.equal("the same once more", f.Topic+f.Payload, `$iothub/twin/PATCH/properties/desired/?$version=3{"a":1,"none":null,"$version":3}`)
			b.must("PUT", twinPath, `{"properties":{"desired":{"a":1,"c":100}}}`)
			var got map[string]any
			if err := json.Unmarshal([]byte(w.Expect(mqtt.PUBLISH).Payload), &got); err != nil {
				b.Fatal(err)
			}
			b.equal("replace", got, map[string]any{"a": 1, "b": nil, "c": 100, "$version": 4})
			b.must("PATCH", twinPath, `{"tags":{"x":1},"properties":{"desired":{},"reported":{"y":2}}}`)
			w.Silent() // tags alone tell a device nothing
		}},
		{"a token is verified over its sr as written", func(b *bench) {
			for _, sr := range []string{
				"localhost%2Fdevices%2Fdev-1", "localhost%2fdevices%2fdev-1", "localhost/devices/dev-1", "localhost", "LOCALHOST%3A8883%2Fdevices%2Fdev-1",
			} {
				c := wiretest.Login("dev-1", b.key)
				c.Password = []byte(rawToken(sr, b.key, ""))
				if _, code := dial(b, b.hub).Connect(c); code != mqtt.Accepted {
					b.Errorf("a device with sr=%s: CONNACK %d", sr, code)
				}
			}
			owner := b.hub.ConnectionString("iothubowner")
			b.must("GET", twinPath, "", "Authorization", rawToken("localhost", owner.Key, "iothubowner"))
			a := call(b, b.hub, "GET", twinPath, "", "Authorization", rawToken("localhost%2Fdevices", owner.Key, "iothubowner"))
			b.equal("a token for another path", a.status, 401)
		}},
		{"a user name without question mark, or without version", func(b *bench) {
			for _, user := range []string{
				"localhost/dev-1/api-version=2020-09-30", "localhost/dev-1", "localhost/dev-1/",
				"localhost/dev-1/?api-version=2016-11-14&x=y",
			} {
				c := wiretest.Login("dev-1", b.key)
				c.Username = []byte(user)
				if _, code := dial(b, b.hub).Connect(c); code != mqtt.Accepted {
					b.Errorf("user name %s: CONNACK %d", user, code)
				}
			}
		}},
		{`If-Match "*" and real etags, with quotes and without`, func(b *bench) {
			for _, etag := range []string{`"*"`, `*`, `"AAAAAAAAAAM="`, `AAAAAAAAAAQ=`, `W/"AAAAAAAAAAU="`} {
				b.must("PATCH", twinPath, `{"tags":{"x":1}}`, "If-Match", etag)
			}
			a := call(b, b.hub, "PATCH", twinPath, `{"tags":{"x":2}}`, "If-Match", `"AAAAAAAAAAE="`)
			b.equal("an old etag", a.status, 412)
			b.equal("its error", a.header.Get("iothub-errorcode"), "PreconditionFailed")
			b.must("DELETE", devicePath, "", "If-Match", `"*"`)
		}},
		{"/devices/ with a slash at its end", func(b *bench) {
			a := b.must("GET", "/devices/?top=5&api-version=2021-04-12", "")
			if !strings.HasPrefix(a.body, `[{"deviceId":"dev-1"`) {
				b.Errorf("list: %s", a.body)
			}
			a = b.must("POST", "/devices/?api-version=2021-04-12", `[{"id":"dev-2","importMode":"create"}]`)
			b.equal("bulk", a.body, `{"isSuccessful":true,"errors":[],"warnings":[]}`)
		}},
		{"success is 200 or 204, JSON says so in its content type", func(b *bench) {
			for _, r := range [][3]string{
				{"PUT", "/devices/dev-9?api-version=2020-09-30", `{"deviceId":"dev-9"}`},
				{"GET", "/devices/dev-9?api-version=2020-09-30", ""},
				{"GET", "/devices?api-version=2020-09-30", ""},
				{"POST", "/devices?api-version=2020-09-30", `[{"id":"dev-8","importMode":"create"}]`},
				{"GET", twinPath, ""},
				{"PATCH", twinPath, `{"tags":{"a":1}}`},
				{"PUT", twinPath, `{"tags":{"a":1}}`},
				{"POST", queryPath, everything},
				{"GET", "/statistics/devices?api-version=2020-09-30", ""},
				{"GET", "/statistics/service?api-version=2020-09-30", ""},
				{"PUT", "/jobs/v2/job-1?api-version=2020-09-30", `{"jobId":"job-1","type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{"a":1}}}`},
				{"GET", "/jobs/v2/job-1?api-version=2020-09-30", ""},
				{"DELETE", "/devices/dev-9?api-version=2020-09-30", ""},
			} {
				var condition []string
				if r[0] == "DELETE" {
					condition = []string{"If-Match", "*"}
				}
				a := b.must(r[0], r[1], r[2], condition...)
				if a.status != 200 && a.status != 204 {
					b.Errorf("%s %s: %d", r[0], r[1], a.status)
				}
				if kind := a.header.Get("Content-Type"); a.status == 200 && kind != "application/json; charset=utf-8" {
					b.Errorf("%s %s: content type %q", r[0], r[1], kind)
				}
			}
		}},
		{"item types in Pascal case, no continuation on the last page, Query or query", func(b *bench) {
			newDevice(b.T, b.service, "dev-2")
			a := b.must("POST", queryPath, `{"Query":"SELECT * FROM devices"}`, paging.HeaderMaxItemCount, "1")
			b.equal("item type", a.header.Get("x-ms-item-type"), "Twin")
			a = b.must("POST", queryPath, everything, paging.HeaderMaxItemCount, "1", paging.HeaderContinuation, a.header.Get("x-ms-continuation"))
			if _, there := a.header["X-Ms-Continuation"]; there {
				b.Error("the last page has a continuation header")
			}
			a = b.must("POST", queryPath, `{"QUERY":"SELECT deviceId FROM devices"}`)
			b.equal("item type of a projection", a.header.Get("x-ms-item-type"), "Raw")
			a = b.must("POST", queryPath, `{"query":"SELECT * FROM devices.jobs"}`)
			b.equal("item type of jobs", a.header.Get("x-ms-item-type"), "DeviceJob")
		}},
		{"importMode in any case, id, and empty keys that are made", func(b *bench) {
			b.must("POST", "/devices?api-version=2021-04-12",
				`[{"id":"dev-2","importMode":"Create","authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}},{"id":"dev-3",`+
					`"importMode":"CREATEORUPDATE"}]`)
			a := b.must("GET", "/devices/dev-2?api-version=2021-04-12", "")
			key, _ := a.member("authentication", "symmetricKey", "primaryKey").(string)
			if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) < 16 {
				b.Errorf("key made: %q", key)
			}
			b.must("POST", "/devices?api-version=2021-04-12",
				`[{"id":"dev-2","importMode":"Update","status":"disabled","authentication":{"type":"sas","symmetricKey":{"primaryKey":"",`+
					`"secondaryKey":""}}},{"id":"dev-3","importMode":"DELETE"}]`)
			a = b.must("GET", "/devices/dev-2?api-version=2021-04-12", "")
			b.equal("the key of an update with empty keys", a.member("authentication", "symmetricKey", "primaryKey"), key)
			b.equal("status", a.member("status"), "disabled")
		}},
		{"errors of REST in Pascal case, of MQTT in camel case", func(b *bench) {
			a := call(b, b.hub, "GET", "/twins/nobody?api-version=2021-04-12", "")
			b.equal("status", a.status, 404)
			b.equal("header", a.header.Get("iothub-errorcode"), "DeviceNotFound")
			if text, _ := a.member("Message").(string); !strings.HasPrefix(text, "ErrorCode:DeviceNotFound;") {
				b.Errorf("Message: %s", a.body)
			}
			if text, _ := a.member("ExceptionMessage").(string); !strings.HasPrefix(text, "Tracking ID:") {
				b.Errorf("ExceptionMessage: %s", a.body)
			}
			a = call(b, b.hub, "POST", "/twins/dev-1/methods?api-version=2021-04-12", `{"methodName":"m","responseTimeoutInSeconds":5}`)
			text, _ := a.member("Message").(string)
			b.equal("a method's error is JSON within Message", answer{body: text}.member("errorCode"), 404103)
			w := b.online()
			w.Subscribe(0, topics.FilterTwinResponses)
			w.Publish(0, topics.Report("1"), "{")
			a = answer{body: w.Expect(mqtt.PUBLISH).Payload}
			if a.member("errorCode") == nil || a.member("message") == nil || a.member("Message") != nil {
				b.Errorf("MQTT: %s", a.body)
			}
		}},
		{"dates end in Z", func(b *bench) {
			b.must("PATCH", twinPath, `{"properties":{"desired":{"a":1}}}`)
			dates := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`)
			right := regexp.MustCompile(`^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z"$`)
			for _, path := range []string{twinPath, devicePath} {
				found := dates.FindAllString(b.must("GET", path, "").body, -1)
				if len(found) < 3 {
					b.Errorf("%s has dates %v", path, found)
				}
				for _, date := range found {
					if !right.MatchString(date) {
						b.Errorf("%s: %s", path, date)
					}
				}
			}
		}},
		{"QoS 1 to $iothub topics is acknowledged", func(b *bench) {
			w := b.online()
			w.Subscribe(1, topics.FilterTwinResponses)
			for _, topic := range []string{topics.TwinGet("1"), topics.Report("2")} {
				id := w.Publish(1, topic, "{}")
				got, err := mqtt.DecodeAck(w.Expect(mqtt.PUBACK).Body)
				if err != nil || got != id {
					b.Errorf("%s: PUBACK %d, %v; want %d", topic, got, err, id)
				}
				w.Expect(mqtt.PUBLISH)
			}
			w.Publish(1, topics.MethodResponse(200, "none"), "")
			w.Expect(mqtt.PUBACK)
		}},
		{"system properties with an encoded $", func(b *bench) {
			hears := &listener{keys: map[string]sas.Key{"dev-1": b.key}}
			w := pipe(b, hears, front.Options{})
			w.Connect(wiretest.Login("dev-1", b.key))
			w.Publish(1, "devices/dev-1/messages/events/%24.mid=1&%24.ct=application%2Fjson&a%20b=c%2Fd%2Be", "x")
			w.Expect(mqtt.PUBACK)
			m := hears.message(b)
			if own, _ := m.Properties.Get("a b"); m.MessageID != "1" || m.ContentType != "application/json" || own != "c/d+e" || len(m.Properties) != 1 {
				b.Errorf("%+v", m)
			}
		}},
		{"a cloud-to-device topic has a $. property", func(b *bench) {
			w := b.online()
			w.Subscribe(1, topics.FilterC2D("dev-1"))
			b.must("POST", "/devices/dev-1/messages/deviceBound?api-version=2021-04-12", "hi", "iothub-messageid", "m1", "iothub-app-color", "red")
			f := w.Expect(mqtt.PUBLISH)
			if want := "devices/dev-1/messages/devicebound/%24."; !strings.HasPrefix(f.Topic, want) {
				b.Errorf("topic %s; want %s…", f.Topic, want)
			}
			if !strings.Contains(f.Topic, "%24.to=%2Fdevices%2Fdev-1%2Fmessages%2FdeviceBound") || !strings.Contains(f.Topic, "%24.mid=m1") || !strings.Contains(f.Topic, "color=red") || f.QoS != 1 {
				b.Errorf("topic %s with QoS %d", f.Topic, f.QoS)
			}
		}},
		{"a report leaves the etag and moves the version", func(b *bench) {
			before := b.must("GET", twinPath, "")
			w := b.online()
			w.Subscribe(0, topics.FilterTwinResponses)
			w.Publish(0, topics.Report("1"), `{"x":1}`)
			w.Expect(mqtt.PUBLISH)
			after := b.must("GET", twinPath, "")
			b.equal("etag", after.member("etag"), before.member("etag"))
			b.equal("version", after.member("version"), 3)
			b.must("PATCH", twinPath, `{"tags":{"a":1}}`, "If-Match", `"`+before.member("etag").(string)+`"`)
		}},
		{"arrays are replaced whole, hold no null, and need a version of 2019-10-01", func(b *bench) {
			w := b.online()
			w.Subscribe(0, topics.FilterTwinResponses)
			for _, patch := range []string{`{"a":[1,2,3]}`, `{"a":[4]}`} {
				w.Publish(0, topics.Report("1"), patch)
				w.Expect(mqtt.PUBLISH)
			}
			w.Publish(0, topics.Report("2"), `{"a":[1,null]}`)
			b.equal("null", w.Expect(mqtt.PUBLISH).Topic, "$iothub/twin/res/400/?$rid=2")
			b.equal("twin", w.Twin(), `{"desired":{"$version":1},"reported":{"a":[4],"$version":3}}`)
			old := dial(b, b.hub)
			c := wiretest.Login("dev-1", b.key)
			c.Username = []byte("localhost/dev-1/?api-version=2018-06-30")
			old.Connect(c)
			old.Publish(0, topics.Report("3"), `{"a":[5]}`)
			f := old.Expect(mqtt.PUBLISH)
			if f.Topic != "$iothub/twin/res/400/?$rid=3" || !strings.Contains(f.Payload, "arrays are not supported") {
				b.Errorf("an old version: %s %s", f.Topic, f.Payload)
			}
		}},
		{"any host name, with a port and without", func(b *bench) {
			_, port, _ := net.SplitHostPort(b.hub.Addr())
			for _, host := range []string{"localhost:" + port, "localhost", "testhub.local", "myhub.azure-devices.net"} {
				c := wiretest.Login("dev-1", b.key)
				c.Username = []byte(host + "/dev-1/?api-version=2021-04-12")
				c.Password = []byte(sas.Sign(host+"/devices/dev-1", b.key, "", time.Now().Add(time.Hour)))
				if _, code := dial(b, b.hub).Connect(c); code != mqtt.Accepted {
					b.Errorf("device, %s: CONNACK %d", host, code)
				}
				owner := b.hub.ConnectionString("iothubowner")
				b.must("GET", twinPath, "", "Authorization", sas.Sign(host, owner.Key, "iothubowner", time.Now().Add(time.Hour)))
			}
		}},
		{"without its token a query begins anew; a token belongs to its query, and not to a size of pages", func(b *bench) {
			for _, id := range []string{"dev-2", "dev-3"} {
				newDevice(b.T, b.service, id)
			}
			const sql = `{"query":"SELECT deviceId FROM devices"}`
			first := b.must("POST", queryPath, sql, paging.HeaderMaxItemCount, "2")
			repeated := b.must("POST", queryPath, sql, paging.HeaderMaxItemCount, "2")
			b.equal("the page", repeated.body, first.body)
			token := first.header.Get(paging.HeaderContinuation)
			second := b.must("POST", queryPath, sql, paging.HeaderMaxItemCount, "2", paging.HeaderContinuation, token)
			b.equal("the second page", second.body, `[{"deviceId":"dev-3"}]`)
			larger := b.must("POST", queryPath, sql, paging.HeaderMaxItemCount, "3", paging.HeaderContinuation, token)
			b.equal("the second page in another size", larger.body, second.body)
			a := call(b, b.hub, "POST", queryPath, everything, paging.HeaderMaxItemCount, "2", paging.HeaderContinuation, token)
			b.equal("a token with another query", a.status, 400)
		}},
		{"a new connection ends the old one and is not harmed by its end", func(b *bench) {
			old := b.online()
			old.Subscribe(0, topics.FilterTwinResponses, topics.FilterMethods)
			fresh := b.online()
			old.Closed("a second connection of the same device")
			eventually(b, "the old connection is gone", func() bool { return b.hub.Stats().Front.Connections == 1 })
			b.equal("connectionState", b.must("GET", devicePath, "").member("connectionState"), "Connected")
			b.equal("twin over the new one", fresh.Twin(), `{"desired":{"$version":1},"reported":{"$version":1}}`)
			done := make(chan answer, 1)
			go func() {
				done <- call(b, b.hub, "POST", "/twins/dev-1/methods?api-version=2021-04-12", `{"methodName":"m","responseTimeoutInSeconds":30}`)
			}()
			f := fresh.Expect(mqtt.PUBLISH)
			topic, err := topics.Parse(strings.Replace(f.Topic, "POST/m", "res/200", 1))
			if err != nil {
				b.Fatal(err)
			}
			fresh.Publish(0, topics.MethodResponse(200, topic.RequestID), `{"ok":true}`)
			b.equal("a method over the new one", (<-done).body, `{"status":200,"payload":{"ok":true}}`)
		}},
		{"TLS 1.2 is offered", func(b *bench) {
			w, err := dialTLS(b, b.hub, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12})
			if err != nil {
				b.Fatal(err)
			}
			if _, code := w.Connect(wiretest.Login("dev-1", b.key)); code != mqtt.Accepted {
				b.Errorf("CONNACK %d", code)
			}
		}},
	} {
		t.Run(fmt.Sprintf("%02d %s", i+1, trap.name), func(t *testing.T) {
			t.Parallel()
			trap.run(newBench(t))
		})
	}
}
