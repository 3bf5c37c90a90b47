package hub_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

const (
	jobsPath = "/jobs" + version
	makePath = "/jobs/create" + version
)

// container is the URI of a container of the hub's own storage.
func container(h *hub.Hub, name string) string { return "http://" + h.Addr() + "/storage/" + name }

// moved makes a job and waits for its end.
func (b *bench) moved(body string) answer {
	b.Helper()
	made := b.must("POST", makePath, body)
	return b.over(made.member("jobId").(string))
}

// over waits for the end of a job.
func (b *bench) over(id string) answer {
	b.Helper()
	var a answer
	eventually(b, "the job ends", func() bool {
		a = b.must("GET", "/jobs/"+id+version, "")
		return a.member("endTimeUtc") != nil
	})
	return a
}

// An export and an import of it, as they were recorded from the service.
func TestExportAndImport(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", t.TempDir()} {
		h, c := open(t, hub.Options{DataDir: dir})
		d := newDevice(t, c, "dev-1")
		b := &bench{t, h, c, d.Authentication.SymmetricKey.Primary}
		b.must("PATCH", twinPath, `{"tags":{"plant":"r43"},"properties":{"desired":{"a":1}}}`)
		b.must("PUT", "/devices/dev-1/modules/m1"+version, `{"deviceId":"dev-1","moduleId":"m1"}`)
		newDevice(t, c, "dev-2")
		made := b.must("POST", makePath, fmt.Sprintf(`{"type":"export","outputBlobContainerUri":%q,"excludeKeysInExport":false}`, container(h, "out")))
		for _, want := range []string{
			`{"jobId":"`, `","startTimeUtc":"`, `"type":"export","status":"enqueued","progress":0,"outputBlobContainerUri":"`,
			`"excludeKeysInExport":false,"useSecondaryStorageAsSource":false}`,
		} {
			if !strings.Contains(made.body, want) {
				t.Errorf("no %s in %s", want, made.body)
			}
		}
		a := b.over(made.member("jobId").(string))
		b.equal("status", a.member("status"), "completed")
		b.equal("progress", a.member("progress"), 100)
		b.equal("failure", a.member("failureReason"), nil)
		file := b.must("GET", "/storage/out/devices.txt", "")
		lines := strings.Split(strings.TrimSpace(file.body), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], `{"id":"dev-1","eTag":"`) || !strings.HasPrefix(lines[1], `{"id":"dev-1","moduleId":"m1"`) {
			t.Fatalf("exported\n%s", file.body)
		}
		for _, want := range []string{b.key.Base64(), `"tags":{"plant":"r43"}`, `"desired":{"a":1,"$metadata":`, `"twinETag":"AAAAAAAAAAI="`} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("no %s in %s", want, lines[0])
			}
		}
		b.moved(fmt.Sprintf(`{"type":"export","outputBlobContainerUri":%q,"excludeKeysInExport":true,"outputBlobName":"plain.txt"}`, container(h, "out")))
		if plain := b.must("GET", "/storage/out/plain.txt", ""); strings.Contains(plain.body, b.key.Base64()) || !strings.Contains(plain.body, `"primaryKey":null`) {
			t.Errorf("keys in %s", plain.body)
		}
		// All is deleted, and comes back from the file with its keys and twins.
		b.must("POST", "/devices"+version, `[{"id":"dev-1","importMode":"delete"},{"id":"dev-2","importMode":"delete"}]`)
		a = b.moved(fmt.Sprintf(`{"type":"import","inputBlobContainerUri":%q,"outputBlobContainerUri":%q}`, container(h, "out"), container(h, "errors")))
		b.equal("status", a.member("status"), "completed")
		b.equal("input is in the first answer alone", a.member("inputBlobContainerUri"), nil)
		b.equal("errors", b.must("GET", "/storage/errors/importErrors.log", "").body, "")
		b.equal("key", b.must("GET", devicePath, "").member("authentication", "symmetricKey", "primaryKey"), b.key.Base64())
		twin := b.must("GET", twinPath, "")
		b.equal("tags", twin.member("tags", "plant"), "r43")
		b.equal("desired", twin.member("properties", "desired", "a"), 1)
		b.must("GET", "/twins/dev-1/modules/m1"+version, "")
		list := b.must("GET", jobsPath, "")
		b.equal("jobs", strings.Count(list.body, `"jobId"`), 3)
	}
}

// The lines of an import say themselves what becomes of each device; what fails is told, and the rest takes place.
func TestImportModesAndErrors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var file strings.Builder
	for i := range 250 { // more than one call of the registry takes
		fmt.Fprintf(&file, `{"id":"many-%03d","importMode":"create","tags":{"n":%d}}`+"\n", i, i)
	}
	file.WriteString(`{"id":"dev-1","importMode":"create"}` + "\n\n" + `{"id":"bad id","importMode":"create"}` + "\n" + `no JSON` + "\n" +
		`{"id":"many-000","importMode":"update","status":"disabled"}` + "\n" + `{"id":"many-000","importMode":"delete"}` + "\n" +
		`{"id":"many-001","importMode":"updateTwin","tags":{"n":7}}` + "\n" + `{"id":"none","importMode":"delete"}` + "\n" + `{"id":"last","importMode":"createOrUpdate"}`)
	a := b.moved(fmt.Sprintf(`{"type":"import","inputBlobContainerUri":%q,"outputBlobContainerUri":%q}`, container(b.hub, "ini"), container(b.hub, "out")))
	b.equal("a container without the blob", a.member("status"), "failed")
	if text, _ := a.member("failureReason").(string); !strings.Contains(text, "does not exist") {
		t.Errorf("failureReason %q", text)
	}
	put := call(t, b.hub, "PUT", "/storage/ini/devices.txt", file.String(), "x-ms-blob-type", "BlockBlob")
	b.equal("upload", put.status, 201)
	a = b.moved(fmt.Sprintf(`{"type":"import","inputBlobContainerUri":%q,"outputBlobContainerUri":%q}`, container(b.hub, "ini"), container(b.hub, "out")))
	b.equal("status", a.member("status"), "completed") // in spite of errors (recorded)
	log := b.must("GET", "/storage/out/importErrors.log", "").body
	for _, want := range []string{
		`{"deviceId":"dev-1","errorCode":409001,`, `"lineNumber":251}`, `"deviceId":"bad id","errorCode":400004`, `"errorCode":400012`, `"lineNumber":254}`,
		`{"deviceId":"none","errorCode":404001`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
	b.equal("errors", strings.Count(log, "\n"), 4)
	b.equal("made", b.must("GET", "/twins/many-249"+version, "").member("tags", "n"), 249)
	b.equal("patched", b.must("GET", "/twins/many-001"+version, "").member("tags", "n"), 7)
	b.equal("deleted", call(t, b.hub, "GET", "/devices/many-000"+version, "").status, 404)
	b.must("GET", "/devices/last"+version, "")
}

func TestTransfersThatAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	out := container(b.hub, "out")
	cs := b.hub.ConnectionString("iothubowner")
	foreign := sas.Sign(cs.HostName+"/storage/other", cs.Key, cs.Policy, time.Now().Add(time.Hour))
	for name, c := range map[string]struct{ body, code string }{
		"no JSON":              {`{`, "DeserializationError"},
		"no type":              {fmt.Sprintf(`{"outputBlobContainerUri":%q}`, out), "ArgumentInvalid"},
		"no output":            {`{"type":"export"}`, "BlobContainerValidationError"},
		"no input":             {fmt.Sprintf(`{"type":"import","outputBlobContainerUri":%q}`, out), "BlobContainerValidationError"},
		"a container of Azure": {`{"type":"export","outputBlobContainerUri":"https://x.blob.core.windows.net/out?sv=1&sig=x"}`, "BlobContainerValidationError"},
		"a file":               {`{"type":"export","outputBlobContainerUri":"file:///etc"}`, "BlobContainerValidationError"},
		"a way out":            {fmt.Sprintf(`{"type":"export","outputBlobContainerUri":"http://%s/storage/../out"}`, b.hub.Addr()), "BlobContainerValidationError"},
		"a bad token":          {fmt.Sprintf(`{"type":"export","outputBlobContainerUri":%q}`, out+"?sr=x&sig=x&se=1"), "BlobContainerValidationError"},
		"a token of another":   {fmt.Sprintf(`{"type":"export","outputBlobContainerUri":%q}`, out+"?"+strings.TrimPrefix(foreign, "SharedAccessSignature ")), "BlobContainerValidationError"},
		"a blob elsewhere":     {fmt.Sprintf(`{"type":"export","outputBlobContainerUri":%q,"outputBlobName":"../x"}`, out), "ArgumentInvalid"},
		"configurations":       {fmt.Sprintf(`{"type":"export","outputBlobContainerUri":%q,"includeConfigurations":true}`, out), "ArgumentInvalid"},
	} {
		a := call(t, b.hub, "POST", makePath, c.body)
		if a.status != 400 || a.header.Get("iothub-errorcode") != c.code {
			t.Errorf("%s: %d %s; want 400 %s", name, a.status, a.body, c.code)
		}
	}
	b.equal("nothing was kept", b.must("GET", jobsPath, "").body, "[]")
	for _, method := range []string{"GET", "DELETE"} {
		b.equal(method, call(t, b.hub, method, "/jobs/none"+version, "").header.Get("iothub-errorcode"), "JobNotFound")
	}
	service := b.hub.ConnectionString("service")
	token := sas.Sign(service.HostName, service.Key, service.Policy, time.Now().Add(time.Hour))
	b.equal("without the right", call(t, b.hub, "POST", makePath, `{}`, "Authorization", token).status, 401)
}

// A token in the query is what a shared access signature of Azure storage is, and does not last.
func TestStorage(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", t.TempDir()} {
		h, c := open(t, hub.Options{DataDir: dir})
		b := &bench{T: t, hub: h, service: c}
		cs := h.ConnectionString("iothubowner")
		token := func(resource string, life time.Duration) string {
			return strings.TrimPrefix(sas.Sign(cs.HostName+resource, cs.Key, cs.Policy, time.Now().Add(life)), "SharedAccessSignature ")
		}
		blob := func(method, path, body string, headers ...string) answer {
			return call(t, h, method, path, body, append([]string{"Authorization", ""}, headers...)...)
		}
		good := "/storage/box/a.txt?" + token("/storage/box", time.Hour)
		b.equal("put", blob("PUT", good, "hello", "x-ms-blob-type", "BlockBlob").status, 201)
		got := blob("GET", good, "")
		b.equal("get", got.body, "hello")
		b.equal("type", got.header.Get("x-ms-blob-type"), "BlockBlob")
		part := blob("GET", good, "", "x-ms-range", "bytes=1-3")
		b.equal("range", fmt.Sprintf("%d %s %s", part.status, part.body, part.header.Get("Content-Range")), "206 ell bytes 1-3/5")
		b.equal("head", blob("HEAD", good, "").header.Get("Content-Length"), "5")
		for name, c := range map[string]struct {
			method, path string
			status       int
			code         string
		}{
			"no token":            {"GET", "/storage/box/a.txt", 403, "AuthenticationFailed"},
			"another container":   {"GET", "/storage/boxy/a.txt?" + token("/storage/box", time.Hour), 403, "AuthenticationFailed"},
			"expired":             {"GET", "/storage/box/a.txt?" + token("/storage/box", -time.Hour), 403, "AuthenticationFailed"},
			"no blob":             {"GET", "/storage/box/b.txt?" + token("/storage/box", time.Hour), 404, "BlobNotFound"},
			"a hidden name":       {"GET", "/storage/box/.new-A?" + token("/storage/box", time.Hour), 404, "BlobNotFound"},
			"a control character": {"GET", "/storage/box/a%0Ab?" + token("/storage/box", time.Hour), 400, "InvalidResourceName"},
			"a way out":           {"GET", "/storage/box/..%2Fpolicies.json?" + token("", time.Hour), 400, "InvalidResourceName"},
			"a bad container":     {"PUT", "/storage/B/a.txt?" + token("", time.Hour), 400, "InvalidResourceName"},
			"a block":             {"PUT", good + "&comp=block&blockid=x", 400, "InvalidQueryParameterValue"},
			"an unknown part":     {"PUT", good + "&comp=page", 400, "UnsupportedHttpVerb"},
			"a post":              {"POST", good, 400, "UnsupportedHttpVerb"},
		} {
			if a := blob(c.method, c.path, ""); a.status != c.status || a.header.Get("x-ms-error-code") != c.code {
				t.Errorf("%s: %d %s; want %d %s", name, a.status, a.header.Get("x-ms-error-code"), c.status, c.code)
			}
		}
		b.equal("an append blob", blob("PUT", good, "x", "x-ms-blob-type", "AppendBlob").status, 400)
		b.equal("unchanged", blob("GET", good, "").body, "hello")
		b.equal("delete", blob("DELETE", good, "").status, 202)
		b.equal("gone", blob("DELETE", good, "").status, 404)
		if dir != "" {
			left, err := os.ReadDir(filepath.Join(dir, "storage", "box"))
			if err != nil || len(left) != 0 {
				t.Errorf("left in the folder: %v, %v", left, err)
			}
		}
	}
}

// A hub that starts again knows its jobs, without the access that their URIs gave.
func TestTransfersSurviveARestart(t *testing.T) {
	t.Parallel()
	o := hub.Options{DataDir: t.TempDir()}
	first, err := hub.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	cs := first.ConnectionString("iothubowner")
	query := strings.TrimPrefix(sas.Sign(cs.HostName+"/storage/out", cs.Key, cs.Policy, time.Now().Add(time.Hour)), "SharedAccessSignature ")
	b := &bench{T: t, hub: first}
	id := b.moved(fmt.Sprintf(`{"type":"export","outputBlobContainerUri":%q}`, container(first, "out")+"?"+query)).member("jobId").(string)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	b.hub, _ = open(t, o)
	again := b.must("GET", "/jobs/"+id+version, "")
	b.equal("status", again.member("status"), "completed")
	if strings.Contains(again.body, "sig=") {
		t.Errorf("a token is on disk: %s", again.body)
	}
	b.must("GET", "/storage/out/devices.txt", "")
}

// A client that says what must be there, or that nothing may, has its way, and leaves what there is else.
func TestConditionsOfBlobs(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", t.TempDir()} {
		h, c := open(t, hub.Options{DataDir: dir})
		b := &bench{T: t, hub: h, service: c}
		const path = "/storage/box/a.txt"
		refused := func(method, body string, status int, code string, headers ...string) {
			t.Helper()
			a := call(t, h, method, path, body, headers...)
			b.equal(method+strings.Join(headers, " "), fmt.Sprint(a.status, " ", a.header.Get("x-ms-error-code")), fmt.Sprint(status, " ", code))
		}
		refused("PUT", "no", 412, "ConditionNotMet", "If-Match", "*")
		first := b.must("PUT", path, "first", "If-None-Match", "*").header.Get("ETag")
		refused("PUT", "again", 409, "BlobAlreadyExists", "If-None-Match", "*")
		refused("PUT", "other", 412, "ConditionNotMet", "If-Match", `"0x0"`)
		refused("PUT", "same", 412, "ConditionNotMet", "If-None-Match", first)
		refused("DELETE", "", 412, "ConditionNotMet", "If-Match", `"0x0"`)
		b.equal("unchanged", b.must("GET", path, "").body, "first")
		second := b.must("PUT", path, "second one", "If-Match", first).header.Get("ETag")
		refused("DELETE", "", 412, "ConditionNotMet", "If-Match", first)
		b.must("DELETE", path, "", "If-Match", second)
		// Of many that make it at once, one does.
		var made atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if call(t, h, "PUT", path, fmt.Sprint("by ", i), "If-None-Match", "*").status == 201 {
					made.Add(1)
				}
			})
		}
		all.Wait()
		b.equal("made", made.Load(), int64(1))
	}
}

// What a hub that was killed left unfinished of a blob is gone when the next begins.
func TestUnfinishedBlobsAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	box := filepath.Join(dir, "storage", "box")
	if err := os.MkdirAll(box, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".new-ABC", "whole.txt"} {
		if err := os.WriteFile(filepath.Join(box, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, c := open(t, hub.Options{DataDir: dir})
	b := &bench{T: t, hub: h, service: c}
	b.equal("whole", b.must("GET", "/storage/box/whole.txt", "").body, "x")
	left, err := os.ReadDir(box)
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A blob whose content breaks off is the client's fault, and not there.
func TestABlobThatBreaksOff(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", t.TempDir()} {
		h, c := open(t, hub.Options{DataDir: dir})
		b := &bench{T: t, hub: h, service: c}
		cs := h.ConnectionString("iothubowner")
		nc, err := h.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "PUT /storage/box/a.txt HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
			sas.Sign(cs.HostName, cs.Key, cs.Policy, time.Now().Add(time.Hour)))
		a, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		b.equal("answer", fmt.Sprint(a.StatusCode, " ", a.Header.Get("x-ms-error-code")), "400 InvalidInput")
		b.equal("no blob", call(t, h, "GET", "/storage/box/a.txt", "").status, 404)
	}
}

// Who has a bearer token where those are accepted reaches blobs and enrollments too; where they are not, the answer names the switch.
func TestBearerTokensReachAll(t *testing.T) {
	t.Parallel()
	for text, accepted := range map[string]bool{"any": true, "": false} {
		v, err := bearer.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := open(t, hub.Options{Bearer: v, DPS: &dps.Options{}})
		for _, c := range []struct {
			method, path, body string
			good, bad          int
		}{
			{"PUT", "/storage/box/a.txt", "x", 201, 403},
			{"GET", "/statistics/devices" + version, "", 200, 401},
			{"GET", "/enrollmentGroups/default?api-version=2021-10-01", "", 200, 401},
		} {
			a, want := call(t, h, c.method, c.path, c.body, "Authorization", "Bearer abc"), c.bad
			if accepted {
				want = c.good
			}
			if a.status != want || !accepted && !strings.Contains(a.body, bearer.Switch) {
				t.Errorf("%s, accepted: %t: %d %s", c.path, accepted, a.status, a.body)
			}
		}
	}
}
