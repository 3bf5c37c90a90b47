package hub_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/throttle"
	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// shut lets hardly anything through: of each class one operation and what comes in the meantime.
func shut() bucket.Shape { return bucket.Shape{Burst: time.Nanosecond, Backlog: -1} }

// tiered is a bench on a hub of a tier, whose limits hold from now on.
func tiered(t *testing.T, o hub.Options) *bench {
	t.Helper()
	h, c := open(t, o)
	d := newDevice(t, c, "dev-1")
	h.Arm()
	return &bench{t, h, c, d.Authentication.SymmetricKey.Primary}
}

func (b *bench) stat(class tier.Class) throttle.Stat {
	for _, s := range b.hub.Stats().Throttles {
		if s.Class == class {
			return s
		}
	}
	b.Fatalf("no throttle %s", class)
	return throttle.Stat{}
}

func TestWithoutTierNothingIsThrottled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.hub.Arm()
	w := b.online()
	w.Subscribe(0, topics.FilterTwinResponses)
	for range 300 { // an S1 serves 100 in a second
		w.Twin()
	}
	for range 150 { // an S1 serves 100 in a minute
		b.must("GET", devicePath, "")
	}
	s := b.hub.Stats()
	if s.Throttles != nil || s.Quota != 0 || s.QuotaUsed != 0 {
		t.Errorf("throttles %v, quota %d of %d", s.Throttles, s.QuotaUsed, s.Quota)
	}
	if s.Served[tier.ClassTwinRead] != 300 || s.Served[tier.ClassRegistry] < 150 {
		t.Errorf("served %v", s.Served)
	}
}

// Each kind of client sees 429 in its own way (the contract's section 5.3).
func TestShed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := tiered(t, hub.Options{NoPort: true, Tier: "S1", Units: 1, Shape: shut()})
		var last answer
		for range 3 {
			last = call(t, b.hub, "GET", devicePath, "")
		}
		b.equal("REST", last.status, 429)
		b.equal("header", last.header.Get("iothub-errorcode"), "ThrottlingException")
		if text, _ := last.member("Message").(string); !strings.HasPrefix(text, "ErrorCode:ThrottlingException;") || !strings.HasSuffix(text, "Operation type: CRUD") {
			t.Errorf("Message: %s", last.body)
		}
		if a := call(t, b.hub, "POST", "/devices?api-version=2021-04-12", `[{"id":"a","importMode":"create"},{"id":"b","importMode":"create"}]`); a.status != 429 {
			t.Errorf("a bulk call of two devices: %d; each counts", a.status)
		}
		w := b.online()
		w.Subscribe(0, topics.FilterTwinResponses)
		shed := 0
		for range 10 {
			w.Publish(0, topics.TwinGet("7"), "")
			if f := w.Expect(mqtt.PUBLISH); f.Topic == "$iothub/twin/res/429/?$rid=7" {
				shed++
				b.equal("errorCode", answer{body: f.Payload}.member("errorCode"), 429001)
			}
		}
		if shed == 0 {
			t.Error("ten reads at once were all served")
		}
		for range 100 {
			w.Publish(1, topics.Telemetry("dev-1", nil), "x")
		}
		w.Closed("telemetry above the limit")
		codes := make(map[byte]int)
		for range 5 {
			_, code := dial(t, b.hub).Connect(wiretest.Login("dev-1", b.key))
			codes[code]++
		}
		if codes[mqtt.Unavailable] == 0 {
			t.Errorf("five connections at once: codes %v; want some 3", codes)
		}
		if s := b.stat(tier.ClassTwinRead); s.Rejected != uint64(shed) || !s.PerHub || s.Rate != 100 {
			t.Errorf("%+v; want %d rejected at 100 a second for the hub", s, shed)
		}
	})
}

// Above the burst operations wait: latency grows before anything is shed.
func TestShaped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := tiered(t, hub.Options{NoPort: true, Tier: "S1", Units: 1, Shape: bucket.Shape{Burst: 50 * time.Millisecond}})
		w := b.online()
		w.Subscribe(0, topics.FilterTwinResponses)
		began := time.Now()
		for range 25 { // five at once, then a hundred a second
			w.Twin()
		}
		if took := time.Since(began); took.Round(time.Millisecond) != 200*time.Millisecond {
			t.Errorf("25 reads took %v; want 200ms", took)
		}
		if s := b.stat(tier.ClassTwinRead); s.Delayed != 20 || s.Rejected != 0 || s.Admitted != 25 {
			t.Errorf("%+v; want 25 admitted, 20 of them late", s)
		}
	})
}

// Units raise what is per unit, and not what is per hub.
func TestUnits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		tier  string
		units int
		want  map[tier.Class]float64
	}{
		{"F1", 1, map[tier.Class]float64{tier.ClassConnect: 100, tier.ClassTwinRead: 100, tier.ClassRegistry: 100.0 / 60}},
		{"S1", 10, map[tier.Class]float64{tier.ClassConnect: 120, tier.ClassTwinRead: 100, tier.ClassTwinUpdate: 50, tier.ClassQuery: 200.0 / 60}},
		{"S2", 20, map[tier.Class]float64{tier.ClassConnect: 2400, tier.ClassTwinRead: 200, tier.ClassTwinUpdate: 100, tier.ClassJobDevice: 20}},
		{"S3", 2, map[tier.Class]float64{tier.ClassConnect: 12000, tier.ClassTwinRead: 1000, tier.ClassTwinUpdate: 500, tier.ClassMethod: 2 * 24 << 10 / 4}},
	} {
		b := tiered(t, hub.Options{Tier: tt.tier, Units: tt.units})
		for class, want := range tt.want {
			if got := b.stat(class).Rate; got < want*0.999 || got > want*1.001 {
				t.Errorf("%s with %d units: %s %g a second; want %g", tt.tier, tt.units, class, got, want)
			}
		}
	}
	if _, err := hub.Open(t.Context(), hub.Options{Tier: "F1", Units: 2}); err == nil {
		t.Error("two units of F1 were opened")
	}
}

// The basic tiers have no twins, methods, messages to devices and jobs; they have telemetry and queries.
func TestBasicTiers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"B1", "B2", "B3"} {
		b := tiered(t, hub.Options{Tier: name, Units: 1})
		for _, r := range [][3]string{
			{"GET", twinPath, ""},
			{"PATCH", twinPath, `{"tags":{"a":1}}`},
			{"POST", "/twins/dev-1/methods?api-version=2021-04-12", `{"methodName":"m"}`},
			{"POST", "/devices/dev-1/messages/deviceBound?api-version=2021-04-12", "x"},
			{"PUT", "/jobs/v2/j?api-version=2021-04-12", `{"jobId":"j","type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{}}}`},
		} {
			a := call(t, b.hub, r[0], r[1], r[2])
			if a.status != 403 || a.header.Get("iothub-errorcode") != "OperationNotAvailableInCurrentTier" {
				t.Errorf("%s: %s %s: %d %s", name, r[0], r[1], a.status, a.body)
			}
		}
		w := b.online()
		w.Subscribe(0, topics.FilterTwinResponses)
		w.Publish(0, topics.TwinGet("1"), "")
		if f := w.Expect(mqtt.PUBLISH); !strings.HasPrefix(f.Topic, "$iothub/twin/res/403/") {
			t.Errorf("%s: a twin over MQTT: %s", name, f.Topic)
		}
		w.Publish(1, topics.Telemetry("dev-1", nil), "x")
		w.Expect(mqtt.PUBACK)
		b.must("GET", devicePath, "")
	}
}

// What counts against the day, and what happens when the day's messages are used up.
func TestQuota(t *testing.T) {
	t.Parallel()
	b := tiered(t, hub.Options{Tier: "F1", Units: 1}) // meters in started blocks of 512 bytes, 8,000 a day
	used := int64(0)
	expect := func(what string, n int64) {
		t.Helper()
		used += n
		if s := b.hub.Stats(); s.QuotaUsed != used || s.Quota != 8000 {
			t.Errorf("%s: %d of %d are used; want %d of 8000", what, s.QuotaUsed, s.Quota, used)
			used = s.QuotaUsed
		}
	}
	w := b.online()
	w.Subscribe(0, topics.FilterTwinResponses, topics.FilterDesired)
	expect("a connection and subscriptions", 0)
	b.must("GET", devicePath, "")
	b.must("GET", "/statistics/devices?api-version=2021-04-12", "")
	expect("the registry", 0)
	w.Twin()
	expect("a twin that is read", 1)
	w.Publish(0, topics.Report("1"), fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 600)))
	w.Expect(mqtt.PUBLISH)
	expect("a report of 608 bytes", 2)
	w.Publish(0, topics.Report("1"), "{")
	w.Expect(mqtt.PUBLISH)
	b.must("PATCH", twinPath, `{"properties":{"desired":{"a":1}}}`)
	w.Expect(mqtt.PUBLISH)
	used = b.hub.Stats().QuotaUsed - 2
	expect("a desired property and its notification", 2)
	w.Publish(1, topics.Telemetry("dev-1", nil), strings.Repeat("x", 512))
	w.Expect(mqtt.PUBACK)
	expect("telemetry of 512 bytes", 1)
	w.Publish(1, topics.Telemetry("dev-1", topics.Bag{{Name: "a", Value: "b", HasValue: true}}), strings.Repeat("x", 511))
	w.Expect(mqtt.PUBACK)
	expect("telemetry of 513 bytes with its properties", 2)
	for range 16 { // 512 each
		w.Publish(1, topics.Telemetry("dev-1", nil), strings.Repeat("x", 256<<10))
	}
	w.Closed("telemetry above the quota")
	if _, code := dial(t, b.hub).Connect(wiretest.Login("dev-1", b.key)); code != mqtt.NotAuthorized {
		t.Errorf("a connection without quota: CONNACK %d; want 5", code)
	}
	a := call(t, b.hub, "GET", twinPath, "")
	b.equal("REST without quota", fmt.Sprintf("%d %s", a.status, a.header.Get("iothub-errorcode")), "403 IotHubQuotaExceeded")
	b.must("GET", devicePath, "") // the registry goes on
}

// A message to a device counts the same over HTTPS and over AMQP: one against its throttle, and its size against the day. One that is
// shed, or for nobody, counts for nothing.
func TestMessagesToDevicesCount(t *testing.T) {
	t.Parallel()
	const size = 5000 // two started blocks of 4 KB
	overHTTPS := func(t *testing.T, b *bench) func(id string) (refused string) {
		return func(id string) string {
			a := call(t, b.hub, "POST", fmt.Sprintf(sendTo, id), strings.Repeat("x", size))
			return a.header.Get("iothub-errorcode")
		}
	}
	overAMQP := func(t *testing.T, b *bench) func(id string) (refused string) {
		token := sas.Sign("localhost", b.hub.ConnectionString("service").Key, "service", time.Now().Add(time.Hour))
		conn := amqpConn(t, b.hub, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain("service@sas.root.localhost", token)})
		s, err := amqpSession(t, conn).NewSender(t.Context(), "/messages/devicebound", nil)
		if err != nil {
			t.Fatal(err)
		}
		return func(id string) string {
			to := "/devices/" + id + "/messages/devicebound"
			m := &amqp.Message{Properties: &amqp.MessageProperties{To: &to}, Data: [][]byte{make([]byte, size-len(to))}}
			if err := s.Send(t.Context(), m, nil); err != nil {
				condition, _ := refusal(err)
				return condition
			}
			return ""
		}
	}
	for name, c := range map[string]struct {
		dial          func(t *testing.T, b *bench) func(id string) string
		unknown, shed string
	}{
		"HTTPS": {overHTTPS, "DeviceNotFound", "ThrottlingException"},
		"AMQP":  {overAMQP, "amqp:not-found", "com.microsoft:device-container-throttled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := tiered(t, hub.Options{Tier: "S1", Units: 1, Shape: shut()})
			send := c.dial(t, b)
			b.equal("for nobody", send("nobody"), c.unknown)
			sent, got := 0, ""
			for ; got == "" && sent < 20; sent++ {
				got = send("dev-1")
			}
			sent-- // the last was shed
			s := b.hub.Stats()
			if got != c.shed || sent == 0 || s.Served[tier.ClassC2D] != uint64(sent) || s.QuotaUsed != int64(2*sent) {
				t.Errorf("%d messages, then %q; %d were served, of %d blocks", sent, got, s.Served[tier.ClassC2D], s.QuotaUsed)
			}
			if n := b.must("DELETE", "/devices/dev-1/commands?api-version=2021-04-12", "").member("totalMessagesPurged"); n != float64(sent) {
				t.Errorf("%v messages wait; want %d", n, sent)
			}
		})
	}
}

// Services share the limits for twins with devices, unless they are split.
func TestSplitTwins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for split, want := range map[bool]int{false: 429, true: 200} {
			shape := shut()
			shape.SplitTwins = split
			b := tiered(t, hub.Options{NoPort: true, Tier: "S1", Units: 1, Shape: shape})
			w := b.online()
			w.Subscribe(0, topics.FilterTwinResponses)
			for range 50 { // uses up what devices have
				w.Publish(0, topics.TwinGet("1"), "")
			}
			for range 50 {
				w.Expect(mqtt.PUBLISH)
			}
			if got := call(t, b.hub, "GET", twinPath, "").status; got != want {
				t.Errorf("split %t: a service's read gives %d; want %d", split, got, want)
			}
		}
	})
}

// Limits begin with Arm: what was set up before does not count.
func TestArm(t *testing.T) {
	t.Parallel()
	h, c := open(t, hub.Options{Tier: "S1", Units: 1, Shape: shut()})
	for i := range 50 {
		newDevice(t, c, fmt.Sprint("dev-", i))
	}
	if s := h.Stats(); s.Throttles[0].Rejected != 0 || s.QuotaUsed != 0 {
		t.Errorf("before Arm: %+v", s.Throttles[0])
	}
}

// A restart ends all connections, and the hub is back after the time with all it knew.
func TestRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.online()
	w.Subscribe(0, topics.FilterTwinResponses)
	began := time.Now()
	b.hub.Restart(300 * time.Millisecond)
	w.Closed("a restart")
	eventually(t, "the hub is back", func() bool {
		return reaches(b)
	})
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("back after %v; want 300ms", took)
	}
	b.equal("twin over the kept session", b.online().Twin(), `{"desired":{"$version":1},"reported":{"$version":1}}`)
}

// reaches reports whether a device can connect now.
func reaches(b *bench) bool {
	nc, err := net.Dial("tcp", b.hub.Addr())
	if err != nil {
		return false
	}
	defer nc.Close()
	c := wiretest.Login("dev-1", b.key)
	c.HasUsername, c.HasPassword = true, true
	if _, err := nc.Write(mqtt.AppendConnect(nil, &c)); err != nil {
		return false
	}
	p, err := framing.NewReader(nc).Next()
	return err == nil && p.Type == mqtt.CONNACK
}
