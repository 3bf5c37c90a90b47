package hub_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// shown is who sends, and by what: a token, or else a certificate.
type shown struct {
	client string
	token  string
	cert   *tls.Certificate
}

// path is that of the identity.
func (s shown) path() string {
	device, module := entity.Split(s.client)
	if module == "" {
		return "/devices/" + device
	}
	return "/devices/" + device + "/modules/" + module
}

func (s shown) config(h *hub.Hub) *tls.Config {
	c := &tls.Config{RootCAs: h.CAPool(), ServerName: "localhost"}
	if s.cert != nil {
		c.Certificates = []tls.Certificate{*s.cert}
	}
	return c
}

// overMQTT sends a message, and the same as a will.
func (s shown) overMQTT(t *testing.T, h *hub.Hub, text string) {
	w, err := dialTLS(t, h, s.config(h))
	if err != nil {
		t.Fatal(err)
	}
	c := wiretest.Login(s.client, sas.NewKey())
	c.Password = []byte(s.token)
	topic := strings.TrimPrefix(s.path(), "/") + "/messages/events/"
	c.HasWill, c.WillTopic, c.WillPayload = true, []byte(topic), []byte(text)
	if _, code := w.Connect(c); code != mqtt.Accepted {
		t.Fatalf("%s: CONNACK %d", text, code)
	}
	w.Publish(1, topic, text)
	w.Expect(mqtt.PUBACK)
	w.Conn.Close()
}

// overAMQP sends a message on a connection that has shown a token to $cbs, or a certificate to TLS.
func (s shown) overAMQP(t *testing.T, h *hub.Hub, text string) {
	nc, err := tls.Dial("tcp", h.Addr(), s.config(h))
	if err != nil {
		t.Fatal(err)
	}
	o := &amqp.ConnOptions{}
	if s.cert != nil {
		o.SASLType = amqp.SASLTypeExternal("")
	}
	c, err := amqp.NewConn(t.Context(), nc, o)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer c.Close()
	if s.cert == nil {
		if status, why := putToken(t, c, "localhost"+s.path(), s.token); status != 200 {
			t.Fatalf("%s: %d %s", text, status, why)
		}
	}
	sendAMQP(t, c, s.path(), text)
}

func sendAMQP(t *testing.T, c *amqp.Conn, path, text string) {
	t.Helper()
	snd, err := amqpSession(t, c).NewSender(t.Context(), path+"/messages/events", nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if err := snd.Send(t.Context(), amqp.NewMessage([]byte(text)), nil); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func (s shown) overHTTPS(t *testing.T, h *hub.Hub, text string) {
	r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+h.Addr()+s.path()+"/messages/events"+version, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if s.token != "" {
		r.Header.Set("Authorization", s.token)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: s.config(h)}}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 204 {
		t.Fatalf("%s: %s", text, resp.Status)
	}
}

// Readers see how the sender of a message has shown who it is, whatever protocol it came by: not how its identity might.
func TestAuthMethodOfMessages(t *testing.T) {
	h, c := open(t, hub.Options{TelemetryAlways: true})
	cert, err := h.DeviceCertificate("any name")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.Certificate[0])
	thumbprint := hex.EncodeToString(sum[:])
	if _, err := c.CreateDevice(t.Context(), registry.Identity{
		DeviceID: "cert", Status: registry.StatusEnabled,
		Authentication: registry.Authentication{Type: registry.AuthSelfSigned, Thumbprint: registry.Thumbprints{Primary: thumbprint}},
	}); err != nil {
		t.Fatal(err)
	}
	must(t, h, "PUT", "/devices/cert/modules/mod"+apiVersion, `{"deviceId":"cert","moduleId":"mod","authentication":{"type":"selfSigned",`+
		`"x509Thumbprint":{"primaryThumbprint":"`+thumbprint+`"}}}`)
	device := newDevice(t, c, "key").Authentication.SymmetricKey.Primary
	module := newModule(t, h, "key", "mod")
	until := time.Now().Add(time.Hour)
	policy := sas.Sign("localhost", h.ConnectionString("device").Key, "device", until)
	want := make(map[string]string) // annotations by payload
	for _, tt := range []struct {
		by          shown
		scope, kind string
	}{
		{shown{client: "key", token: sas.Sign("localhost/devices/key", device, "", until)}, "device", "sas"},
		{shown{client: "key/mod", token: sas.Sign("localhost/devices/key/modules/mod", module, "", until)}, "module", "sas"},
		{shown{client: "cert", cert: &cert}, "device", "x509"},
		{shown{client: "cert/mod", cert: &cert}, "module", "x509"},
		{shown{client: "key", token: policy}, "hub", "sas"},
		{shown{client: "key/mod", token: policy}, "hub", "sas"},
		{shown{client: "cert", token: policy}, "hub", "sas"},
	} {
		for protocol, send := range map[string]func(*testing.T, *hub.Hub, string){
			"MQTT": tt.by.overMQTT, "AMQP": tt.by.overAMQP, "HTTPS": tt.by.overHTTPS,
		} {
			text := fmt.Sprintf("%s by %s %s over %s", tt.by.client, tt.scope, tt.kind, protocol)
			want[text] = fmt.Sprintf(`{"scope":%q,"type":%q,"issuer":"iothub","acceptingIpFilterRule":null}`, tt.scope, tt.kind)
			send(t, h, text)
		}
	}
	for user, token := range map[string]string{"key@sas.localhost": sas.Sign("localhost/devices/key", device, "", until), "device@sas.root.localhost": policy} {
		text, scope := "SASL PLAIN of "+user, "device"
		if token == policy {
			scope = "hub"
		}
		want[text] = fmt.Sprintf(`{"scope":%q,"type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`, scope)
		plain := amqpConn(t, h, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(user, token)})
		sendAMQP(t, plain, "/devices/key", text)
	}
	eventually(t, "the wills are there", func() bool { return h.Stats().Wills == 7 && h.Stats().Events.Messages == len(want)+7 })
	seen := make(map[string]bool)
	for _, m := range readAll(t, h) {
		text := string(m.GetData())
		seen[text] = true
		if got := m.Annotations["iothub-connection-auth-method"]; got != want[text] {
			t.Errorf("%s: %v", text, got)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d of %d messages are there", len(seen), len(want))
	}
}
