package iothub

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"
)

// The numbers and names that services of other makers look for (troubleshoot-error-codes). They are
// written out here a second time, so that a slip in the table of the package shows.
func TestErrorTable(t *testing.T) {
	want := map[int]struct {
		status int
		name   string
	}{
		400003: {400, "InvalidOperation"},
		400004: {400, "ArgumentInvalid"},
		400005: {400, "ArgumentNull"},
		400006: {400, "IotHubFormatError"},
		400011: {400, "DeviceDefinedMultipleTimes"},
		400012: {400, "DeserializationError"},
		400013: {400, "BulkRegistryOperationFailure"},
		400027: {400, "ConnectionForcefullyClosedOnNewConnection"},
		401002: {401, "IotHubUnauthorizedAccess"},
		401003: {401, "IotHubUnauthorized"},
		403002: {403, "IotHubQuotaExceeded"},
		403004: {403, "DeviceMaximumQueueDepthExceeded"},
		403010: {403, "OperationNotAvailableInCurrentTier"},
		403012: {403, "DeviceDisabled"},
		404001: {404, "DeviceNotFound"},
		404002: {404, "JobNotFound"},
		404010: {404, "ModuleNotFound"},
		404103: {404, "DeviceNotOnline"},
		409001: {409, "DeviceAlreadyExists"},
		409004: {409, "JobAlreadyExists"},
		412001: {412, "PreconditionFailed"},
		413001: {413, "MessageTooLarge"},
		413002: {413, "TooManyDevices"},
		429000: {429, "GenericTooManyRequests"},
		429001: {429, "ThrottlingException"},
		429002: {429, "ThrottleBacklogLimitExceeded"},
		429003: {429, "ThrottlingBacklogTimeout"},
		429004: {429, "ThrottlingMaxActiveJobCountExceeded"},
		429005: {429, "DeviceThrottlingLimitExceeded"},
		500001: {500, "ServerError"},
		500008: {500, "GenericTimeout"},
		503001: {503, "ServiceUnavailable"},
		503005: {503, "ServerBusy"},
		504101: {504, "GatewayTimeout"},
	}
	known := knownErrors()
	if len(known) != len(want) {
		t.Errorf("%d errors; want %d", len(known), len(want))
	}
	for _, e := range known {
		if w := want[e.Code]; e.Status != w.status || e.Name != w.name || e.Message == "" {
			t.Errorf("%d is %d %s %q; want %d %s and a text", e.Code, e.Status, e.Name, e.Message, w.status, w.name)
		}
	}
}

// Answers as services give them, with the parts that vary between versions and gateways.
func TestParseErrorOfOtherServices(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   Error
	}{
		{
			"text", 404,
			http.Header{"Iothub-Errorcode": {"DeviceNotFound"}},
			`{"Message":"ErrorCode:DeviceNotFound;E2E-dev-1","ExceptionMessage":"Tracking ID:66b8-G:5-TimeStamp:01/18/2017 08:11:45"}`,
			Error{Status: 404, Code: 404001, Name: "DeviceNotFound", Message: "E2E-dev-1", TrackingID: "66b8-G:5"},
		},
		{
			"JSON in the text", 404, nil,
			`{"Message":"{\"errorCode\":404103,\"trackingId\":\"12-G:11\",\"message\":\"Timed out waiting for device to connect.\",\"info\":{\"timeout\":\"00:01:00\"},\"timestampUtc\":\"2018-11-07T09:22:57.6054134Z\"}","ExceptionMessage":""}`,
			Error{Status: 404, Code: 404103, Name: "DeviceNotOnline", Message: "Timed out waiting for device to connect.", TrackingID: "12-G:11", Info: map[string]string{"timeout": "00:01:00"}},
		},
		{
			"details that are no text", 504, nil,
			`{"errorCode":504101,"message":"m","info":{"timeout":30,"more":{"a":1}}}`,
			Error{Status: 504, Code: 504101, Name: "GatewayTimeout", Message: "m", Info: map[string]string{"timeout": "30", "more": `{"a":1}`}},
		},
		{
			"details that are no object", 504, nil, `{"errorCode":504101,"message":"m","info":"none"}`,
			Error{Status: 504, Code: 504101, Name: "GatewayTimeout", Message: "m"},
		},
		{
			"a name for a number", 429, nil, `{"errorCode":"ThrottlingBacklogTimeout","message":"m"}`,
			Error{Status: 429, Code: 429003, Name: "ThrottlingBacklogTimeout", Message: "m"},
		},
		{
			"a sentence beside a header", 500,
			http.Header{"Iothub-Errorcode": {"ServerError"}},
			`{"Message":"An error has occurred."}`,
			Error{Status: 500, Code: 500001, Name: "ServerError", Message: "An error has occurred."},
		},
		{"a sentence alone", 503, nil, `{"Message":"Try later."}`, Error{Status: 503, Name: "ServiceUnavailable", Message: "Try later."}},
		{"no body", 429, nil, "", Error{Status: 429, Name: "TooManyRequests"}},
		{"a gateway's page", 502, nil, "<html>", Error{Status: 502, Name: "BadGateway"}},
		{"a number alone", 400, nil, "7", Error{Status: 400, Name: "BadRequest"}},
	} {
		if got := ParseError(tt.status, tt.header, []byte(tt.body)); !reflect.DeepEqual(*got, tt.want) {
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
		if got := ParseError(429, header, nil).RetryAfter; got != tt.want {
			t.Errorf("Retry-After %q at %q = %v; want %v", tt.after, tt.clock, got, tt.want)
		}
	}
	// Without the service's clock a date counts from this machine's.
	if got := ParseError(429, http.Header{"Retry-After": {date(time.Now().Add(time.Hour))}}, nil).RetryAfter; got < 59*time.Minute || got > time.Hour {
		t.Errorf("a date in an hour = %v", got)
	}
}

func TestBulkErrors(t *testing.T) {
	for code, want := range map[string]int{`409001`: 409001, `"409001"`: 409001, `"DeviceAlreadyExists"`: 409001, `"deviceNotFound"`: 404001, `"SomethingNew"`: 0} {
		var got BulkResult
		if err := json.Unmarshal([]byte(`{"isSuccessful":false,"errors":[{"deviceId":"d","errorCode":`+code+`,"errorStatus":"why"}]}`), &got); err != nil {
			t.Errorf("%s: %v", code, err)
			continue
		}
		if e := got.Errors[0]; e.DeviceID != "d" || e.ErrorCode != want || e.ErrorStatus != "why" {
			t.Errorf("%s reads as %+v; want %d", code, e, want)
		}
		b, err := json.Marshal(got)
		var again BulkResult
		if err != nil || json.Unmarshal(b, &again) != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%+v reads back as %+v, %v", got, again, err)
		}
	}
	err := BulkError{DeviceID: "d", ErrorCode: 429001, ErrorStatus: "slow down"}.Err()
	if !errors.Is(err, ErrThrottled) || !Throttled(err) || err.Name != "ThrottlingException" || err.Message != "slow down" {
		t.Errorf("Err = %+v", err)
	}
	if err := json.Unmarshal([]byte(`{"errors":[7]}`), new(BulkResult)); err == nil {
		t.Error("an entry that is a number is read")
	}
}

func TestErrorCopies(t *testing.T) {
	with := ErrDeviceNotFound.With("%s is gone", "dev-1").WithInfo("a", "1").WithInfo("b", "2")
	if with.Message != "dev-1 is gone" || with.Info["a"] != "1" || with.Info["b"] != "2" || !errors.Is(with, ErrDeviceNotFound) {
		t.Errorf("copy = %+v", with)
	}
	if ErrDeviceNotFound.Message != "Device not found" || ErrDeviceNotFound.Info != nil {
		t.Errorf("the original changed: %+v", ErrDeviceNotFound)
	}
	if errors.Is(with, ErrModuleNotFound) || AsError(with) != with || AsError(errors.New("x")) != ErrServer {
		t.Error("errors are taken for others")
	}
	with.TrackingID = "t-1"
	if got, want := with.Error(), "404001 DeviceNotFound: dev-1 is gone (tracking id t-1)"; got != want {
		t.Errorf("Error() = %q; want %q", got, want)
	}
	now := time.Unix(0, 0)
	if string(with.Body(NestedBody, "t", now)) != string(with.MethodBody("t", now)) || string(with.Body(DataBody, "t", now)) != string(with.RESTBody("t", now)) {
		t.Error("Body writes the wrong form")
	}
}
