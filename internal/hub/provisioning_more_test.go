package hub_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/hub/dps/allocate"
	"github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	wire "github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// identified is a certificate with its key, and who signed it.
type identified struct {
	tls.Certificate
	signer *identified
}

// issue makes a certificate; self-signed without a signer.
func issue(t testing.TB, name string, authority bool, signer *identified, until time.Time) *identified {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: authority, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if authority {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	parent, by := template, any(key)
	if signer != nil {
		parent, by = signer.Leaf, signer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &identified{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, signer}
	for s := signer; s != nil; s = s.signer {
		if s.signer != nil { // roots are not sent
			c.Certificate.Certificate = append(c.Certificate.Certificate, s.Leaf.Raw)
		}
	}
	return c
}

func (c *identified) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Leaf.Raw}))
}

// x509Login connects a device that shows a certificate; code is the CONNACK's.
func x509Login(t testing.TB, h *hub.Hub, id, client string, c *identified) (p provisioner, code byte) {
	t.Helper()
	w, err := dialTLS(t, h, &tls.Config{Certificates: []tls.Certificate{c.Certificate}})
	if err != nil {
		t.Fatal(err)
	}
	login := mqtt.Connect{ClientID: []byte(client), KeepAlive: 60, Username: []byte(wire.Name{IDScope: h.DPS().IDScope(), RegistrationID: id}.String())}
	_, code = w.Connect(login)
	if code == mqtt.Accepted {
		w.Subscribe(1, wire.ResponseFilter)
	}
	return provisioner{w, t}, code
}

// Certificates of an enrollment of one's own and of groups: the nearest authority decides, and so does a disabled one.
func TestProvisionCertificates(t *testing.T) {
	later := time.Now().Add(time.Hour)
	root := issue(t, "root", true, nil, later)
	between := issue(t, "between", true, root, later)
	h := withDPS(t, dps.Options{Authorities: map[string]*x509.Certificate{"factory": root.Leaf}})
	put := func(path, attestation, more string) {
		t.Helper()
		mustService(t, h, "PUT", path, `{"attestation":{"type":"x509","x509":{`+attestation+`}}`+more+`}`)
	}
	text := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	own := issue(t, "own", false, nil, later)
	oneLine := strings.ReplaceAll(own.pem(), "\n", "")
	for _, certificate := range []string{own.pem(), oneLine, base64.StdEncoding.EncodeToString(own.Leaf.Raw)} {
		put("/enrollments/own", `"clientCertificates":{"primary":{"certificate":`+text(certificate)+`}}`, "")
		p, code := x509Login(t, h, "own", "own", own)
		if code != mqtt.Accepted {
			t.Fatalf("own certificate: CONNACK %d", code)
		}
		if op := p.done(""); op.Status != wire.StatusAssigned || op.State.X509 == nil {
			t.Errorf("%+v", op)
		}
	}
	if a := must(t, h, "GET", "/devices/own?api-version=2021-04-12", ""); a.member("authentication", "type") != "selfSigned" {
		t.Errorf("identity: %s", a.body)
	}
	if _, code := x509Login(t, h, "own", "other", own); code != mqtt.NotAuthorized {
		t.Errorf("another client id: CONNACK %d", code)
	}
	if _, code := x509Login(t, h, "other", "other", own); code != mqtt.NotAuthorized {
		t.Errorf("another registration: CONNACK %d", code)
	}
	if _, code := x509Login(t, h, "own", "own", issue(t, "own", false, nil, later)); code != mqtt.NotAuthorized {
		t.Errorf("another certificate: CONNACK %d", code)
	}

	put("/enrollmentGroups/by-name", `"caReferences":{"primary":"factory"}`, "")
	leaf := issue(t, "leaf", false, between, later)
	status := func() string {
		t.Helper()
		p, code := x509Login(t, h, "leaf", "leaf", leaf)
		if code != mqtt.Accepted {
			return fmt.Sprintf("CONNACK %d", code)
		}
		if s := p.register(""); s.op.Status != wire.StatusAssigning {
			return s.op.Status
		}
		return p.done("").Status
	}
	if got := status(); got != wire.StatusAssigned {
		t.Errorf("through an intermediate: %s", got)
	}
	put("/enrollmentGroups/nearer", `"signingCertificates":{"primary":{"certificate":`+text(between.pem())+`}}`, `,"provisioningStatus":"disabled"`)
	if got := status(); got != wire.StatusDisabled {
		t.Errorf("the nearer group is disabled: %s", got)
	}
	put("/enrollments/leaf", `"clientCertificates":{"primary":{"certificate":`+text(own.pem())+`}}`, "")
	if got := status(); got != "CONNACK 5" {
		t.Errorf("an individual enrollment with another certificate: %s", got)
	}
	mustService(t, h, "DELETE", "/enrollments/leaf", "")
	mustService(t, h, "DELETE", "/enrollmentGroups/nearer", "")
	mustService(t, h, "DELETE", "/enrollmentGroups/by-name", "")
	if got := status(); got != "CONNACK 5" {
		t.Errorf("without a group: %s", got)
	}
	put("/enrollmentGroups/root", `"signingCertificates":{"primary":{"certificate":`+text(root.pem())+`}}`, "")
	leaf = issue(t, "leaf", false, root, time.Now().Add(-time.Minute))
	if got := status(); got != "CONNACK 5" {
		t.Errorf("an expired certificate: %s", got)
	}
	forged := issue(t, "root", true, nil, later)
	if leaf = issue(t, "leaf", false, forged, later); status() != "CONNACK 5" {
		t.Error("an authority of the same name is taken for the group's")
	}
	if a := serviceCall(t, h, "PUT", "/enrollmentGroups/leaf", `{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"certificate":`+text(own.pem())+`}}}}}`); a.status != 400 {
		t.Errorf("a group with a certificate that is no authority's: %d", a.status)
	}
}

// A certificate that a device asked for is signed by the hub's authority, and the hub takes it.
func TestProvisionCSR(t *testing.T) {
	h := withDPS(t, dps.Options{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "else"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	login := provisionLogin(h, "asks", groupKey(h, "asks"))
	login.Username = []byte(wire.Name{IDScope: h.DPS().IDScope(), RegistrationID: "asks", APIVersion: "2026-11-02-preview"}.String())
	op := provisioning(t, h, login).done(`{"csr":"` + base64.StdEncoding.EncodeToString(csr) + `"}`)
	if len(op.State.Chain) != 2 || op.State.Profile != wire.ProfileClassic {
		t.Fatalf("%+v", op.State)
	}
	leaf, err := base64.StdEncoding.DecodeString(op.State.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	w, err := dialTLS(t, h, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	login = wiretest.Login("asks", sas.Key{})
	login.Password = nil
	if _, code := w.Connect(login); code != mqtt.Accepted {
		t.Errorf("the hub refuses the certificate: CONNACK %d", code)
	}
}

// A second registration does what its enrollment's policy says, also when the hub's name changes.
func TestReprovision(t *testing.T) {
	h := withDPS(t, dps.Options{LinkedHubs: []string{"second.example"}})
	first := h.DPS().Endpoint()
	key := sas.NewKey()
	enroll := func(more string) {
		t.Helper()
		mustService(t, h, "PUT", "/enrollments/d", `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+key.Base64()+`"}},
			"initialTwin":{"tags":{"n":1},"properties":{"desired":{"n":1}}}`+more+`}`)
	}
	register := func(version string) *wire.RegistrationState {
		t.Helper()
		login := provisionLogin(h, "d", key)
		login.Username = []byte(wire.Name{IDScope: h.DPS().IDScope(), RegistrationID: "d", APIVersion: version}.String())
		op := provisioning(t, h, login).done("")
		if op.Status != wire.StatusAssigned {
			t.Fatalf("%+v", op.State)
		}
		return op.State
	}
	twinTag := func() any { return must(t, h, "GET", "/twins/d?api-version=2021-04-12", "").member("tags", "n") }
	enroll(`,"iotHubHostName":"` + first + `"`)
	register("")
	must(t, h, "PATCH", "/twins/d?api-version=2021-04-12", `{"tags":{"n":2}}`)
	for _, tt := range []struct {
		name, more, version, hub, substatus string
		tag                                 float64
	}{
		{"an old version without a policy is sticky", `,"iotHubHostName":"second.example"`, "2018-04-01", first, wire.SubstatusInitial, 2},
		{"updateHubAssignment false", `,"iotHubHostName":"second.example","reprovisionPolicy":{"updateHubAssignment":false,"migrateDeviceData":true}`, "", first, wire.SubstatusInitial, 2},
		{"without a policy the data move", `,"iotHubHostName":"second.example"`, "", "second.example", wire.SubstatusMigrated, 2},
		{"reset", `,"iotHubHostName":"` + strings.ToUpper(first) + `","reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":false}`, "", first, wire.SubstatusReset, 1},
	} {
		enroll(tt.more)
		s := register(tt.version)
		if s.AssignedHub != tt.hub || s.Substatus != tt.substatus || twinTag() != tt.tag {
			t.Errorf("%s: %s, %s, tag %v; want %s, %s, %v", tt.name, s.AssignedHub, s.Substatus, twinTag(), tt.hub, tt.substatus, tt.tag)
		}
	}
	// A key that was replaced reaches the hub, and a device that was deleted there comes back.
	key = sas.NewKey()
	enroll("")
	register("")
	online(t, h, "d", key)
	must(t, h, "DELETE", "/devices/d?api-version=2021-04-12", "", "If-Match", "*")
	register("")
	online(t, h, "d", key)
}

// A registration that came to nothing, or that the hub's end cut short, does not take away what the device had.
func TestProvisionFailureKeepsAssignment(t *testing.T) {
	dir := t.TempDir()
	asked := make(chan struct{}, 1)
	over := make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-over
	}))
	t.Cleanup(hook.Close)
	t.Cleanup(func() { close(over) })
	options := dps.Options{IDScope: "0ne00000001", LinkedHubs: []string{"second.example"}, Delay: func() time.Duration { return 0 }}
	data := func(o *hub.Options) { o.DataDir = dir }
	h := withDPS(t, options, data)
	key := sas.NewKey()
	enroll := func(more string) {
		t.Helper()
		mustService(t, h, "PUT", "/enrollments/d", `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+key.Base64()+`"}}`+more+`}`)
	}
	enroll(`,"deviceId":"machine","iotHubHostName":"second.example"`)
	provisioning(t, h, provisionLogin(h, "d", key)).done("")
	h.DPS().Faults().Set(faults.Faults{Fail: 1})
	if op := provisioning(t, h, provisionLogin(h, "d", key)).done(""); op.Status != wire.StatusFailed {
		t.Fatalf("%+v", op)
	}
	h.DPS().Faults().Set(faults.Faults{})
	enroll(`,"reprovisionPolicy":{"updateHubAssignment":false,"migrateDeviceData":false}`)
	op := provisioning(t, h, provisionLogin(h, "d", key)).done("")
	if op.State.AssignedHub != "second.example" || op.State.DeviceID != "machine" {
		t.Errorf("after a failure: %+v", op.State)
	}
	enroll(`,"allocationPolicy":"custom","customAllocationDefinition":{"webhookUrl":"` + hook.URL + `"}`)
	provisioning(t, h, provisionLogin(h, "d", key)).register("")
	<-asked
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = withDPS(t, options, data)
	if a := serviceCall(t, h, "GET", "/registrations/d", ""); a.member("status") != wire.StatusAssigned || a.member("assignedHub") != "second.example" {
		t.Errorf("after the hub's end: %d %s", a.status, a.body)
	}
}

// A webhook, or the rules of the service in its place, decide about the hub; what goes wrong is 400207.
func TestCustomAllocation(t *testing.T) {
	var asked atomic.Value
	reply := func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, `{"iotHubHostName":"second.example","initialTwin":{"tags":{"from":"hook"}},"payload":{"a":[1]}}`)
	}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked.Store(string(b))
		switch r.URL.Path {
		case "/good":
			reply(w)
		case "/other":
			_, _ = io.WriteString(w, `{"iotHubHostName":"third.example"}`)
		case "/text":
			_, _ = io.WriteString(w, `no JSON`)
		case "/away":
			http.Redirect(w, r, "/good", http.StatusTemporaryRedirect)
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(hook.Close)
	h := withDPS(t, dps.Options{LinkedHubs: []string{"second.example"}, Rules: []allocate.Rule{
		{Match: "bad-*", Refuse: true},
		{Match: "rule-[0-9]", Hub: "second.example", Payload: []byte(`"by rule"`)},
		{Match: "rule-*"},
	}})
	try := func(id, definition string) wire.Operation {
		t.Helper()
		key := sas.NewKey()
		mustService(t, h, "PUT", "/enrollments/"+id, `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+key.Base64()+`"}},"allocationPolicy":"custom"`+definition+`}`)
		return provisioning(t, h, provisionLogin(h, id, key)).done(`{"payload":{"site":7}}`)
	}
	hooked := func(url string) string {
		return `,"customAllocationDefinition":{"webhookUrl":"` + url + `","apiVersion":"2021-10-01"}`
	}

	op := try("hooked", hooked(hook.URL+"/good"))
	if op.State.AssignedHub != "second.example" || string(op.State.Payload) != `{"a":[1]}` {
		t.Errorf("%+v", op.State)
	}
	if tag := must(t, h, "GET", "/twins/hooked?api-version=2021-04-12", "").member("tags", "from"); tag != "hook" {
		t.Errorf("the webhook's twin: %v", tag)
	}
	q := asked.Load().(string)
	for _, want := range []string{`"individualEnrollment":{"registrationId":"hooked"`, `"deviceRuntimeContext":{"registrationId":"hooked","symmetricKey":{},"payload":{"site":7}}`, `"linkedHubs":["`} {
		if !strings.Contains(q, want) {
			t.Errorf("the webhook was asked %s; want %s in it", q, want)
		}
	}
	if strings.Contains(q, "primaryKey") {
		t.Error("the webhook was told a key")
	}
	for id, tt := range map[string][2]string{
		"bad":       {hooked(hook.URL + "/bad"), "Custom allocation failed with status code: 400"},
		"unlinked":  {hooked(hook.URL + "/other"), "not one of the linked hubs"},
		"no-json":   {hooked(hook.URL + "/text"), "not the JSON"},
		"redirects": {hooked(hook.URL + "/away"), "status code: 307"},
		"remote":    {hooked("http://192.0.2.1/good"), "loopback only"},
		"no-url":    {hooked("://"), "not valid"},
		"bad-rule":  {"", "a rule refuses"},
		"no-rule":   {"", "no rule matches"},
	} {
		op := try(id, tt[0])
		if op.Status != wire.StatusFailed || op.State.ErrorCode != 400207 || !strings.Contains(op.State.ErrorMessage, tt[1]) {
			t.Errorf("%s: %+v; want 400207 and %q", id, op.State, tt[1])
		}
		if a := call(t, h, "GET", "/devices/"+id+"?api-version=2021-04-12", ""); a.status != 404 {
			t.Errorf("%s has an identity", id)
		}
	}
	if op := try("Rule-1", ""); op.State.AssignedHub != "second.example" || string(op.State.Payload) != `"by rule"` {
		t.Errorf("by rule: %+v", op.State)
	}
	if op := try("rule-x", ""); op.State.AssignedHub != h.DPS().Endpoint() || op.State.Payload != nil {
		t.Errorf("by the last rule: %+v", op.State)
	}
}

// A twin that the hub refuses fails the registration with the hub's error, and leaves no identity.
func TestProvisionHubRefuses(t *testing.T) {
	h := withDPS(t, dps.Options{})
	key := sas.NewKey()
	mustService(t, h, "PUT", "/enrollments/d", `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+key.Base64()+`"}},
		"initialTwin":{"tags":{"big":"`+strings.Repeat("x", 9<<10)+`"}}}`)
	op := provisioning(t, h, provisionLogin(h, "d", key)).done("")
	if op.Status != wire.StatusFailed || op.State.ErrorCode/1000 != 400 || !json.Valid([]byte(op.State.ErrorMessage)) {
		t.Errorf("%+v", op.State)
	}
	if a := call(t, h, "GET", "/devices/d?api-version=2021-04-12", ""); a.status != 404 {
		t.Errorf("there is an identity: %d", a.status)
	}
}

// Devices over HTTP: statuses, headers and errors are HTTP's own.
func TestProvisionHTTP(t *testing.T) {
	h := withDPS(t, dps.Options{})
	scope := h.DPS().IDScope()
	token := func(key sas.Key) string {
		return sas.Sign(wire.Resource(scope, "d"), key, wire.TokenPolicy, time.Now().Add(time.Hour))
	}
	good := token(groupKey(h, "d"))
	do := func(method, path, body, token string) answer {
		return call(t, h, method, path+"?api-version=2019-03-31", body, "Authorization", token)
	}
	register := strings.Replace(wire.RegisterPath(scope, "d"), "registrations", "Registrations", 1) + "/"
	if a := do("PUT", register, "", token(sas.NewKey())); a.status != 401 || a.member("errorCode") != 401002.0 {
		t.Errorf("a wrong key: %d %s", a.status, a.body)
	}
	if a := call(t, h, "PUT", register, "", "Authorization", good); a.status != 400 {
		t.Errorf("without an api-version: %d %s", a.status, a.body)
	}
	if a := do("POST", "/"+scope+"/registrations/d", `{"registrationId":"d"}`, good); a.status != 404 || a.member("errorCode") != 404202.0 {
		t.Errorf("a registration that there is not: %d %s", a.status, a.body)
	}
	a := do("PUT", register, `{"registrationId":"d"}`, good)
	if a.status != 202 || a.header.Get("Retry-After") != "3" || a.header.Get("X-Ms-Request-Id") == "" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	location := a.header.Get("Location")
	if id := a.member("operationId").(string); !strings.HasPrefix(location, wire.OperationPath(scope, "d", id)) {
		t.Errorf("Location %s", location)
	}
	eventually(t, "it is assigned", func() bool { a = call(t, h, "GET", location, "", "Authorization", good); return a.status == 200 })
	if a.member("registrationState", "deviceId") != "d" {
		t.Errorf("%s", a.body)
	}
	if a := do("GET", wire.OperationPath(scope, "d", "5.nobody"), "", good); a.status != 404 || a.member("errorCode") != 404203.0 {
		t.Errorf("an unknown operation: %d %s", a.status, a.body)
	}
	if a := do("POST", "/"+scope+"/registrations/d/", `{"registrationId":"d"}`, good); a.status != 200 || a.member("status") != "assigned" {
		t.Errorf("the state: %d %s", a.status, a.body)
	}
	if a := do("PUT", register, strings.Repeat(" ", wire.MaxMessage+1), good); a.status != 400 {
		t.Errorf("a large body: %d", a.status)
	}
	if a := do("GET", register, "", good); a.status != 405 {
		t.Errorf("GET of a registration: %d", a.status)
	}
}

// MQTT over WebSocket is at the path of hubs, and at the root.
func TestProvisionWebSocket(t *testing.T) {
	h := withDPS(t, dps.Options{})
	for _, path := range []string{"/$iothub/websocket", "/"} {
		d := websocket.Dialer{Subprotocols: []string{"mqtt"}}
		ws, resp, err := d.Dial("ws://"+h.Addr()+path, nil)
		if err != nil {
			t.Fatal(path, err)
		}
		resp.Body.Close()
		login := provisionLogin(h, "d", groupKey(h, "d"))
		login.HasUsername, login.HasPassword = true, true
		for _, packet := range [][]byte{
			mqtt.AppendConnect(nil, &login), mqtt.AppendSubscribe(nil, 1, mqtt.Subscription{Filter: []byte(wire.ResponseFilter), QoS: 1}),
			mqtt.AppendPublish(nil, wire.RegisterTopic("1"), nil, 0, false, false, 0),
		} {
			if err := ws.WriteMessage(websocket.BinaryMessage, packet); err != nil {
				t.Fatal(path, err)
			}
		}
		all := ""
		for !strings.Contains(all, `"status":"assigning"`) {
			_, b, err := ws.ReadMessage()
			if err != nil {
				t.Fatalf("%s: %v after %q", path, err, all)
			}
			all += string(b)
		}
		ws.Close()
	}
	if a := call(t, h, "GET", "/", ""); a.status == 101 || a.status == 200 {
		t.Errorf("the root over plain HTTP: %d", a.status)
	}
}

// What was kept is there after a restart: names, keys, enrollments, registrations; and the file is its owner's alone.
func TestProvisionKept(t *testing.T) {
	dir := t.TempDir()
	data := func(o *hub.Options) { o.DataDir = dir }
	h := withDPS(t, dps.Options{}, data)
	scope, service, key := h.DPS().IDScope(), h.DPS().ConnectionString().Key, groupKey(h, "d")
	state := provisioning(t, h, provisionLogin(h, "d", key)).done("").State
	root := issue(t, "root", true, nil, time.Now().Add(time.Hour))
	text, err := json.Marshal(root.pem())
	if err != nil {
		t.Fatal(err)
	}
	mustService(t, h, "PUT", "/enrollmentGroups/certificates", `{"attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"certificate":`+string(text)+`}}}}}`)
	mustService(t, h, "PUT", "/enrollments/gone", `{"attestation":{"type":"symmetricKey"}}`)
	mustService(t, h, "DELETE", "/enrollments/gone", "")
	info, err := os.Stat(filepath.Join(dir, "hub.db"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = withDPS(t, dps.Options{}, data)
	if h.DPS().IDScope() != scope || h.DPS().ConnectionString().Key != service || groupKey(h, "d") != key {
		t.Error("the service has other names or keys after a restart")
	}
	again := provisioning(t, h, provisionLogin(h, "d", key)).done("").State
	if again.Created == nil || !again.Created.Equal(state.Created.Time) || again.DeviceID != "d" {
		t.Errorf("%+v after a restart; before %+v", again, state)
	}
	if a := serviceCall(t, h, "GET", "/enrollments/gone", ""); a.status != 404 {
		t.Errorf("a deleted enrollment is back: %d", a.status)
	}
	leaf := issue(t, "leaf", false, root, time.Now().Add(time.Hour))
	if _, code := x509Login(t, h, "leaf", "leaf", leaf); code != mqtt.Accepted {
		t.Errorf("the group of certificates: CONNACK %d", code)
	}
	mustService(t, h, "DELETE", "/enrollmentGroups/default", "")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = withDPS(t, dps.Options{}, data)
	if !h.DPS().GroupKey(dps.DefaultGroup).IsZero() {
		t.Error("the default group is back after it was deleted")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hub.db"), []byte("no data file, and longer than the page that says what it is"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := hub.Open(t.Context(), hub.Options{DataDir: dir, DPS: &dps.Options{}}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file: %v, %v", h, err)
	}
}

// A hub that is killed has every registration that a device was told of, and its identity.
func TestProvisionKill(t *testing.T) {
	dir := t.TempDir()
	v := startVictim(t, dir)
	group, err := sas.ParseKey(v.GroupKey)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	told := make(map[string]bool)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("w%d-%d", worker, i)
				if !provisionOnce(v.Address, v.Scope, id, wire.DeriveKey(group, id)) {
					return
				}
				mu.Lock()
				told[id] = true
				mu.Unlock()
			}
		})
	}
	eventually(t, "devices are assigned", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) >= 40 })
	v.kill(t)
	wg.Wait()
	h := withDPS(t, dps.Options{}, func(o *hub.Options) { o.DataDir = dir })
	for id := range told {
		if a := serviceCall(t, h, "GET", "/registrations/"+id, ""); a.status != 200 || a.member("status") != "assigned" {
			t.Errorf("%s was told that it is assigned; afterwards: %d %s", id, a.status, a.body)
		}
		must(t, h, "GET", "/devices/"+id+"?api-version=2021-04-12", "")
	}
}

// provisionOnce provisions a device over HTTP; false when the service goes away.
func provisionOnce(address, scope, id string, key sas.Key) bool {
	ask := func(method, path string) (int, wire.Operation) {
		r, err := http.NewRequest(method, "http://"+address+path+"?api-version=2019-03-31", nil)
		if err != nil {
			return 0, wire.Operation{}
		}
		r.Header.Set("Authorization", sas.Sign(wire.Resource(scope, id), key, wire.TokenPolicy, time.Now().Add(time.Hour)))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, wire.Operation{}
		}
		defer resp.Body.Close()
		var op wire.Operation
		if json.NewDecoder(resp.Body).Decode(&op) != nil {
			return 0, op
		}
		return resp.StatusCode, op
	}
	status, op := ask(http.MethodPut, wire.RegisterPath(scope, id))
	for status == http.StatusAccepted {
		status, op = ask(http.MethodGet, wire.OperationPath(scope, id, op.OperationID))
	}
	return status == http.StatusOK && op.Status == wire.StatusAssigned
}

// A hub without a provisioning service answers for its paths as for others that it does not know; options that cannot be
// are refused.
func TestWithoutProvisioning(t *testing.T) {
	h, err := hub.Open(t.Context(), hub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	if a := call(t, h, "GET", "/enrollments/d", ""); a.status != 400 || h.DPS() != nil || h.Stats().DPS != nil {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, o := range []dps.Options{
		{IDScope: "1ne00000000"},
		{Rules: []allocate.Rule{{Match: "["}}},
		{Rules: []allocate.Rule{{}}},
		{Rules: []allocate.Rule{{Match: "Upper"}}},
		{Rules: []allocate.Rule{{Match: "*", Hub: "nowhere"}}},
	} {
		if _, err := hub.Open(t.Context(), hub.Options{DPS: &o}); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	if _, err := net.Dial("tcp", h.Addr()); err != nil {
		t.Error(err)
	}
}
