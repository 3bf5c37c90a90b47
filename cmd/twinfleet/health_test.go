package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Only who says that it is up is: not whatever else answers at the address.
func TestHealthWantsTheAnswer(t *testing.T) {
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("asks for %s", r.URL)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "ok\n")
	}))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "", "[::]"} {
		out := &strings.Builder{}
		if err := askHealth(t.Context(), env{stdout: out}, host+":"+port); err != nil || out.String() != "ok\n" {
			t.Errorf("%s: %v, %q", host, err, out)
		}
	}
	status = http.StatusServiceUnavailable
	if err := askHealth(t.Context(), env{stdout: io.Discard}, s.Listener.Addr().String()); codeOf(err) != codeFailed || !strings.Contains(err.Error(), "503") {
		t.Errorf("an answer 503: %v", err)
	}
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:0", "bad host:1"} {
		if err := askHealth(t.Context(), env{stdout: io.Discard}, addr); codeOf(err) != codeUsage {
			t.Errorf("%q: exit code %d; want that of wrong usage", addr, codeOf(err))
		}
	}
}
