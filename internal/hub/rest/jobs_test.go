package rest_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// A job goes by the id in its path; one for later is queued at first; what is unknown is answered as such.
func TestJobs(t *testing.T) {
	b := newBench(t)
	start := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	w := b.do("service", "PUT", "/jobs/v2/right", `{"jobId":"wrong","type":"scheduleUpdateTwin","queryCondition":"*","startTime":"`+start+
		`","maxExecutionTimeInSeconds":60,"updateTwin":{"etag":"*","tags":{"a":1}}}`)
	var job jobs.Job
	if err := json.Unmarshal(w.Body.Bytes(), &job); err != nil || w.Code != 200 || job.JobID != "right" || job.Status != jobs.Queued {
		t.Errorf("PUT: %d %s, %v", w.Code, w.Body, err)
	}
	b.expect(b.do("service", "PUT", "/jobs/v2/right", `{"type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{}}}`), 409, "JobAlreadyExists")
	if w := b.do("service", "GET", "/jobs/v2/wrong", ""); w.Code != 200 || w.Body.String() != `{"jobId":"wrong","type":"unknown","status":"unknown"}` {
		t.Errorf("an unknown job: %d %s", w.Code, w.Body)
	}
	b.expect(b.do("service", "POST", "/jobs/v2/right/cancel", ""), 200, "")
	b.expect(b.do("service", "POST", "/jobs/v2/right/cancel", ""), 405, "OperationNotAllowedInCurrentState")
}

// Jobs are listed page by page; the token belongs to the filter.
func TestJobLists(t *testing.T) {
	b := newBench(t)
	start := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for i := range 5 {
		b.expect(b.do("service", "PUT", fmt.Sprint("/jobs/v2/j", i), `{"type":"scheduleUpdateTwin","startTime":"`+start+`","updateTwin":{"etag":"*","tags":{}}}`), 200, "")
	}
	list := func(filter, size, token string) (ids string, next string) {
		w := b.do("service", "GET", "/jobs/v2/query"+filter, "", paging.HeaderMaxItemCount, size, paging.HeaderContinuation, token)
		var all []jobs.Job
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || w.Header().Get(paging.HeaderItemType) != "JobResponse" {
			t.Errorf("%s: %d %s %v", filter, w.Code, w.Body, err)
		}
		for _, j := range all {
			ids += " " + j.JobID
		}
		return ids, w.Header().Get(paging.HeaderContinuation)
	}
	first, token := list("", "3", "")
	second, end := list("", "100", token)
	if first != " j0 j1 j2" || second != " j3 j4" || end != "" {
		t.Errorf("pages:%s,%s, then %q", first, second, end)
	}
	if ids, next := list("?jobType=scheduleDeviceMethod", "100", ""); ids != "" || next != "" {
		t.Errorf("jobs of methods:%s", ids)
	}
	b.expect(b.do("service", "GET", "/jobs/v2/query?jobType=scheduleUpdateTwin", "", paging.HeaderContinuation, token), 400, "ArgumentInvalid")
}

// Keys are made anew, those that were asked for, of devices and modules; what cannot be is told of each.
func TestRegenerateKeys(t *testing.T) {
	b := newBench(t)
	if _, err := b.store.CreateDevice(t.Context(), registry.Identity{DeviceID: "dev-1", ModuleID: "m"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.CreateDevice(t.Context(), registry.Identity{DeviceID: "x509", Authentication: registry.Authentication{Type: "certificateAuthority"}}); err != nil {
		t.Fatal(err)
	}
	keys := func(id string) registry.SymmetricKeys {
		d, err := b.store.Device(id)
		if err != nil {
			t.Fatal(err)
		}
		return d.Authentication.SymmetricKey
	}
	for which, changes := range map[string][2]bool{"primaryKey": {true, false}, "secondaryKey": {false, true}, "both": {true, true}} {
		for _, id := range []string{"dev-1", "dev-1/m"} {
			before := keys(id)
			of := registry.RegenerateOf{ID: "dev-1"}
			if id != "dev-1" {
				of.ModuleID = "m"
			}
			body, err := json.Marshal(registry.Regenerate{PolicyKey: which, Devices: []registry.RegenerateOf{of}})
			if err != nil {
				t.Fatal(err)
			}
			w := b.do("registry", "POST", "/devices/keys/regenerate", string(body))
			var out registry.Regenerated
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 || len(out.Rotated) != 1 || len(out.Errors) != 0 {
				t.Fatalf("%s of %s: %d %s, %v", which, id, w.Code, w.Body, err)
			}
			now := keys(id)
			if (now.Primary != before.Primary) != changes[0] || (now.Secondary != before.Secondary) != changes[1] {
				t.Errorf("%s of %s changed the wrong keys", which, id)
			}
			if got := out.Rotated[0]; got.Primary != now.Primary || got.Secondary != now.Secondary || got.RegenerateOf != of {
				t.Errorf("%s of %s answers other keys than there are", which, id)
			}
		}
	}
	some := b.do("registry", "POST", "/devices/keys/regenerate", `{"policyKey":"both","devices":[{"id":"dev-2"},{"id":"nobody"},{"id":"x509"}]}`)
	var out registry.Regenerated
	if err := json.Unmarshal(some.Body.Bytes(), &out); err != nil || some.Code != 207 || len(out.Rotated) != 1 || len(out.Errors) != 2 ||
		out.Errors[0].Code != "DeviceNotFound" || out.Errors[1].Code != "ArgumentInvalid" {
		t.Errorf("some: %d %s, %v", some.Code, some.Body, err)
	}
	if none := b.do("registry", "POST", "/devices/keys/regenerate", `{"policyKey":"both","devices":[{"id":"nobody"}]}`); none.Code != 400 {
		t.Errorf("none: %d %s", none.Code, none.Body)
	}
}
