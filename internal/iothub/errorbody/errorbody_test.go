package errorbody

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// An error that is written in any of the encodings is read back as the same error.
func TestEveryErrorReadsBackFromEveryEncoding(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	seen := make(map[int]string)
	for _, e := range iothub.Known() {
		if other, twice := seen[e.Code]; twice {
			t.Errorf("%s and %s share code %d", e.Name, other, e.Code)
		}
		seen[e.Code] = e.Name
		header := http.Header{"Iothub-Errorcode": {e.Name}, "Retry-After": {"7"}}
		for name, body := range map[string][]byte{"text": REST(e, "t-1", now), "nested": Nested(e, "t-1", now), "mqtt": MQTT(e, "t-1", now)} {
			got := Parse(e.Status, header, body)
			if !errors.Is(got, e) || got.Message != e.Message || got.TrackingID != "t-1" || got.RetryAfter != 7*time.Second {
				t.Errorf("%s as %s reads back as %+v", e.Name, name, got)
			}
		}
	}
	got := string(REST(iothub.ErrDeviceNotFound.With("E2E-dev-1"), "66b8", now))
	if want := `{"Message":"ErrorCode:DeviceNotFound;E2E-dev-1","ExceptionMessage":"Tracking ID:66b8-TimeStamp:01/02/2026 03:04:05"}`; got != want {
		t.Errorf("body = %s; want %s", got, want)
	}
	got = string(MQTT(iothub.ErrArgumentInvalid.With("no"), "66b8", now))
	if want := `{"errorCode":400004,"trackingId":"66b8","message":"no","timestampUtc":"2026-01-02T03:04:05Z"}`; got != want {
		t.Errorf("body = %s; want %s", got, want)
	}
	if e := Parse(502, nil, []byte("<html>")); e.Status != 502 || e.Name != "BadGateway" {
		t.Errorf("a body that is no JSON = %+v", e)
	}
}

// Answers as services give them, with the parts that vary between versions and gateways.
func TestParseAnswersOfOtherServices(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   iothub.Error
	}{
		{
			"text", 404,
			http.Header{"Iothub-Errorcode": {"DeviceNotFound"}},
			`{"Message":"ErrorCode:DeviceNotFound;E2E-dev-1","ExceptionMessage":"Tracking ID:66b8-G:5-TimeStamp:01/18/2017 08:11:45"}`,
			iothub.Error{Status: 404, Code: 404001, Name: "DeviceNotFound", Message: "E2E-dev-1", TrackingID: "66b8-G:5"},
		},
		{
			"JSON in the text", 404, nil,
			`{"Message":"{\"errorCode\":404103,\"trackingId\":\"12-G:11\",\"message\":\"Timed out waiting for device to ` +
				`connect.\",\"info\":{\"timeout\":\"00:01:00\"},\"timestampUtc\":\"2018-11-07T09:22:57.6054134Z\"}","ExceptionMessage":""}`,
			iothub.Error{
				Status: 404, Code: 404103, Name: "DeviceNotOnline", Message: "Timed out waiting for device to connect.", TrackingID: "12-G:11",
				Info: map[string]string{"timeout": "00:01:00"},
			},
		},
		{
			"details that are no text", 504, nil,
			`{"errorCode":504101,"message":"m","info":{"timeout":30,"more":{"a":1}}}`,
			iothub.Error{Status: 504, Code: 504101, Name: "GatewayTimeout", Message: "m", Info: map[string]string{"timeout": "30", "more": `{"a":1}`}},
		},
		{
			"details that are no object", 504, nil, `{"errorCode":504101,"message":"m","info":"none"}`,
			iothub.Error{Status: 504, Code: 504101, Name: "GatewayTimeout", Message: "m"},
		},
		{
			"a name for a number", 429, nil, `{"errorCode":"ThrottlingBacklogTimeout","message":"m"}`,
			iothub.Error{Status: 429, Code: 429003, Name: "ThrottlingBacklogTimeout", Message: "m"},
		},
		{
			"a sentence beside a header", 500,
			http.Header{"Iothub-Errorcode": {"ServerError"}},
			`{"Message":"An error has occurred."}`,
			iothub.Error{Status: 500, Code: 500001, Name: "ServerError", Message: "An error has occurred."},
		},
		{"a sentence alone", 503, nil, `{"Message":"Try later."}`, iothub.Error{Status: 503, Name: "ServiceUnavailable", Message: "Try later."}},
		{"no body", 429, nil, "", iothub.Error{Status: 429, Name: "TooManyRequests"}},
		{"a gateway's page", 502, nil, "<html>", iothub.Error{Status: 502, Name: "BadGateway"}},
		{"a number alone", 400, nil, "7", iothub.Error{Status: 400, Name: "BadRequest"}},
	} {
		if got := Parse(tt.status, tt.header, []byte(tt.body)); !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%s: %+v; want %+v", tt.name, *got, tt.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	date := func(at time.Time) string { return at.Format(http.TimeFormat) }
	for _, tt := range []struct {
		after, clock string
		want         time.Duration
	}{
		{"7", "", 7 * time.Second},
		{"0", "", 0},
		{"-1", "", 0},
		{"", "", 0},
		{"soon", "", 0},
		{date(now.Add(90 * time.Second)), date(now), 90 * time.Second},
		{date(now.Add(-time.Hour)), date(now), 0},
		{date(time.Now().Add(-time.Hour)), "", 0},
	} {
		header := http.Header{"Retry-After": {tt.after}, "Date": {tt.clock}}
		if got := Parse(429, header, nil).RetryAfter; got != tt.want {
			t.Errorf("Retry-After %q at %q = %v; want %v", tt.after, tt.clock, got, tt.want)
		}
	}
	// Without the service's clock a date counts from this machine's.
	if got := Parse(429, http.Header{"Retry-After": {date(time.Now().Add(time.Hour))}}, nil).RetryAfter; got < 59*time.Minute || got > time.Hour {
		t.Errorf("a date in an hour = %v", got)
	}
}

func TestBodyChoosesTheEncoding(t *testing.T) {
	e, now := iothub.ErrDeviceNotFound.With("dev-1 is gone").WithInfo("a", "1"), time.Unix(0, 0)
	if string(Of(e, FormNested, "t", now)) != string(Nested(e, "t", now)) || string(Of(e, FormText, "t", now)) != string(REST(e, "t", now)) {
		t.Error("Body writes the wrong form")
	}
}
