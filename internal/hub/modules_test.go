package hub_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

const apiVersion = "?api-version=2021-04-12"

// newModule makes a module and returns its key.
func newModule(t *testing.T, h *hub.Hub, device, module string) sas.Key {
	t.Helper()
	var m registry.Identity
	a := must(t, h, "PUT", "/devices/"+device+"/modules/"+module+apiVersion, `{"deviceId":"`+device+`","moduleId":"`+module+`"}`)
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatal(err)
	}
	return m.Authentication.SymmetricKey.Primary
}

// moduleLogin is the CONNECT of a module.
func moduleLogin(device, module string, key sas.Key) mqtt.Connect {
	c := wiretest.Login(device+"/"+module, key)
	c.Password = []byte(sas.Sign("localhost/devices/"+device+"/modules/"+module, key, "", time.Now().Add(time.Hour)))
	return c
}

// A module is a device of its own to the hub, with its own twin, and ends with its device.
func TestModules(t *testing.T) {
	dir := t.TempDir()
	h, service := open(t, hub.Options{DataDir: dir})
	device := newDevice(t, service, "dev-1")
	own := device.Authentication.SymmetricKey.Primary
	c := moduleLogin("dev-1", "mod", own)
	if _, code := dial(t, h).Connect(c); code != mqtt.NotAuthorized {
		t.Errorf("a module that does not exist: CONNACK %d", code)
	}
	key := newModule(t, h, "dev-1", "mod")
	if _, code := dial(t, h).Connect(c); code != mqtt.NotAuthorized {
		t.Errorf("a module with its device's key: CONNACK %d", code)
	}
	connect := func() *wiretest.Wire {
		t.Helper()
		w := dial(t, h)
		if _, code := w.Connect(moduleLogin("dev-1", "mod", key)); code != mqtt.Accepted {
			t.Fatalf("CONNACK %d", code)
		}
		w.Subscribe(0, topics.FilterTwinResponses, topics.FilterDesired, topics.FilterMethods, "devices/dev-1/modules/mod/#")
		return w
	}
	w := connect()
	d := online(t, h, "dev-1", own)
	d.Subscribe(0, topics.FilterDesired, topics.FilterMethods)
	w.Publish(0, topics.Report("1"), `{"of":"module"}`)
	if f := w.Expect(mqtt.PUBLISH); f.Topic != topics.ReportAccepted("1", 2) {
		t.Errorf("%s %s", f.Topic, f.Payload)
	}
	must(t, h, "PATCH", "/twins/dev-1/modules/mod"+apiVersion, `{"properties":{"desired":{"a":1}}}`)
	if f := w.Expect(mqtt.PUBLISH); f.Topic != topics.Desired(2) || f.Payload != `{"a":1,"$version":2}` {
		t.Errorf("%s %s", f.Topic, f.Payload)
	}
	d.Silent()
	if got := w.Twin(); got != `{"desired":{"a":1,"$version":2},"reported":{"of":"module","$version":2}}` {
		t.Errorf("the module's twin: %s", got)
	}
	a := must(t, h, "GET", "/twins/dev-1/modules/mod"+apiVersion, "")
	if a.member("properties", "reported", "of") != "module" || a.member("connectionState") != "Connected" {
		t.Errorf("%s", a.body)
	}
	if a := must(t, h, "GET", "/twins/dev-1"+apiVersion, ""); a.member("properties", "reported", "of") != nil {
		t.Errorf("the module reported for its device: %s", a.body)
	}
	answered := make(chan answer, 1)
	go func() {
		answered <- call(t, h, "POST", "/twins/dev-1/modules/mod/methods"+apiVersion, `{"methodName":"m","responseTimeoutInSeconds":30}`)
	}()
	topic, err := topics.Parse(w.Expect(mqtt.PUBLISH).Topic)
	if err != nil {
		t.Fatal(err)
	}
	w.Publish(0, topics.MethodResponse(3, topic.RequestID), "{}")
	if a := <-answered; a.member("status") != 3.0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.Publish(1, "devices/dev-1/modules/mod/messages/events/", "x")
	w.Expect(mqtt.PUBACK)

	enabled := func(status string) {
		t.Helper()
		in := registry.Identity{DeviceID: "dev-1", Status: status, Authentication: device.Authentication}
		if _, err := service.UpdateDevice(t.Context(), in, "*"); err != nil {
			t.Fatal(err)
		}
	}
	enabled(registry.StatusDisabled)
	w.Closed("a module of a device that was disabled")
	if _, code := dial(t, h).Connect(moduleLogin("dev-1", "mod", key)); code != mqtt.NotAuthorized {
		t.Errorf("a module of a disabled device: CONNACK %d", code)
	}
	enabled(registry.StatusEnabled)
	w = connect()
	must(t, h, "DELETE", "/devices/dev-1/modules/mod"+apiVersion, "", "If-Match", "*")
	w.Closed("a module that was deleted")
	key = newModule(t, h, "dev-1", "mod")
	w = connect()
	must(t, h, "DELETE", "/devices/dev-1"+apiVersion, "", "If-Match", "*")
	w.Closed("a module of a device that was deleted")
	if n := h.Stats().Remembered; n != 0 {
		t.Errorf("%d are remembered", n)
	}
}

// A module may show a certificate instead of a token.
func TestModuleCertificate(t *testing.T) {
	h, service := open(t, hub.Options{})
	newDevice(t, service, "dev-1")
	cert, err := h.DeviceCertificate("any name")
	if err != nil {
		t.Fatal(err)
	}
	thumbprint := sha256.Sum256(cert.Certificate[0])
	must(t, h, "PUT", "/devices/dev-1/modules/mod"+apiVersion, `{"deviceId":"dev-1","moduleId":"mod","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"`+
		hex.EncodeToString(thumbprint[:])+`"}}}`)
	other, err := h.DeviceCertificate("dev-1")
	if err != nil {
		t.Fatal(err)
	}
	for code, cert := range map[byte]tls.Certificate{mqtt.Accepted: cert, mqtt.NotAuthorized: other} {
		w, err := dialTLS(t, h, &tls.Config{Certificates: []tls.Certificate{cert}})
		if err != nil {
			t.Fatal(err)
		}
		c := wiretest.Login("dev-1/mod", sas.NewKey())
		c.Password = nil
		if _, got := w.Connect(c); got != code {
			t.Errorf("CONNACK %d; want %d", got, code)
		}
	}
}

// A device's id with a slash is no other way to a module: neither in a path, nor in a body.
func TestNoModuleGoesAsADevice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	newModule(t, b.hub, "dev-1", "m")
	const twin = "/twins/dev-1/modules/m" + version
	before := b.must("GET", twin, "").body
	keys := b.must("GET", "/devices/dev-1/modules/m"+version, "").body
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/devices/dev-1%2Fm" + version, ""},
		{"GET", "/devices/dev-1%2Fm/modules" + version, ""},
		{"DELETE", "/devices/dev-1%2Fm" + version, ""},
		{"GET", "/twins/dev-1%2Fm" + version, ""},
		{"PATCH", "/twins/dev-1%2fm" + version, `{"tags":{"a":1}}`},
		{"PUT", "/twins/dev-1%2Fm" + version, `{"tags":{"a":1}}`},
		{"POST", "/twins/dev-1%2Fm/methods" + version, `{"methodName":"x"}`},
		{"GET", "/digitaltwins/dev-1%2Fm" + version, ""},
		{"PATCH", "/digitaltwins/dev-1%2Fm" + version, `[{"op":"add","path":"/a","value":1}]`},
		{"POST", "/digitaltwins/dev-1%2Fm/commands/x" + version, ""},
		{"POST", "/devices/dev-1%2Fm/messages/deviceBound" + version, "x"},
		{"DELETE", "/devices/dev-1%2Fm/commands" + version, ""},
		{"POST", "/devices/dev-1%2Fm/applyConfigurationContent" + version, `{"modulesContent":{"$edgeAgent":{"properties.desired":{"a":1}}}}`},
		{"GET", "/twins/dev-1/modules/m%2Fm" + version, ""},
		{"POST", "/devices" + version, `[{"id":"dev-1/m","importMode":"delete"}]`},
		{"POST", "/devices" + version, `[{"id":"dev-1/m","importMode":"updateTwin","tags":{"a":1}}]`},
		{"POST", "/devices" + version, `[{"id":"dev-1","moduleId":"m/m","importMode":"delete"}]`},
		{"POST", "/devices/keys/regenerate" + version, `{"policyKey":"primaryKey","devices":[{"id":"dev-1/m"}]}`},
	} {
		if a := call(t, b.hub, c.method, c.path, c.body); a.status != 400 {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, a.status, a.body)
		}
	}
	b.equal("the twin", b.must("GET", twin, "").body, before)
	b.equal("the identity", b.must("GET", "/devices/dev-1/modules/m"+version, "").body, keys)
}
