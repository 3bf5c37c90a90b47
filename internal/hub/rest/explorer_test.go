package rest_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// exchange is a request as a client makes it, and what its answer must be.
type exchange struct {
	doing        string
	method, path string
	body         string
	headers      []string // pairs of name and value
	status       int
	want         []string // parts of the answer, in their order
}

// play makes the requests one after the other, with the token that a client has for the whole hub.
func (b *bench) play(all []exchange) {
	b.Helper()
	for _, x := range all {
		w := b.do("owner", x.method, x.path, x.body, x.headers...)
		if w.Code != x.status || (w.Body.Len() > 0 && !json.Valid(w.Body.Bytes())) {
			b.Errorf("%s: %d %s; want %d", x.doing, w.Code, w.Body, x.status)
			continue
		}
		rest := w.Body.String()
		for _, part := range x.want {
			var found bool
			if _, rest, found = strings.Cut(rest, part); !found {
				b.Errorf("%s: %s; want %s in it", x.doing, w.Body, part)
				break
			}
		}
	}
}

// Azure IoT Explorer encodes its paths as a whole (Azure/azure-iot-explorer, src/app/api/services and
// src/app/constants/devices.ts).
func TestExplorer(t *testing.T) {
	const version = "?api-version=2021-04-12"
	list := func(condition string) string {
		b, err := json.Marshal(map[string]string{"query": `
    SELECT deviceId as DeviceId,
    status as Status,
    lastActivityTime as LastActivityTime,
    statusUpdatedTime as StatusUpdatedTime,
    authenticationType as AuthenticationType,
    cloudToDeviceMessageCount as CloudToDeviceMessageCount,
    connectionState as ConnectionState,
    capabilities.iotEdge as IotEdge,
    modelId as ModelId
    FROM devices ` + condition})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	row := []string{`[{"DeviceId":"dev-1","Status":"enabled","LastActivityTime":"0001-01-01T00:00:00Z","AuthenticationType":"sas","CloudToDeviceMessageCount":0,` +
		`"ConnectionState":"Disconnected","IotEdge":false`}
	page := []string{"x-ms-max-item-count", "100"}
	b := newBench(t)
	b.play([]exchange{
		{"the list of devices", "POST", "/devices%2Fquery" + version, list(""), page, 200, append(row, `{"DeviceId":"dev-2"`)},
		{"a search", "POST", "/devices%2Fquery" + version, list("WHERE STARTSWITH(devices.deviceId, 'dev-1')"), page, 200, row},
		{"a filter", "POST", "/devices%2Fquery" + version, list("WHERE (status = 'disabled' AND capabilities.iotEdge=true)"), page, 200, []string{"[]"}},
		{
			"a new device", "PUT", "/devices%2Fexplored" + version,
			`{"authentication":{"symmetricKey":{"primaryKey":null,"secondaryKey":null},"type":"sas","x509Thumbprint":null},"capabilities":{"iotEdge":false},` +
				`"cloudToDeviceMessageCount":0,"deviceId":"explored","etag":null,"lastActivityTime":null,"status":"enabled","statusReason":null,"statusUpdatedTime":null}`,
			nil, 200,
			[]string{`"deviceId":"explored"`, `"primaryKey":"`, `"type":"sas"`},
		},
		{"its identity", "GET", "/devices%2Fexplored" + version, "", nil, 200, []string{`"deviceId":"explored"`, `"authentication":{"symmetricKey":{"primaryKey":"`}},
		{"its twin", "GET", "/twins%2Fexplored" + version, "", nil, 200, []string{`"deviceId":"explored"`, `"properties":{"desired":{`}},
		{
			"the twin changed", "PATCH", "/twins%2Fexplored" + version, `{"deviceId":"explored","tags":{"plant":"x"},"properties":{"desired":{"a":1,"$metadata":{},"$version":1},"reported":{}}}`,
			nil, 200,
			[]string{`"tags":{"plant":"x"}`, `"desired":{"a":1`, `"$version":2`},
		},
		{
			"a method", "POST", "/twins%2Fdev-1%2Fmethods" + version,
			`{"connectTimeoutInSeconds":20,"methodName":"echo","payload":{"a":1},"responseTimeoutInSeconds":20}`, nil, 200,
			[]string{`{"status":200,"payload":{"a":1}}`},
		},
		{"a method of an absent device", "POST", "/twins%2Fexplored%2Fmethods" + version, `{"methodName":"echo","responseTimeoutInSeconds":20}`, nil, 404, []string{"404103"}},
		{
			"a new module", "PUT", "/devices%2Fexplored%2Fmodules%2Fm" + version,
			`{"authentication":{"symmetricKey":{"primaryKey":null,"secondaryKey":null},"type":"sas","x509Thumbprint":null},"deviceId":"explored","moduleId":"m"}`, nil, 200,
			[]string{`"moduleId":"m"`},
		},
		{"the modules", "GET", "/devices%2Fexplored%2Fmodules" + version, "", nil, 200, []string{`[{"moduleId":"m"`}},
		{"a module", "GET", "/devices%2Fexplored%2Fmodules%2Fm" + version, "", nil, 200, []string{`"moduleId":"m"`}},
		{"a module's twin", "GET", "/twins%2Fexplored%2Fmodules%2Fm" + version, "", nil, 200, []string{`"deviceId":"explored","moduleId":"m"`}},
		{"the module deleted", "DELETE", "/devices%2Fexplored%2Fmodules%2Fm" + version, "", []string{"If-Match", "*"}, 204, nil},
		{"devices deleted", "POST", "/devices" + version, `[{"etag":"*","id":"explored","importMode":"deleteIfMatchEtag"}]`, nil, 200, []string{`{"isSuccessful":true,"errors":[],"warnings":[]}`}},
		{"a device that is gone", "GET", "/devices%2Fexplored" + version, "", nil, 404, []string{"ErrorCode:DeviceNotFound;"}},
	})
}
