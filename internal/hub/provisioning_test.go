package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/dps/limits"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	wire "github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// withDPS opens a hub with a provisioning service.
func withDPS(t testing.TB, o dps.Options, more ...func(*hub.Options)) *hub.Hub {
	t.Helper()
	opts := hub.Options{DPS: &o}
	for _, change := range more {
		change(&opts)
	}
	h, err := hub.Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// groupKey is the key of a device of the default group.
func groupKey(h *hub.Hub, id string) sas.Key {
	return wire.DeriveKey(h.DPS().GroupKey(dps.DefaultGroup), id)
}

// provisionLogin is the CONNECT of a device that shows a token.
func provisionLogin(h *hub.Hub, id string, key sas.Key) mqtt.Connect {
	scope := h.DPS().IDScope()
	return mqtt.Connect{
		ClientID: []byte(id), KeepAlive: 60, CleanSession: true,
		Username: []byte(wire.Name{IDScope: scope, RegistrationID: id, ClientVersion: "test/1"}.String()),
		Password: []byte(sas.Sign(wire.Resource(scope, id), key, wire.TokenPolicy, time.Now().Add(time.Hour))),
	}
}

// provisioner is a device that provisions, over memory.
type provisioner struct {
	*wiretest.Wire
	t testing.TB
}

// provisioning connects a device and subscribes.
func provisioning(t testing.TB, h *hub.Hub, login mqtt.Connect) provisioner {
	t.Helper()
	nc, err := h.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := provisioner{wiretest.New(t, nc), t}
	if present, code := p.Connect(login); present || code != mqtt.Accepted {
		t.Fatalf("CONNACK %d, session present %v; want 0 and no session", code, present)
	}
	if granted := p.Subscribe(2, wire.ResponseFilter); len(granted) != 1 || granted[0] != 1 {
		t.Fatalf("granted %v; want QoS 1", granted)
	}
	return p
}

// said is an answer of the service.
type said struct {
	wire.Response
	op   wire.Operation
	code int // of an error
	body string
}

// dotnet is what the first .NET SDK can read of a response's topic; Python cuts it at $.
var dotnet = regexp.MustCompile(`^\$dps/registrations/res/\d+/\?\$rid=[^&]*(&retry-after=\d+)?$`)

// answer reads a response, and checks what the SDKs' parsers want of it.
func (p provisioner) answer() said {
	p.t.Helper()
	f := p.Expect(mqtt.PUBLISH)
	topic, err := wire.ParseResponse(f.Topic)
	if err != nil || !dotnet.MatchString(f.Topic) || strings.Count(f.Topic, "$") != 2 || f.QoS != 1 || f.ID == 0 || !json.Valid([]byte(f.Payload)) {
		p.t.Fatalf("response %s (QoS %d, id %d): %s: %v", f.Topic, f.QoS, f.ID, f.Payload, err)
	}
	p.Send(mqtt.AppendAck(nil, mqtt.PUBACK, f.ID))
	s := said{Response: topic, body: f.Payload}
	if topic.Status < 300 {
		err = json.Unmarshal([]byte(f.Payload), &s.op)
	} else {
		var e struct{ ErrorCode int }
		err = json.Unmarshal([]byte(f.Payload), &e)
		s.code = e.ErrorCode
	}
	if err != nil {
		p.t.Fatalf("%s: %v", f.Payload, err)
	}
	return s
}

func (p provisioner) register(body string) said {
	p.t.Helper()
	p.Publish(0, wire.RegisterTopic("r"), body)
	return p.answer()
}

func (p provisioner) poll(operation string) said {
	p.t.Helper()
	p.Publish(0, wire.PollTopic("p", operation), " ")
	return p.answer()
}

// done registers and polls until the registration is over. It does not wait as devices do: the service is quick.
func (p provisioner) done(body string) wire.Operation {
	p.t.Helper()
	s := p.register(body)
	if s.Status != 202 || s.op.Status != wire.StatusAssigning || s.RetryAfter == 0 || s.op.OperationID == "" {
		p.t.Fatalf("the first answer is %+v; want 202, assigning, with a retry-after", s)
	}
	for end := time.Now().Add(wiretest.Patience); ; {
		polled := p.poll(s.op.OperationID)
		if polled.Status == 200 {
			return polled.op
		}
		if polled.Status != 202 || time.Now().After(end) {
			p.t.Fatalf("the poll is answered %+v", polled)
		}
	}
}

// Every form of body that SDKs send, with both qualities of service; the acknowledgement comes before the answer. The hub
// takes the derived key.
func TestProvisionBodies(t *testing.T) {
	h := withDPS(t, dps.Options{})
	for i, body := range []string{
		"", " ", `{"registrationId":"%s"}`, `{"payload":null,"registrationId":"%s"}`, `{"registrationId":"%s","payload":"{\"a\":1}"}`,
		`{"payload":{"modelId":"dtmi:a;1"}}`,
	} {
		id := fmt.Sprintf("Dev-%d", i)
		key := groupKey(h, id)
		p := provisioning(t, h, provisionLogin(h, id, key))
		if strings.Contains(body, "%s") {
			body = fmt.Sprintf(body, id)
		}
		sent := p.Publish(1, wire.RegisterTopic("a%20b"), body)
		if acked, err := mqtt.DecodeAck(p.Expect(mqtt.PUBACK).Body); err != nil || acked != sent {
			t.Fatalf("PUBACK %d, %v; want %d", acked, err, sent)
		}
		first := p.answer()
		if first.Status != 202 || first.RequestID != "a%20b" || first.RetryAfter != 3*time.Second {
			t.Fatalf("%q: %+v", body, first)
		}
		op := p.done(body)
		s := op.State
		if op.Status != wire.StatusAssigned || s.Status != wire.StatusAssigned || s.Substatus != wire.SubstatusInitial || s.DeviceID != id ||
			s.RegistrationID != id || s.AssignedHub != h.DPS().Endpoint() || s.ETag == "" || s.Created == nil || s.X509 != nil {
			t.Fatalf("%q: %+v %+v", body, op, s)
		}
		online(t, h, id, key)
	}
	if s := h.Stats().DPS; s.Registrations[wire.StatusAssigned] < 6 || s.Answered < 6 || s.Polls < 6 || s.Known != 6 || s.Assigning != 0 {
		t.Errorf("numbers: %+v", s)
	}
}

// What devices must not do, and how they are told: wrong credentials by the answer to the registration and not before.
func TestProvisionRefused(t *testing.T) {
	h := withDPS(t, dps.Options{})
	good := groupKey(h, "d")
	other := sas.NewKey()
	scope := h.DPS().IDScope()
	password := func(resource string, key sas.Key, policy string, in time.Duration) func(*mqtt.Connect) {
		return func(c *mqtt.Connect) { c.Password = []byte(sas.Sign(resource, key, policy, time.Now().Add(in))) }
	}
	for name, tt := range map[string]struct {
		change func(*mqtt.Connect)
		body   string
		status int
		code   int
	}{
		"wrong key":             {password(wire.Resource(scope, "d"), other, wire.TokenPolicy, time.Hour), "", 401, 401000},
		"expired":               {password(wire.Resource(scope, "d"), good, wire.TokenPolicy, -time.Second), "", 401, 401000},
		"other registration":    {password(wire.Resource(scope, "e"), good, wire.TokenPolicy, time.Hour), "", 401, 401000},
		"other policy":          {password(wire.Resource(scope, "d"), good, "iothubowner", time.Hour), "", 401, 401000},
		"other scope":           {func(c *mqtt.Connect) { c.Username = []byte("0ne99999999x/registrations/d/api-version=2019-03-31") }, "", 401, 401000},
		"no token":              {func(c *mqtt.Connect) { c.Password = []byte("secret") }, "", 401, 401000},
		"unknown member":        {nil, `{"registrationId":"d","modelId":"dtmi:x"}`, 400, 400012},
		"no JSON":               {nil, `{`, 400, 400012},
		"other id in the body":  {nil, `{"registrationId":"e"}`, 400, 400004},
		"CSR in an old version": {nil, `{"csr":"AAAA"}`, 400, 400012},
		"no CSR": {func(c *mqtt.Connect) {
			c.Username = []byte(wire.Name{IDScope: scope, RegistrationID: "d", APIVersion: wire.CSRSince}.String())
		}, `{"csr":"AAAA"}`, 400, 400001},
		"without skn, as Java": {password(wire.Resource(scope, "d"), good, "", time.Hour), "", 202, 0},
	} {
		t.Run(name, func(t *testing.T) {
			login := provisionLogin(h, "d", good)
			if tt.change != nil {
				tt.change(&login)
			}
			p := provisioning(t, h, login)
			s := p.register(tt.body)
			if s.Status != tt.status || s.code != tt.code {
				t.Fatalf("%+v; want %d with %d", s, tt.status, tt.code)
			}
			if tracked := !strings.Contains(s.body, `"trackingId":""`); tt.code != 0 && tracked != (tt.code != 400012) {
				t.Errorf("tracking id: %s", s.body)
			}
		})
	}
}

// An operation that nobody began, or another device did, is not found; ids may come encoded.
func TestProvisionOperations(t *testing.T) {
	h := withDPS(t, dps.Options{})
	a := provisioning(t, h, provisionLogin(h, "a", groupKey(h, "a")))
	b := provisioning(t, h, provisionLogin(h, "b", groupKey(h, "b")))
	op := a.done("")
	for _, s := range []said{a.poll("5.nobody"), a.poll(""), b.poll(op.OperationID)} {
		if s.Status != 404 || s.code != 404203 {
			t.Errorf("%+v; want 404203", s)
		}
	}
	a.Publish(0, "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=e&operationId="+strings.ReplaceAll(op.OperationID, ".", "%2E"), "")
	if s := a.answer(); s.Status != 200 {
		t.Errorf("an encoded operation id: %+v", s)
	}
}

// What a device may not send ends its connection; the port serves the hub's devices beside those that provision.
func TestProvisionConnections(t *testing.T) {
	h := withDPS(t, dps.Options{})
	for why, do := range map[string]func(provisioner){
		"another filter": func(p provisioner) { p.SendSubscribe(1, "$iothub/twin/res/#") },
		"another topic":  func(p provisioner) { p.Publish(0, "devices/d/messages/events/", "x") },
		"too large": func(p provisioner) {
			p.Publish(0, wire.RegisterTopic("1"), `"`+strings.Repeat("x", wire.MaxMessage)+`"`)
		},
		"QoS 2":      func(p provisioner) { p.Publish(2, wire.RegisterTopic("1"), "") },
		"DISCONNECT": func(p provisioner) { p.Send(mqtt.AppendEmpty(nil, mqtt.DISCONNECT)) },
	} {
		p := provisioning(t, h, provisionLogin(h, "d", groupKey(h, "d")))
		p.Silent()
		do(p)
		p.Closed(why)
	}
	first := provisioning(t, h, provisionLogin(h, "d", groupKey(h, "d")))
	provisioning(t, h, provisionLogin(h, "D", groupKey(h, "D")))
	first.Closed("a newer connection of the same registration")
	for _, user := range []string{h.DPS().IDScope() + "/registrations/d/api-version=latest", h.DPS().IDScope() + "/registrations/e/api-version=2019-03-31"} {
		w := dial(t, h)
		login := provisionLogin(h, "d", groupKey(h, "d"))
		login.Username = []byte(user)
		if _, code := w.Connect(login); code != mqtt.NotAuthorized {
			t.Errorf("%s: CONNACK %d; want 5", user, code)
		}
		w.Closed("refused")
	}
	// A CONNECT that comes byte by byte, of either kind.
	must(t, h, "PUT", "/devices/plain?api-version=2021-04-12", `{"deviceId":"plain"}`)
	key, err := sas.ParseKey(must(t, h, "GET", "/devices/plain?api-version=2021-04-12", "").member("authentication", "symmetricKey", "primaryKey").(string))
	if err != nil {
		t.Fatal(err)
	}
	for _, login := range []mqtt.Connect{wiretest.Login("plain", key), provisionLogin(h, "d", groupKey(h, "d"))} {
		login.HasUsername, login.HasPassword = true, true
		nc, err := net.Dial("tcp", h.Addr())
		if err != nil {
			t.Fatal(err)
		}
		w := wiretest.New(t, nc)
		for _, b := range mqtt.AppendConnect(nil, &login) {
			w.Send([]byte{b})
		}
		if _, code, err := mqtt.DecodeConnack(w.Expect(mqtt.CONNACK).Body); err != nil || code != mqtt.Accepted {
			t.Errorf("%s byte by byte: CONNACK %d, %v", login.Username, code, err)
		}
		w.Silent()
	}
}

// A registration is assigning for as long as it was told to; its result can be polled for ten minutes.
func TestProvisionDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := withDPS(t, dps.Options{Delay: func() time.Duration { return 10 * time.Second }, RetryAfter: 2 * time.Second},
			func(o *hub.Options) { o.NoPort = true })
		p := provisioning(t, h, provisionLogin(h, "d", groupKey(h, "d")))
		start := time.Now()
		s := p.register("")
		if again := p.register(""); again.op.OperationID != s.op.OperationID {
			t.Errorf("a second registration meanwhile began another operation")
		}
		polls := 0
		for {
			time.Sleep(s.RetryAfter)
			synctest.Wait()
			polled := p.poll(s.op.OperationID)
			polls++
			if polled.Status == 200 {
				break
			}
			if polled.Status != 202 || polled.op.State.Status != wire.StatusAssigning || polled.RetryAfter != 2*time.Second {
				t.Fatalf("%+v", polled)
			}
		}
		if took := time.Since(start); took != 10*time.Second || polls != 5 {
			t.Errorf("assigned after %v and %d polls; want 10 s and 5", took, polls)
		}
		if s := h.Stats().DPS; s.Waited != 10*time.Second || s.Answered != 1 || s.Polls != 5 {
			t.Errorf("numbers: %+v", s)
		}
		time.Sleep(30 * time.Second)
		if got := p.poll(s.op.OperationID); got.Status != 200 {
			t.Errorf("after 40 s: %+v", got)
		}
		for range 20 { // keeps the connection
			time.Sleep(30 * time.Second)
			p.Silent()
		}
		if got := p.poll(s.op.OperationID); got.code != 404203 {
			t.Errorf("after ten minutes: %+v; want 404203", got)
		}
	})
}

// Every fault does what it says, and ends when it is taken back.
func TestProvisionFaults(t *testing.T) {
	h := withDPS(t, dps.Options{})
	set := h.DPS().Faults().Set
	device := func() provisioner { return provisioning(t, h, provisionLogin(h, "d", groupKey(h, "d"))) }
	p := device()

	set(faults.Faults{Throttle: 1, RetryAfter: 7 * time.Second})
	if s := p.register(""); s.Status != 429 || s.code/1000 != 429 || s.RetryAfter != 7*time.Second {
		t.Errorf("throttled: %+v", s)
	}
	set(faults.Faults{Fail: 1})
	if op := p.done(""); op.Status != wire.StatusFailed || op.State.Status != wire.StatusFailed || op.State.ErrorCode != 400207 || op.State.ErrorMessage == "" {
		t.Errorf("failed: %+v %+v", op, op.State)
	}
	set(faults.Faults{Disable: 1})
	if s := p.register(""); s.Status != 200 || s.op.Status != wire.StatusDisabled || s.op.OperationID != "" || s.op.State == nil {
		t.Errorf("disabled: %+v", s)
	}
	set(faults.Faults{})
	s := p.register("")
	set(faults.Faults{Mute: 1})
	p.Publish(1, wire.PollTopic("m", s.op.OperationID), "")
	p.Expect(mqtt.PUBACK)
	p.Silent()
	set(faults.Faults{WrongHub: "nowhere.example"})
	if op := p.done(""); op.State.AssignedHub != "nowhere.example" {
		t.Errorf("wrong hub: %+v", op.State)
	}
	set(faults.Faults{Close: 1})
	p.Publish(1, wire.RegisterTopic("c"), "")
	p.Expect(mqtt.PUBACK)
	p.Closed("the fault")
	set(faults.Faults{Slow: time.Hour})
	p = device()
	eventually(t, "the operation of the closed connection ends", func() bool { return h.Stats().DPS.Assigning == 0 })
	s = p.register("")
	if got := p.poll(s.op.OperationID); got.Status != 202 {
		t.Errorf("slow: %+v", got)
	}
	set(faults.Faults{})
	// The slow one is under way still: Close must not wait for it.
}

// The limits that Azure publishes: registrations and polls of all devices by the minute, and polls of one in ten seconds.
func TestProvisionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := withDPS(t, dps.Options{Limits: limits.Limits{Registrations: 3, Polls: 100, DevicePolls: 5}},
			func(o *hub.Options) { o.NoPort = true })
		p := provisioning(t, h, provisionLogin(h, "d", groupKey(h, "d")))
		var s said
		for range 3 {
			if s = p.register(""); s.Status != 202 {
				t.Fatalf("%+v", s)
			}
		}
		over := p.register("")
		if over.Status != 429 || over.RetryAfter < 19*time.Second || over.RetryAfter > 20*time.Second {
			t.Errorf("the fourth in a minute: %+v; want 429 and 20 s", over)
		}
		for range 5 {
			if got := p.poll(s.op.OperationID); got.Status >= 300 {
				t.Errorf("poll: %+v", got)
			}
		}
		if got := p.poll(s.op.OperationID); got.Status != 429 || got.RetryAfter == 0 {
			t.Errorf("the sixth poll: %+v; want 429", got)
		}
		time.Sleep(20 * time.Second)
		if got := p.poll(s.op.OperationID); got.Status != 200 {
			t.Errorf("after 20 s: %+v", got)
		}
		if got := p.register(""); got.Status != 202 {
			t.Errorf("after 20 s: %+v", got)
		}
		st := h.Stats().DPS
		if st.Registrations["throttled"] != 1 || st.ThrottledPolls != 1 {
			t.Errorf("numbers: %+v", st)
		}
	})
}

// A fleet provisions at once: all are assigned, and nothing is left running.
func TestProvisionFleet(t *testing.T) {
	const devices = 2000
	h := withDPS(t, dps.Options{})
	var wg sync.WaitGroup
	slots := make(chan struct{}, 200)
	for i := range devices {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			id := fmt.Sprintf("robot-%06d", i)
			p := provisioning(t, h, provisionLogin(h, id, groupKey(h, id)))
			if op := p.done(""); op.Status != wire.StatusAssigned {
				t.Errorf("%s: %+v", id, op)
			}
			p.Send(mqtt.AppendEmpty(nil, mqtt.DISCONNECT))
			p.Closed("DISCONNECT")
		})
	}
	wg.Wait()
	eventually(t, "the connections end", func() bool { return h.Stats().DPS.Connections == 0 })
	if s := h.Stats(); s.Devices.Total != devices || s.DPS.Registrations[wire.StatusAssigned] != devices || s.DPS.Assigning != 0 {
		t.Errorf("%d identities, %+v", s.Devices.Total, s.DPS)
	}
}

// serviceCall speaks the service side's REST; headers are pairs of name and value.
func serviceCall(t testing.TB, h *hub.Hub, method, path, body string, headers ...string) answer {
	t.Helper()
	cs := h.DPS().ConnectionString()
	return call(t, h, method, path, body, append([]string{
		"Authorization", sas.Sign(cs.HostName, cs.Key, cs.Policy, time.Now().Add(time.Hour)),
	}, headers...)...)
}

func mustService(t testing.TB, h *hub.Hub, method, path, body string, headers ...string) answer {
	t.Helper()
	a := serviceCall(t, h, method, path, body, headers...)
	if a.status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// An ETag may come as the document has it, in further quotes, or as a star; words of paths in any case, with a slash at the end.
func TestEnrollmentConditions(t *testing.T) {
	h := withDPS(t, dps.Options{})
	const symmetric = `{"registrationId":"Dev","attestation":{"type":"symmetricKey"}}`
	for _, condition := range []func(etag string) string{
		func(etag string) string { return etag },
		func(etag string) string { return `"` + etag + `"` },
		func(etag string) string { return strings.Trim(etag, `"`) },
		func(string) string { return "*" },
	} {
		etag := mustService(t, h, "PUT", "/Enrollments/dev/?api-version=2021-10-01", symmetric).member("etag").(string)
		if !strings.HasPrefix(etag, `"`) {
			t.Fatalf("the etag %s has no quotes", etag)
		}
		mustService(t, h, "PUT", "/enrollments/dev", symmetric, "If-Match", condition(etag))
		if a := serviceCall(t, h, "PUT", "/enrollments/dev", symmetric, "If-Match", etag); a.status != 412 || a.header.Get("x-ms-error-code") != "412001" {
			t.Errorf("an old etag: %d %s", a.status, a.body)
		}
	}
	mustService(t, h, "DELETE", "/ENROLLMENTS/DEV", "")
	for path, code := range map[string]float64{"/enrollments/dev": 404201, "/enrollmentGroups/dev": 404201, "/registrations/dev": 404202, "/enrollments/a/b": 404000} {
		if a := serviceCall(t, h, "GET", path, ""); a.status != 404 || a.member("errorCode") != code || a.member("trackingId") == nil {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := serviceCall(t, h, "PUT", "/enrollments/dev", symmetric, "If-Match", "*"); a.status != 412 {
		t.Errorf("a condition on nothing: %d %s", a.status, a.body)
	}
	if a := serviceCall(t, h, "PATCH", "/enrollments/dev", symmetric); a.status != 405 {
		t.Errorf("PATCH: %d %s", a.status, a.body)
	}
	// The hub's policies are not the provisioning service's, and the hub's paths are the hub's.
	if a := call(t, h, "GET", "/enrollments/dev", ""); a.status != 401 || a.member("errorCode") != 401002.0 {
		t.Errorf("a token of the hub: %d %s", a.status, a.body)
	}
	must(t, h, "PUT", "/devices/registrations?api-version=2021-04-12", `{"deviceId":"registrations"}`)
}

// What is no enrollment is refused, and nothing of it is kept.
func TestEnrollmentsRefused(t *testing.T) {
	h := withDPS(t, dps.Options{})
	for _, body := range []string{
		``, `{`, `[]`, `{}`, `{"attestation":{"type":"none"}}`, `{"attestation":{"type":"tpm","tpm":{"endorsementKey":"x"}}}`,
		`{"attestation":{"type":"x509"}}`, `{"attestation":{"type":"x509","x509":{"clientCertificates":{}}}}`,
		`{"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":"AAAA"}}}}}`,
		`{"attestation":{"type":"x509","x509":{"caReferences":{"primary":"hub"}}}}`,
		`{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"c2hvcnQ="}}}`,
		`{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"%%%"}}}`,
		`{"attestation":{"type":"symmetricKey"},"registrationId":"other"}`,
		`{"attestation":{"type":"symmetricKey"},"enrollmentGroupId":"dev"}`,
		`{"attestation":{"type":"symmetricKey"},"deviceId":"a/b"}`,
		`{"attestation":{"type":"symmetricKey"},"provisioningStatus":"off"}`,
		`{"attestation":{"type":"symmetricKey"},"allocationPolicy":"nearest"}`,
		`{"attestation":{"type":"symmetricKey"},"allocationPolicy":"static"}`,
		`{"attestation":{"type":"symmetricKey"},"iotHubHostName":"elsewhere.example"}`,
		`{"attestation":{"type":"symmetricKey"},"customAllocationDefinition":{"webhookUrl":"http://localhost/"}}`,
		`{"attestation":{"type":"symmetricKey"},"initialTwin":{"tags":[1]}}`,
	} {
		a := serviceCall(t, h, "PUT", "/enrollments/dev", body)
		if a.status != 400 || a.member("errorCode") == nil {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
		if strings.Contains(a.body, "c2hvcnQ") {
			t.Errorf("the answer holds a key: %s", a.body)
		}
	}
	if a := serviceCall(t, h, "GET", "/enrollments/dev", ""); a.status != 404 {
		t.Errorf("something was kept: %s", a.body)
	}
	if a := serviceCall(t, h, "PUT", "/enrollments/a%24", `{"attestation":{"type":"symmetricKey"}}`); a.status != 400 || a.member("errorCode") != 400004.0 {
		t.Errorf("an id with a dollar sign: %d %s", a.status, a.body)
	}
	if a := serviceCall(t, h, "POST", "/enrollments/query", `{"query":"SELECT * WHERE a = 1"}`); a.status != 400 {
		t.Errorf("a query that the service has not: %d %s", a.status, a.body)
	}
	// One group is there from the beginning; a hundred are the most, and one that is there may be changed.
	const group = `{"attestation":{"type":"symmetricKey"}}`
	for i := range 99 {
		mustService(t, h, "PUT", fmt.Sprintf("/enrollmentGroups/g%d", i), group)
	}
	if a := serviceCall(t, h, "PUT", "/enrollmentGroups/g100", group); a.status != 400 {
		t.Errorf("the group after the hundredth: %d %s", a.status, a.body)
	}
	mustService(t, h, "PUT", "/enrollmentGroups/g98", group)
	mustService(t, h, "DELETE", "/enrollmentGroups/g98", "")
	mustService(t, h, "PUT", "/enrollmentGroups/g100", group)
	var all []string
	for token, pages := "", 0; ; pages++ {
		a := mustService(t, h, "POST", "/enrollmentGroups/query", `{"query":"SELECT * FROM enrollmentGroups"}`, "x-ms-max-item-count", "25", "x-ms-continuation", token)
		var page []struct{ EnrollmentGroupID string }
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.header.Get("x-ms-item-type") != "enrollmentGroup" {
			t.Fatal(err, a.header)
		}
		for _, g := range page {
			all = append(all, g.EnrollmentGroupID)
		}
		if token = a.header.Get("x-ms-continuation"); token == "" {
			if pages != 3 || len(all) != 100 || !slices.IsSorted(all) || len(slices.Compact(all)) != 100 {
				t.Errorf("%d groups on %d pages; want 100 on 4, in order", len(all), pages+1)
			}
			break
		}
	}
}
