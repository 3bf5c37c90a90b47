package dps

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// The example of concepts-symmetric-key-attestation.
func TestDerivedKey(t *testing.T) {
	group, err := sas.ParseKey("8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==")
	if err != nil {
		t.Fatal(err)
	}
	const want = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
	if got := DeriveKey(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6").Base64(); got != want {
		t.Errorf("derived key %s; want %s", got, want)
	}
}

func TestUsername(t *testing.T) {
	for text, want := range map[string]Name{
		"0ne1/registrations/Dev-1/api-version=2019-03-31":                             {"0ne1", "Dev-1", "2019-03-31", ""},
		"0ne1/registrations/d/api-version=2019-03-31&ClientVersion=azure%2Fiot%201":   {"0ne1", "d", "2019-03-31", "azure/iot 1"},
		"0ne1/registrations/d/api-version=2025-07-01-preview&ClientVersion=a&b=c":     {"0ne1", "d", "2025-07-01-preview", "a"},
		"0ne1/registrations/a:b_c.d/api-version=2026-11-02-preview&ClientVersion=%zz": {"0ne1", "a:b_c.d", "2026-11-02-preview", "%zz"},
	} {
		got, err := ParseUsername(text)
		if err != nil || got != want || !IsUsername(text) {
			t.Errorf("%s is %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseUsername(got.String()); err != nil || again != got {
			t.Errorf("%s reads back as %+v, %v", got, again, err)
		}
	}
	for _, text := range []string{
		"", "hub/dev/?api-version=2021-04-12", "hub/registrations/m/?api-version=2021-04-12", "a/registrations//api-version=2019-03-31",
		"/registrations/d/api-version=2019-03-31", "a/b/registrations/d/api-version=2019-03-31",
	} {
		if _, err := ParseUsername(text); IsUsername(text) || !errors.Is(err, ErrUsername) {
			t.Errorf("%q is taken for a user name of DPS: %v", text, err)
		}
	}
	for _, version := range []string{"", "latest", "2019-3-31", "2019-03-31-beta", "x2019-03-31"} {
		text := "s/registrations/d/api-version=" + version
		if _, err := ParseUsername(text); !IsUsername(text) || !errors.Is(err, ErrUsername) {
			t.Errorf("%q: %v; want ErrUsername", text, err)
		}
	}
}

func TestRegistrationIDs(t *testing.T) {
	for _, id := range []string{"a", "Dev-1", "a.b_c:d-", strings.Repeat("x", 128)} {
		if err := CheckRegistrationID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", "a.", "a_", "a:", "a b", "a/b", "ü", "a$", strings.Repeat("x", 129)} {
		if err := CheckRegistrationID(id); !errors.Is(err, ErrRegistrationID) {
			t.Errorf("%q: %v; want ErrRegistrationID", id, err)
		}
	}
}

func TestRequests(t *testing.T) {
	for topic, want := range map[string]Request{
		RegisterTopic("1"): {RequestID: "1"},
		"$dps/registrations/PUT/iotdps-register/?$rid=a%20b":                            {RequestID: "a%20b"},
		PollTopic("2", "5.0a.b-c"):                                                      {RequestID: "2", OperationID: "5.0a.b-c", Poll: true},
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=x&operationId=5.a%2Bb": {RequestID: "x", OperationID: "5.a+b", Poll: true},
		"$dps/registrations/GET/iotdps-get-operationstatus/?operationId=5&$rid=x":       {RequestID: "x", OperationID: "5", Poll: true},
	} {
		if got, err := ParseRequest(topic); err != nil || got != want {
			t.Errorf("%s is %+v, %v; want %+v", topic, got, err, want)
		}
	}
	for _, topic := range []string{
		"", "$dps/registrations/res/200/?$rid=1", "$iothub/twin/GET/?$rid=1", "$dps/registrations/PUT/iotdps-register",
		"$dps/registrations/GET/iotdps-get-operationstatus/?operationId=%z",
	} {
		if got, err := ParseRequest(topic); !errors.Is(err, ErrTopic) {
			t.Errorf("%s is %+v, %v; want ErrTopic", topic, got, err)
		}
	}
}

// What the parsers of the SDKs can read: .NET by an expression, Python by a cut at $, C and Java by the query.
func TestResponsesAsClientsReadThem(t *testing.T) {
	dotnet := regexp.MustCompile(`^\$dps/registrations/res/(\d+)/\?\$rid=([^&]*)(?:&retry-after=(\d+))?$`)
	for _, tt := range []struct {
		after   time.Duration
		seconds string
	}{{0, ""}, {3 * time.Second, "3"}, {1100 * time.Millisecond, "2"}, {time.Millisecond, "1"}} {
		topic := ResponseTopic(202, "rid-1", tt.after)
		if m := dotnet.FindStringSubmatch(topic); m == nil || m[1] != "202" || m[2] != "rid-1" || m[3] != tt.seconds {
			t.Errorf("%s is %q for .NET", topic, m)
		}
		if n := strings.Count(topic, "$"); n != 2 {
			t.Errorf("%s has %d dollar signs; Python wants 2", topic, n)
		}
		got, err := ParseResponse(topic)
		want := Response{Status: 202, RequestID: "rid-1", RetryAfter: (tt.after + time.Second - 1).Truncate(time.Second)}
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v; want %+v", topic, got, err, want)
		}
	}
	for _, topic := range []string{"", "$dps/registrations/res/", "$dps/registrations/res/x/?$rid=1", "$dps/registrations/res/2000/?$rid=1", "$dps/registrations/res/200"} {
		if got, err := ParseResponse(topic); !errors.Is(err, ErrTopic) {
			t.Errorf("%s is %+v, %v; want ErrTopic", topic, got, err)
		}
	}
}

// However long the service asks devices to wait, the time is one that can be added to others; one that is none is none.
func TestRetryAfterBounds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"3": 3 * time.Second, "0": 0, "-5": 0, "soon": 0, "": 0, "1000000000": mostRetryAfter, "9000000000": mostRetryAfter, "18446744074": mostRetryAfter,
		"99999999999999999999": mostRetryAfter, "-99999999999999999999": 0,
	} {
		r, err := ParseResponse("$dps/registrations/res/429/?$rid=1&retry-after=" + text)
		if err != nil || r.RetryAfter != want {
			t.Errorf("%q is %v, %v; want %v", text, r.RetryAfter, err, want)
		}
	}
}

// The bodies of section "register" of each SDK, and those that the service refuses.
func TestRegisterBodies(t *testing.T) {
	for body, want := range map[string]RegisterRequest{
		"":                                      {},
		" ":                                     {},
		"{}":                                    {},
		`{"registrationId":"r"}`:                {RegistrationID: "r"},
		`{"payload":null,"registrationId":"r"}`: {RegistrationID: "r", Payload: []byte("null")},
		`{"registrationId":"r","payload":"{\"a\":1}"}`: {RegistrationID: "r", Payload: []byte(`"{\"a\":1}"`)},
		`{"payload":{"modelId":"dtmi:a;1"}}`:           {Payload: []byte(`{"modelId":"dtmi:a;1"}`)},
		`{"csr":"MII="}`:                               {CSR: "MII="},
	} {
		got, err := ParseRegister([]byte(body))
		if err != nil || got.RegistrationID != want.RegistrationID || string(got.Payload) != string(want.Payload) || got.CSR != want.CSR {
			t.Errorf("%q is %+v, %v; want %+v", body, got, err, want)
		}
	}
	for _, body := range []string{`{"registrationId":"d","modelId":"dtmi:x"}`, `{`, `[]`, `"r"`, `{"registrationId":1}`, `{} {}`, `{}x`} {
		if got, err := ParseRegister([]byte(body)); !errors.Is(err, ErrDeserialization) {
			t.Errorf("%q is %+v, %v; want ErrDeserialization", body, got, err)
		}
	}
}
