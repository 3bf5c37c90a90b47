package rest_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

const cliVersion = "?api-version=2024-03-31"

// The IoT extension of the Azure CLI (Azure/azure-iot-cli-extension, azext_iot/sdk/iothub/service and azext_iot/iothub/providers).
func TestCLI(t *testing.T) {
	any := []string{"If-Match", `"*"`, "Content-Type", "application/json; charset=utf-8", "Cache-Control", "no-cache, must-revalidate"}
	b := newBench(t)
	b.play([]exchange{
		{
			"az iot hub device-identity create", "PUT", "/devices/cli" + cliVersion,
			`{"deviceId":"cli","status":"enabled","authentication":{"symmetricKey":{},"type":"sas"},"capabilities":{"iotEdge":false}}`, nil, 200,
			[]string{`"deviceId":"cli"`},
		},
		{"az iot hub device-identity list", "GET", "/devices" + cliVersion + "&top=2", "", nil, 200, []string{`"deviceId":"cli"`, `"deviceId":"dev-1"`}},
		{"az iot hub device-identity renew-key", "PUT", "/devices/cli" + cliVersion, `{"deviceId":"cli","status":"enabled","authentication":{"symmetricKey":{"primaryKey":"","secondaryKey":""},"type":"sas"}}`, any, 200, []string{`"primaryKey":"`}},
		{"az iot hub device-identity renew-key of several", "POST", "/devices/keys/regenerate" + cliVersion, `{"policyKey":"both","devices":[{"id":"cli"},{"id":"dev-1"}]}`, nil, 200, []string{`{"policyKey":"both","rotatedKeys":[{"id":"cli","primaryKey":"`, `"errors":[]`}},
		{"az iot hub device-twin show", "GET", "/twins/cli" + cliVersion, "", nil, 200, []string{`"deviceId":"cli"`}},
		{"az iot hub device-twin update", "PATCH", "/twins/cli" + cliVersion, `{"tags":{"a":1},"properties":{"desired":{"b":null,"c":2}}}`, any, 200, []string{`"tags":{"a":1}`, `"c":2`}},
		{"az iot hub device-twin replace", "PUT", "/twins/cli" + cliVersion, `{"deviceId":"cli","tags":{"z":1},"properties":{"desired":{"y":2}}}`, any, 200, []string{`"tags":{"z":1}`, `"y":2`}},
		{
			"az iot hub invoke-device-method", "POST", "/twins/dev-1/methods" + cliVersion,
			`{"methodName":"echo","payload":{},"responseTimeoutInSeconds":30,"connectTimeoutInSeconds":30}`, nil, 200,
			[]string{`{"status":200,"payload":{}}`},
		},
		{"az iot device c2d-message purge", "DELETE", "/devices/cli/commands" + cliVersion, "", nil, 200, []string{`"totalMessagesPurged":0`}},
		{
			"az iot hub job create", "PUT", "/jobs/v2/job-1" + cliVersion, `{"jobId":"job-1","type":"scheduleUpdateTwin","updateTwin":{"tags":{"a":1},"etag":"*"},"queryCondition":"*","maxExecutionTimeInSeconds":3600}`,
			nil, 200,
			[]string{`"jobId":"job-1"`, `"status":"queued"`},
		},
		{"az iot hub job show", "GET", "/jobs/v2/job-1" + cliVersion, "", nil, 200, []string{`"jobId":"job-1"`}},
		{"az iot hub job show of an unknown one", "GET", "/jobs/v2/none" + cliVersion, "", nil, 200, []string{`"status":"unknown"`}},
		{"which is then looked for among the others", "GET", "/jobs/none" + cliVersion, "", nil, 404, []string{"JobNotFound"}},
		{"az iot hub job list", "GET", "/jobs/v2/query" + cliVersion, "", nil, 200, []string{`[{"jobId":"job-1"`}},
		{"and the rest of it", "GET", "/jobs" + cliVersion, "", nil, 200, []string{`[]`}},
		{"az iot hub statistics", "GET", "/statistics/devices" + cliVersion, "", nil, 200, []string{`{"totalDeviceCount":3,"enabledDeviceCount":3,"disabledDeviceCount":0}`}},
		{"az iot hub module-identity create", "PUT", "/devices/cli/modules/m" + cliVersion, `{"deviceId":"cli","moduleId":"m","authentication":{"symmetricKey":{},"type":"sas"}}`, nil, 200, []string{`"moduleId":"m"`}},
		{"az iot hub query of modules", "POST", "/devices/query" + cliVersion, `{"query":"select * from devices.modules where devices.deviceId='cli'"}`, nil, 200, []string{`[{"deviceId":"cli","moduleId":"m"`}},
		{"az iot hub device-identity delete", "DELETE", "/devices/cli" + cliVersion, "", any, 204, nil},
	})
}

// A gateway's children, as the CLI makes them and asks for them: of devices, and of gateways below it.
func TestCLIChildren(t *testing.T) {
	b := newBench(t)
	identity := func(id, body string) (out registry.Identity) {
		w := b.do("owner", "PUT", "/devices/"+id+cliVersion, body)
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s, %v", id, w.Code, w.Body, err)
		}
		return out
	}
	gateway := identity("gateway", `{"deviceId":"gateway","capabilities":{"iotEdge":true}}`)
	if gateway.Scope == "" {
		t.Fatal("the gateway has no scope")
	}
	identity("leaf", fmt.Sprintf(`{"deviceId":"leaf","deviceScope":%q}`, gateway.Scope))
	identity("lower", fmt.Sprintf(`{"deviceId":"lower","capabilities":{"iotEdge":true},"parentScopes":[%q]}`, gateway.Scope))
	b.play([]exchange{
		{
			"az iot hub device-identity children list", "POST", "/devices/query" + cliVersion,
			fmt.Sprintf(`{"query":"select deviceId from devices where array_contains(parentScopes, '%s')"}`, gateway.Scope), nil, 200,
			[]string{`"deviceId":"l`},
		},
		{
			"children of either kind", "POST", "/devices/query" + cliVersion,
			fmt.Sprintf(`{"query":"SELECT deviceId FROM devices WHERE (deviceScope ='%s' OR ARRAY_CONTAINS(parentScopes,'%s')) AND deviceId <> 'gateway'"}`, gateway.Scope, gateway.Scope),
			nil, 200,
			[]string{`[{"deviceId":"leaf"},{"deviceId":"lower"}]`},
		},
		{
			"children of nobody", "POST", "/devices/query" + cliVersion, `{"query":"select deviceId from devices where array_contains(parentScopes, 'ms-azure-iot-edge://x-1')"}`, nil, 200, []string{`[]`},
		},
	})
}

// az iot hub query --top 150 asks for a page of 100 and then for one of 50.
func TestCLIPages(t *testing.T) {
	b := newBench(t)
	for i := range 158 {
		if _, err := b.store.CreateDevice(t.Context(), registry.Identity{DeviceID: fmt.Sprintf("more-%03d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	page := func(size, token string) (n int, next string) {
		headers := []string{paging.HeaderMaxItemCount, size}
		if token != "" {
			headers = append(headers, paging.HeaderContinuation, token)
		}
		w := b.do("owner", "POST", "/devices/query"+cliVersion, `{"query":"SELECT * FROM devices"}`, headers...)
		var rows []json.RawMessage
		if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil || w.Code != 200 || w.Header().Get(paging.HeaderItemType) != paging.ItemTwin {
			t.Fatalf("%d %s, %v", w.Code, w.Body, err)
		}
		return len(rows), w.Header().Get(paging.HeaderContinuation)
	}
	first, token := page("100", "")
	second, rest := page("50", token)
	last, end := page("100", rest)
	if first != 100 || second != 50 || last != 10 || token == "" || rest == "" || end != "" {
		t.Errorf("pages of %d, %d and %d items, then %q; want 100, 50 and 10 of 160", first, second, last, end)
	}
}
