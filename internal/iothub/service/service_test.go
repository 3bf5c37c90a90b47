package service

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI="

// client speaks to a handler over real HTTP, if there is one.
func client(t *testing.T, o Options, h http.HandlerFunc) *Client {
	t.Helper()
	o.BaseURL = "http://nowhere"
	if h != nil {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		o.BaseURL = s.URL
	}
	var err error
	o.ConnectionString, err = connstring.ParseService("HostName=hub.local:1;SharedAccessKeyName=owner;SharedAccessKey=" + secret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func fail(w http.ResponseWriter, e *iothub.Error) {
	w.Header().Set("iothub-errorcode", e.Name)
	w.WriteHeader(e.Status)
	_, _ = w.Write(errorbody.REST(e, "t", time.Now()))
}

func TestRequestsAreSigned(t *testing.T) {
	c := client(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		s, err := sas.Parse(r.Header.Get("Authorization"))
		key, _ := sas.ParseKey(secret)
		if err != nil || s.Policy != "owner" || s.Verify(time.Now(), key) != nil || !s.Covers("hub.local/devices/x") {
			t.Errorf("token = %v, %v", s, err)
		}
		if r.URL.Query().Get("api-version") == "" || r.URL.Path != "/devices/a b" || r.URL.RawPath != "" && !strings.Contains(r.URL.RawPath, "%20") {
			t.Errorf("URL = %s", r.URL)
		}
		_, _ = w.Write([]byte(`{"deviceId":"a b"}`))
	})
	d, err := c.Device(t.Context(), "a b")
	if err != nil || d.DeviceID != "a b" {
		t.Errorf("%+v, %v", d, err)
	}
}

// A page may be empty and still not be the last: only the header tells.
func TestQueryFollowsTheContinuation(t *testing.T) {
	pages := map[string]struct{ body, next string }{"": {`[1,2]`, "a"}, "a": {`[]`, "b"}, "b": {`[3]`, ""}}
	c := client(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		var in paging.Request
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Query != "SELECT * FROM devices" || r.Header.Get(paging.HeaderMaxItemCount) != "2" {
			t.Errorf("request %+v, %v, %v", in, err, r.Header)
		}
		page := pages[r.Header.Get(paging.HeaderContinuation)]
		if page.next != "" {
			w.Header().Set(paging.HeaderContinuation, page.next)
		}
		w.Header().Set(paging.HeaderItemType, "Raw")
		_, _ = w.Write([]byte(page.body))
	})
	var got []string
	for p := c.Query("SELECT * FROM devices", 2); p.More(); {
		page, err := p.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page.Items {
			got = append(got, string(it))
		}
	}
	if strings.Join(got, "") != "123" {
		t.Errorf("items = %v; want 1 2 3", got)
	}
}

func TestConditionsAreQuoted(t *testing.T) {
	for etag, want := range map[string]string{"": "", "*": `"*"`, "AAA=": `"AAA="`, `"AAA="`: `"AAA="`} {
		c := client(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("If-Match"); got != want {
				t.Errorf("If-Match for %q = %s; want %s", etag, got, want)
			}
			_, _ = w.Write([]byte(`{}`))
		})
		if _, err := c.PatchTwin(t.Context(), "d", []byte(`{}`), etag); err != nil {
			t.Error(err)
		}
	}
}

func TestThrottledRequestsAreSentAgain(t *testing.T) {
	for _, tt := range []struct {
		name     string
		failures int
		retries  int
		e        *iothub.Error
		want     error
		calls    int32
	}{
		{"throttled and then served", 2, 5, iothub.ErrThrottled, nil, 3},
		{"busy and then served", 1, 5, iothub.ErrServerBusy, nil, 2},
		{"throttled for ever", 99, 2, iothub.ErrThrottleBacklogWait, iothub.ErrThrottleBacklogWait, 3},
		{"without retries", 99, 0, iothub.ErrThrottled, iothub.ErrThrottled, 1},
		{"not found is final", 99, 5, iothub.ErrDeviceNotFound, iothub.ErrDeviceNotFound, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int32
			c := client(t, Options{Retries: tt.retries, RetryWait: time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
				if int(calls.Add(1)) <= tt.failures {
					fail(w, tt.e)
					return
				}
				_, _ = w.Write([]byte(`{}`))
			})
			if _, err := c.Device(t.Context(), "d"); !errors.Is(err, tt.want) {
				t.Errorf("err = %v; want %v", err, tt.want)
			}
			if calls.Load() != tt.calls {
				t.Errorf("%d calls; want %d", calls.Load(), tt.calls)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want time.Duration
		ok   bool
	}{
		{&iothub.Error{Status: 429, RetryAfter: 7 * time.Second}, 7 * time.Second, true},
		{&iothub.Error{Status: 503}, time.Second, true},
		{&iothub.Error{Status: 500}, 0, false},
		{errors.New("refused"), 0, false},
	} {
		if got, ok := retryAfter(tt.err, time.Second); got != tt.want || ok != tt.ok {
			t.Errorf("retryAfter(%v) = %v, %v; want %v, %v", tt.err, got, ok, tt.want, tt.ok)
		}
	}
	synctest.Test(t, func(t *testing.T) { // a busy machine has no answer within any time
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := client(t, Options{Retries: 5, Dial: func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
					return
				}
				w := httptest.NewRecorder()
				w.Header().Set("Retry-After", "3600")
				fail(w, iothub.ErrThrottled)
				_ = w.Result().Write(far)
			}()
			return near, nil
		}}, nil)
		if _, err := c.Device(ctx, "d"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, iothub.ErrThrottled) {
			t.Errorf("err = %v; want the deadline, and that it was throttled", err)
		}
	})
}

// A bulk call of which some entries failed is answered 400 with the result.
func TestBulkFailuresAreTheResult(t *testing.T) {
	c := client(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"isSuccessful":false,"errors":[{"deviceId":"d","errorCode":409001,"errorStatus":"Conflict"}],"warnings":[]}`))
	})
	r, err := c.Bulk(t.Context(), []registry.BulkEntry{{ID: "d"}})
	if err != nil || r.IsSuccessful || len(r.Errors) != 1 || r.Errors[0].ErrorCode != 409001 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	c := client(t, Options{}, func(w http.ResponseWriter, _ *http.Request) { fail(w, iothub.ErrUnauthorizedAccess) })
	_, err := c.Statistics(t.Context())
	if !errors.Is(err, iothub.ErrUnauthorizedAccess) {
		t.Errorf("err = %v", err)
	}
	gone := client(t, Options{}, func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	_, err2 := gone.Statistics(t.Context())
	for _, e := range []error{err, err2} {
		if e == nil || strings.Contains(e.Error(), secret) || strings.Contains(e.Error(), "sig=") {
			t.Errorf("err = %v", e)
		}
	}
}

// A target that answers without end, or with more text than anybody reads, costs no more than what is of use.
func TestAnswersAreBounded(t *testing.T) {
	const text = 60 << 20
	var failing atomic.Bool
	c := client(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if !failing.Load() {
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range maxAnswer/len(chunk) + 2 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
			return
		}
		body, code := `{"Message":"ErrorCode:`+strings.Repeat("N", 5000)+`;`+strings.Repeat("ä", 5000)+`"}`, http.StatusInternalServerError
		switch r.URL.Path {
		case "/twins/endless":
			body = `{"Message":"` + strings.Repeat("x", text)
		case "/devices":
			body, code = `{"isSuccessful":false,"errors":[{"deviceId":"d","errorCode":400004,"errorStatus":"`+strings.Repeat("y", 50_000)+`"}]}`, http.StatusBadRequest
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	})
	if _, err := c.Twin(t.Context(), "d"); !errors.Is(err, errTooLarge) {
		t.Errorf("an answer without end: %v", err)
	}
	failing.Store(true)
	for _, id := range []string{"d", "endless"} {
		_, err := c.Twin(t.Context(), id)
		var failed *iothub.Error
		if !errors.As(err, &failed) || failed.Status != http.StatusInternalServerError || len(err.Error()) > 2500 {
			t.Errorf("%s: an error of %d bytes: %.100v", id, len(err.Error()), err)
		}
	}
	result, err := c.Bulk(t.Context(), []registry.BulkEntry{{ID: "d"}})
	if err != nil || len(result.Errors) != 1 || len(result.Errors[0].ErrorStatus) > 2500 || !strings.HasPrefix(result.Errors[0].ErrorStatus, "yyy") {
		t.Errorf("a bulk call: %d errors, %v", len(result.Errors), err)
	}
}

// A device's answer that is no JSON reaches its caller as such, and is counted by that name.
func TestMethodAnswersThatAreNoJSON(t *testing.T) {
	body := `{"status":200,"payload":rebooting now}`
	c := client(t, Options{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
	_, err := c.InvokeMethod(t.Context(), "dev-1", methods.Request{Name: "reboot"})
	if !errors.Is(err, ErrMethodAnswer) || reason.Of(err) != "the device's answer to the method is no JSON" || strings.Contains(reason.Of(err), "rebooting") {
		t.Errorf("%v, for the reason %q", err, reason.Of(err))
	}
	if _, err := c.Twin(t.Context(), "dev-1"); errors.Is(err, ErrMethodAnswer) || err == nil {
		t.Errorf("a twin that is no JSON: %v", err)
	}
	body = `{"status":200,"payload":null}`
	if answer, err := c.InvokeMethod(t.Context(), "dev-1", methods.Request{Name: "reboot"}); err != nil || answer.Status != 200 {
		t.Errorf("%+v, %v", answer, err)
	}
}
