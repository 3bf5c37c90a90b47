package hub_test

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
)

const eventsPath = "/devices/dev-1/messages/events" + version

// asDevice is the header with a device's own token.
func asDevice(id string, key sas.Key) []string {
	return []string{"Authorization", sas.Sign("any.name/devices/"+id, key, "", time.Now().Add(time.Hour))}
}

func (b *bench) asPolicy(name, path string, life time.Duration) []string {
	cs := b.hub.ConnectionString(name)
	return []string{"Authorization", sas.Sign(cs.HostName+path, cs.Key, cs.Policy, time.Now().Add(life))}
}

func (b *bench) wants(what string, a answer, status int, code string) {
	b.Helper()
	if a.status != status || a.header.Get("iothub-errorcode") != code {
		b.Errorf("%s: %d %s %s; want %d %s", what, a.status, a.header.Get("iothub-errorcode"), a.body, status, code)
	}
}

// Who may send, and ask, by which token: what a path is decides who it is for, and the token who may.
func TestTokensOverHTTPS(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("PUT", "/devices/dev-1/modules/m1"+version, `{"deviceId":"dev-1","moduleId":"m1"}`)
	module := b.must("GET", "/devices/dev-1/modules/m1"+version, "").member("authentication", "symmetricKey", "primaryKey").(string)
	key, err := sas.ParseKey(module)
	if err != nil {
		t.Fatal(err)
	}
	other := newDevice(t, b.service, "dev-2")
	off := newDevice(t, b.service, "off")
	b.must("PUT", "/devices/off"+version, `{"deviceId":"off","status":"disabled"}`, "If-Match", "*")
	own := asDevice("dev-1", b.key)
	moduleToken := []string{"Authorization", sas.Sign("h/devices/dev-1/modules/m1", key, "", time.Now().Add(time.Hour))}
	expired := []string{"Authorization", sas.Sign("h/devices/dev-1", b.key, "", time.Now().Add(-time.Second))}
	const moduleEvents = "/devices/dev-1/modules/m1/messages/events" + version
	for _, c := range []struct {
		what, method, path string
		headers            []string
		status             int
		code               string
	}{
		{"its own", "POST", eventsPath, own, 204, ""},
		{"its own, for the whole hub", "POST", eventsPath, []string{"Authorization", sas.Sign("h", b.key, "", time.Now().Add(time.Hour))}, 204, ""},
		{"of another device", "POST", eventsPath, asDevice("dev-2", other.Authentication.SymmetricKey.Primary), 401, "IotHubUnauthorizedAccess"},
		{"signed by another", "POST", eventsPath, asDevice("dev-1", other.Authentication.SymmetricKey.Primary), 401, "IotHubUnauthorizedAccess"},
		{"expired", "POST", eventsPath, expired, 401, "IotHubUnauthorizedAccess"},
		{"none", "POST", eventsPath, []string{"Authorization", ""}, 401, "IotHubUnauthorized"},
		{"no token", "POST", eventsPath, []string{"Authorization", "Bearer x"}, 401, "IotHubUnauthorizedAccess"},
		{"of the policy for devices", "POST", eventsPath, b.asPolicy("device", "", time.Hour), 204, ""},
		{"of it, for this device", "POST", eventsPath, b.asPolicy("device", "/devices/dev-1", time.Hour), 204, ""},
		{"of it, for another", "POST", eventsPath, b.asPolicy("device", "/devices/dev-2", time.Hour), 401, "IotHubUnauthorizedAccess"},
		{"of it, expired", "POST", eventsPath, b.asPolicy("device", "", -time.Hour), 401, "IotHubUnauthorizedAccess"},
		{"of the policy for services", "POST", eventsPath, b.asPolicy("service", "", time.Hour), 401, "IotHubUnauthorized"},
		{"of the owner", "POST", eventsPath, b.asPolicy("iothubowner", "", time.Hour), 204, ""},
		{"of a module", "POST", moduleEvents, moduleToken, 204, ""},
		{"of a module by header", "POST", eventsPath, append([]string{"x-ms-edge-moduleId", "m1"}, moduleToken...), 204, ""},
		{"of its device for a module", "POST", moduleEvents, own, 401, "IotHubUnauthorizedAccess"},
		{"of a module for its device", "POST", eventsPath, moduleToken, 401, "IotHubUnauthorizedAccess"},
		{"for an unknown module", "POST", "/devices/dev-1/modules/none/messages/events" + version, own, 404, "ModuleNotFound"},
		{"of an unknown device", "POST", "/devices/none/messages/events" + version, asDevice("none", b.key), 404, "DeviceNotFound"},
		{"of a disabled device", "POST", "/devices/off/messages/events" + version, asDevice("off", off.Authentication.SymmetricKey.Primary), 401, "IotHubUnauthorized"},
		{"a device's for what is a service's", "POST", "/devices/dev-1/messages/deviceBound" + version, own, 401, "IotHubUnauthorizedAccess"},
		{"a service's, for that", "POST", "/devices/dev-1/messages/DEVICEBOUND" + version, b.asPolicy("service", "", time.Hour), 204, ""},
		{"a device's for its twin", "GET", twinPath, own, 401, "IotHubUnauthorizedAccess"},
	} {
		b.wants(c.what, call(t, b.hub, c.method, c.path, "x", c.headers...), c.status, c.code)
	}
	before := b.must("GET", twinPath, "")
	b.equal("never connected", before.member("connectionState"), "Disconnected")
	if at, _ := before.member("lastActivityTime").(string); strings.HasPrefix(at, "0001") {
		t.Error("the device was never active")
	}
	if got := b.hub.Stats(); got.Telemetry != 7 || got.Connected != 0 {
		t.Errorf("%d messages, %d connected; want 7, 0", got.Telemetry, got.Connected)
	}
}

func TestCertificatesOverHTTPS(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cert, err := b.hub.DeviceCertificate("by-ca")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(cert.Certificate[0])
	for id, auth := range map[string]registry.Authentication{
		"by-ca":         {Type: registry.AuthCertificateAuthority},
		"by-thumbprint": {Type: registry.AuthSelfSigned, Thumbprint: registry.Thumbprints{Primary: hex.EncodeToString(sum[:])}},
		"by-another":    {Type: registry.AuthSelfSigned, Thumbprint: registry.Thumbprints{Primary: strings.Repeat("0", 40)}},
	} {
		if _, err := b.service.CreateDevice(t.Context(), registry.Identity{DeviceID: id, Status: registry.StatusEnabled, Authentication: auth}); err != nil {
			t.Fatal(err)
		}
	}
	send := func(id string, certs ...tls.Certificate) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+b.hub.Addr()+"/devices/"+id+"/messages/events"+version, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: b.hub.CAPool(), Certificates: certs, ServerName: "localhost"}}}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("iothub-errorcode"))
	}
	b.equal("by its authority", send("by-ca", cert), "204 ")
	b.equal("by its thumbprint", send("by-thumbprint", cert), "204 ")
	b.equal("by another thumbprint", send("by-another", cert), "401 IotHubUnauthorized")
	b.equal("of a device with a key", send("dev-1", cert), "401 IotHubUnauthorized")
	b.equal("without one", send("by-ca"), "401 IotHubUnauthorized")
}

// A batch is one operation, of its size together, for rate and quota.
func TestLimitsOverHTTPS(t *testing.T) {
	t.Parallel()
	limited := hub.Options{Tier: "F1", Units: 1, Shape: bucket.Shape{Burst: time.Second, Backlog: -1}}
	inVirtualTime(t, limited, func(t *testing.T, h *hub.Hub, c *service.Client) {
		b := &bench{t, h, c, newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary}
		h.Arm()
		own := asDevice("dev-1", b.key)
		batch := "[" + strings.TrimSuffix(strings.Repeat(`{"body":"`+base64.StdEncoding.EncodeToString(make([]byte, 512))+`"},`, 100), ",") + "]"
		b.wants("a batch", call(t, h, "POST", eventsPath, batch, append([]string{"Content-Type", "application/vnd.microsoft.iothub.json"}, own...)...), 204, "")
		s := h.Stats()
		b.equal("messages", s.Telemetry, uint64(100))
		b.equal("of the quota", s.QuotaUsed, int64(100))
		b.equal("operations", s.Served["telemetry"], uint64(1))
		refused := 0
		for range 300 {
			switch a := call(t, h, "POST", eventsPath, "x", own...); a.status {
			case 204:
			case 429:
				refused++
			default:
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		if refused == 0 {
			t.Error("300 sends at once met no limit of 100 a second")
		}
		// Two uploads a second are more than F1 takes.
		var last answer
		for range 10 {
			if last = call(t, h, "POST", "/devices/dev-1/files"+version, `{"blobName":"f"}`, own...); last.status != 200 {
				break
			}
		}
		b.equal("uploads at once", last.status, 429)
		for h.Stats().QuotaUsed < 8000 {
			time.Sleep(20 * time.Millisecond)
			call(t, h, "POST", eventsPath, strings.Repeat("x", 256<<10), own...)
		}
		b.wants("when the day is used up", call(t, h, "POST", eventsPath, "x", own...), 403, "IotHubQuotaExceeded")
	})
}

// A file, as a device uploads it by hand: whole, or in blocks.
func TestUploads(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", t.TempDir()} {
		o := hub.Options{DataDir: dir}
		h, c := open(t, o)
		b := &bench{t, h, c, newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary}
		own := asDevice("dev-1", b.key)
		begin := func(name string) answer {
			return call(t, h, "POST", "/devices/dev-1/files"+version, fmt.Sprintf(`{"blobName":%q}`, name), own...)
		}
		end := func(id, body string) answer {
			return call(t, h, "POST", "/devices/dev-1/files/notifications/"+id+version, body, own...)
		}
		blob := func(method string, up answer, more, body string) answer {
			path := "/" + up.member("containerName").(string) + "/" + strings.ReplaceAll(up.member("blobName").(string), " ", "%20")
			return call(t, h, method, path+up.member("sasToken").(string)+more, body, "Authorization", "", "x-ms-blob-type", "BlockBlob")
		}
		up := begin("logs/a b.txt")
		b.equal("status", up.status, 200)
		b.equal("host", up.member("hostName"), h.Addr())
		b.equal("blob", up.member("blobName"), "dev-1/logs/a b.txt")
		id := up.member("correlationId").(string)
		b.wants("before the blob is there", end(id, `{"isSuccess":true}`), 400, "InvalidStorageEndpointOrBlob")
		b.equal("put", blob("PUT", up, "", "hello").status, 201)
		b.equal("get", blob("GET", up, "", "").body, "hello")
		b.equal("head", blob("HEAD", up, "", "").header.Get("Content-Length"), "5")
		b.equal("delete", blob("DELETE", up, "", "").status, 403)
		another := begin("b")
		b.equal("another's access", call(t, h, "GET", "/uploads/dev-1/b"+up.member("sasToken").(string), "", "Authorization", "").status, 403)
		b.equal("no access", call(t, h, "PUT", "/uploads/dev-1/b", "x", "Authorization", "").status, 403)
		b.equal("a device's token", call(t, h, "PUT", "/uploads/dev-1/b", "x", own...).status, 403)
		b.equal("the owner's", call(t, h, "GET", "/storage/uploads/dev-1/logs/a%20b.txt", "").body, "hello")
		for i, block := range []string{"one", "two", "three"} {
			b.equal("block", blob("PUT", another, "&comp=block&blockid="+base64.StdEncoding.EncodeToString([]byte{byte(i)}), block).status, 201)
		}
		b.equal("no list", blob("PUT", another, "&comp=blocklist", "x").header.Get("x-ms-error-code"), "InvalidXmlDocument")
		b.equal("another list", blob("PUT", another, "&comp=blocklist", "<BlockList><Latest>Zg==</Latest></BlockList>").header.Get("x-ms-error-code"), "InvalidBlockList")
		list := `<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>Ag==</Latest><Uncommitted>AA==</Uncommitted></BlockList>`
		b.equal("list", blob("PUT", another, "&comp=blocklist", list).status, 201)
		b.equal("the blob of it", blob("GET", another, "", "").body, "threeone")
		b.equal("a hash", call(t, h, "PUT", "/storage/uploads/h", "x", "Content-MD5", "AAAA").header.Get("x-ms-error-code"), "Md5Mismatch")
		if dir != "" { // what is under way, and access to it, outlive the hub
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			h, c = open(t, o)
			b.hub, b.service = h, c
			b.equal("after a restart", blob("GET", up, "", "").body, "hello")
		}
		b.equal("end", end(id, `{"isSuccess":true,"statusCode":200,"statusDescription":"ok"}`).status, 204)
		told := h.FileNotifications().Take(b, 10)
		if len(told) != 1 || !strings.Contains(string(told[0].Body), `"deviceId":"dev-1","blobUri":"https://`) ||
			!strings.Contains(string(told[0].Body), `/uploads/dev-1/logs/a%20b.txt","blobName":"dev-1/logs/a b.txt","lastUpdatedTime":"`) ||
			!strings.Contains(string(told[0].Body), `"blobSizeInBytes":5,`) {
			t.Errorf("services are told %+v", told)
		}
		b.wants("again", end(id, `{"isSuccess":true}`), 400, "InvalidFileUploadCorrelationId")
		for i := range 9 { // and one is under way
			b.equal("begin", begin(fmt.Sprint("f", i)).status, 200)
		}
		b.wants("the eleventh", begin("more"), 403, "DeviceMaximumActiveFileUploadLimitExceeded")
		body := fmt.Sprintf(`{"correlationId":%q,"isSuccess":false,"statusCode":500,"statusDescription":"no"}`, another.member("correlationId"))
		b.equal("end", call(t, h, "POST", "/devices/dev-1/files/notifications"+version, body, own...).status, 204)
		b.equal("then", begin("more").status, 200)
		b.must("DELETE", devicePath, "", "If-Match", "*")
		b.key = newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
		own = asDevice("dev-1", b.key)
		b.equal("a new device of the name", begin("x").status, 200)
	}
}

// Who may not put a blob is told before all of it has come.
func TestABlobThatIsRefusedEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, request := range []string{
		"PUT /uploads/dev-1/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc",
		"POST " + eventsPath + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc",
		"POST " + eventsPath + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
		"PUT /storage/box/a HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999\r\nAuthorization: " + b.asPolicy("iothubowner", "", time.Hour)[1] + "\r\n\r\nabc",
		"POST " + eventsPath + " HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999\r\nAuthorization: " + asDevice("dev-1", b.key)[1] + "\r\n\r\nabc",
	} {
		nc, err := b.hub.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(nc, request)
		_ = nc.SetReadDeadline(time.Now().Add(30 * time.Second))
		a, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		if a.StatusCode < 400 || !a.Close {
			t.Errorf("%.60q: %d, closes: %t", request, a.StatusCode, a.Close)
		}
		a.Body.Close()
		nc.Close()
	}
}

const boundPath = "/devices/dev-1/messages/deviceBound"

// Messages for a device that asks for them: each is held until it is settled, or for a time.
func TestMessagesOverHTTPS(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", t.TempDir()} {
		o := hub.Options{DataDir: dir}
		h, c := open(t, o)
		b := &bench{t, h, c, newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary}
		own := asDevice("dev-1", b.key)
		receive := func() answer { return call(t, b.hub, "GET", boundPath+version, "", own...) }
		settle := func(method string, given answer, rest string) answer {
			return call(t, b.hub, method, boundPath+"/"+strings.Trim(given.header.Get("ETag"), `"`)+rest, "", own...)
		}
		waiting := func() any { return b.must("GET", devicePath, "").member("cloudToDeviceMessageCount") }
		b.equal("none", receive().status, 204)
		b.must("POST", boundPath+version, "one", "iothub-messageid", "m1", "iothub-correlationid", "c1", "iothub-ack", "full", "iothub-app-alert", "hot",
			"iothub-contenttype", "text/plain")
		b.must("POST", boundPath+version, "two")
		one := receive()
		b.equal("one", one.body, "one")
		for name, want := range map[string]string{
			"iothub-messageid": "m1", "iothub-correlationid": "c1", "iothub-ack": "full", "iothub-app-alert": "hot", "iothub-contenttype": "text/plain",
			"iothub-deliverycount": "0", "iothub-to": "/devices/dev-1/messages/deviceBound",
		} {
			b.equal(name, one.header.Get(name), want)
		}
		for _, name := range []string{"iothub-sequencenumber", "iothub-enqueuedtime", "iothub-expiry"} {
			if one.header.Get(name) == "" {
				t.Errorf("no %s", name)
			}
		}
		two := receive()
		b.equal("two", two.body, "two")
		b.equal("both are held", receive().status, 204)
		b.equal("both wait", waiting(), 2)
		b.equal("abandon", settle("POST", one, "/abandon"+version).status, 204)
		b.wants("abandon again", settle("POST", one, "/abandon"+version), 412, "DeviceMessageLockLost")
		again := receive()
		b.equal("it comes again", again.body+again.header.Get("iothub-deliverycount"), "one1")
		b.wants("another device's", call(t, b.hub, "DELETE", strings.Replace(boundPath, "dev-1", "dev-2", 1)+"/"+strings.Trim(again.header.Get("ETag"), `"`)+version, "",
			asDevice("dev-2", newDevice(t, c, "dev-2").Authentication.SymmetricKey.Primary)...), 412, "DeviceMessageLockLost")
		b.equal("complete", settle("DELETE", again, version).status, 204)
		b.wants("complete again", settle("DELETE", again, version), 412, "DeviceMessageLockLost")
		b.equal("reject", settle("DELETE", two, version+"&reject").status, 204)
		b.equal("none is left", waiting(), 0)
		b.must("POST", boundPath+version, "three")
		for range 10 { // as often as a message is delivered
			given := receive()
			b.equal("three", given.body, "three")
			b.equal("abandon", settle("POST", given, "/abandon"+version).status, 204)
		}
		b.equal("it is given up", receive().status, 204)
		if dir == "" {
			continue
		}
		b.must("POST", boundPath+version, "four")
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		b.hub, b.service = open(t, o)
		b.equal("after a restart", receive().body, "four")
	}
}

// A message that is not settled comes again when its lock ends.
func TestLocksOverHTTPSEnd(t *testing.T) {
	inVirtualTime(t, hub.Options{}, func(t *testing.T, h *hub.Hub, c *service.Client) {
		newDevice(t, c, "dev-1")
		must(t, h, "POST", boundPath+version, "hello")
		for i, c := range []struct {
			headers []string
			lock    time.Duration
		}{{nil, time.Minute}, {[]string{"iothub-messagelocktimeout", "5"}, 5 * time.Second}, {[]string{"iothub-messagelocktimeout", "300"}, 5 * time.Minute}} {
			given := call(t, h, "GET", boundPath+version, "", c.headers...)
			if n := given.header.Get("iothub-deliverycount"); given.status != 200 || n != fmt.Sprint(i) {
				t.Fatalf("given for the time %d: %d, delivered before: %s", i+1, given.status, n)
			}
			time.Sleep(c.lock - time.Millisecond)
			if a := call(t, h, "GET", boundPath+version, ""); a.status != 204 {
				t.Errorf("held for %v, and given out a moment before: %d", c.lock, a.status)
			}
			time.Sleep(2 * time.Millisecond)
			if a := call(t, h, "DELETE", boundPath+"/"+strings.Trim(given.header.Get("ETag"), `"`)+version, ""); a.status != 412 {
				t.Errorf("completed %v later: %d", c.lock, a.status)
			}
		}
		time.Sleep(time.Hour)
		if a := call(t, h, "GET", boundPath+version, ""); a.status != 204 {
			t.Errorf("after the message's life: %d", a.status)
		}
	})
}

// What a service writes into a message comes out as it went in.
func TestTextOfPropertiesOverHTTPS(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("POST", boundPath+version, "x", "iothub-messageid", "ü", "iothub-app-a", "b\tc")
	given := call(t, b.hub, "GET", boundPath+version, "", asDevice("dev-1", b.key)...)
	b.equal("id", given.header.Get("iothub-messageid"), "ü")
	b.equal("property", given.header.Get("iothub-app-a"), "b\tc")
}
