package peer_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	client "github.com/Azure/go-amqp"
	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/cbs"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = sas.NewKey()

// identities are some whose key is the test's; a token's resource it does not look at.
type identities map[string]bool

func (ids identities) Authenticate(c devices.Claim) (devices.Proof, error) {
	if !ids[c.Client] {
		return devices.Proof{}, iothub.ErrDeviceNotFound
	}
	token, err := sas.Parse(c.Token)
	if err != nil {
		return devices.Proof{}, err
	}
	return devices.Proof{Expiry: token.Expiry}, token.Verify(time.Now(), key)
}

type sink struct {
	engine.Ignore
	link *engine.Link
}

func (s *sink) Deliver(d engine.Delivery) { s.link.Settle(d, amqp.State{Code: amqp.Accepted}) }

// kinds are links of devices, and links that a policy with ServiceConnect opens at any other address.
func kinds() []peer.Kind {
	isDevice := func(a address.Address) bool { _, _, ok := a.Device(); return ok }
	return append(cbs.Kinds(),
		peer.Kind{Sends: true, Match: isDevice, Attach: func(p *peer.Peer, r peer.Request) (engine.Grant, error) {
			id, _, _ := r.Address.Device()
			_, err := p.AsDevice(r.Link, id)
			return engine.Grant{Handler: &sink{link: r.Link}, Credit: 10}, err
		}},
		peer.Kind{Sends: true, Match: func(a address.Address) bool { return !isDevice(a) }, Attach: func(p *peer.Peer, r peer.Request) (engine.Grant, error) {
			return engine.Grant{Handler: &sink{link: r.Link}, Credit: 10}, p.AsPolicy(r.Link, policy.ServiceConnect, r.Address)
		}})
}

// signed is a token over a resource as it is written, with the bytes of a key or, as clients of Event Hubs do, with its text.
func signed(resource, policy string, text bool) string {
	expiry := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	mac := key.Sign(resource + "\n" + expiry)
	if text {
		h := hmac.New(sha256.New, []byte(key.Base64()))
		h.Write([]byte(resource + "\n" + expiry))
		mac = h.Sum(nil)
	}
	token := "SharedAccessSignature sr=" + resource + "&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac)) + "&se=" + expiry
	if policy != "" {
		token += "&skn=" + policy
	}
	return token
}

// What a token opens, by its resource as the SDKs write it, its policy and the form of its key.
func TestWhatTokensOpen(t *testing.T) {
	var all identities = map[string]bool{"dev-1": true, "dev-1/mod": true, "a b": true, "a%20b": true, "Dev": true}
	h := faults.New(t.Context(), nil)
	f := peer.New(peer.Options{Identities: all, Faults: h, Kinds: kinds(), Policies: policy.Set{
		"service": {Primary: key, Rights: policy.ServiceConnect}, "device": {Primary: key, Rights: policy.DeviceConnect},
		"owner": {Primary: key, Rights: policy.ServiceConnect | policy.DeviceConnect},
	}})
	defer f.Close()
	for _, tt := range []struct {
		resource, policy string
		text             bool
		status           int32
		opens, refuses   []string
	}{
		{"localhost%2Fdevices%2Fdev-1", "", false, 200, []string{"/devices/dev-1/x"}, []string{"/devices/dev-1/modules/mod/x", "/devices/Dev/x", "/messages/devicebound"}},
		{"localhost%2Fdevices%2Fdev-1%2Fmodules%2Fmod", "", false, 200, []string{"devices/dev-1/modules/mod/x"}, []string{"/devices/dev-1/x"}},
		{"localhost%2Fdevices%2Fnobody", "", false, 404, nil, nil},
		{"localhost%2Fdevices%2Fdev-1", "", true, 401, nil, nil},
		{"localhost%2Fdevices%2Fa%2520b", "", false, 200, []string{"/devices/a%2520b/x"}, nil},
		{"localhost%2Fdevices%2FDev%252D", "", false, 404, nil, nil},
		{"localhost", "", false, 401, nil, nil},
		{"localhost:5671", "device", false, 200, []string{"/devices/dev-1/x", "/devices/Dev/x"}, []string{"/messages/devicebound"}},
		{"amqps%3A%2F%2Flocalhost%3A5671%2F", "service", false, 200, []string{"/messages/devicebound"}, []string{"/devices/dev-1/x"}},
		{"localhost%2Fdevices%2FDev", "owner", false, 200, []string{"/devices/Dev/x"}, []string{"/devices/dev-1/x", "/messages/devicebound"}},
		{"localhost%2Fdevices%2FDev", "owner", true, 401, nil, nil},
		{"localhost", "owner", true, 401, nil, nil},
		{"sb%3A%2F%2Flocalhost%2Fhub", "service", true, 200, []string{"hub/ConsumerGroups/$Default/Partitions/0"}, []string{"/messages/devicebound", "hubs/x"}},
		{
			"amqps%3a%2f%2flocalhost%2fhub%2fconsumergroups%2f%24default%2fpartitions%2f0", "service", true, 200,
			[]string{"Hub/ConsumerGroups/$Default/Partitions/0"},
			[]string{"hub/ConsumerGroups/$Default/Partitions/1"},
		},
		{"localhost", "nobody", false, 401, nil, nil},
	} {
		a, b := memnet.Pipe()
		f.Take(b)
		c, err := client.NewConn(t.Context(), a, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.NewSession(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if status := put(t, s, signed(tt.resource, tt.policy, tt.text)); status != tt.status {
			t.Errorf("%s of %q: %d; want %d", tt.resource, tt.policy, status, tt.status)
		}
		for _, address := range tt.opens {
			if _, err := s.NewSender(t.Context(), address, nil); err != nil {
				t.Errorf("%s of %q: %s: %v", tt.resource, tt.policy, address, err)
			}
		}
		for _, address := range tt.refuses {
			if _, err := s.NewSender(t.Context(), address, nil); err == nil {
				t.Errorf("%s of %q opens %s", tt.resource, tt.policy, address)
			}
		}
		c.Close()
	}
}

// Of what is longer than any token nothing is kept.
func TestALongToken(t *testing.T) {
	f := peer.New(peer.Options{Identities: identities{"dev-1": true}, Faults: faults.New(t.Context(), nil), Kinds: kinds()})
	defer f.Close()
	a, b := memnet.Pipe()
	f.Take(b)
	c, err := client.NewConn(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if status := put(t, s, signed("localhost%2Fdevices%2Fdev-1", "", false)+"&x="+strings.Repeat("x", 8<<10)); status != 400 {
		t.Errorf("status %d; want 400", status)
	}
}

func put(t *testing.T, s *client.Session, token string) int32 {
	t.Helper()
	snd, err := s.NewSender(t.Context(), "$cbs", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.NewReceiver(t.Context(), "$cbs", nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &client.Message{Value: token, ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": "x"}}
	if err := snd.Send(t.Context(), m, nil); err != nil {
		t.Fatal(err)
	}
	if m, err = r.Receive(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return m.ApplicationProperties["status-code"].(int32)
}
