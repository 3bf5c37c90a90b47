package endpoint

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAuth(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "u:p\n": "Basic dTpw", "u:p:q r": "Basic dTpwOnEgcg==", "Bearer abc": "Bearer abc", "bearer  abc ": "Bearer abc",
	} {
		if a, err := ParseAuth(in); err != nil || a.header != want {
			t.Errorf("%q = %q, %v; want %q", in, a.header, err, want)
		}
	}
	for _, in := range []string{"token-alone", ":p", "Bearer ", "Bearer a b", "u:p\nu:p"} {
		if a, err := ParseAuth(in); !errors.Is(err, ErrAuth) || a != (Auth{}) || strings.Contains(err.Error(), "token-alone") {
			t.Errorf("%q = %v, %v; want %v", in, a.header, err, ErrAuth)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", auth(t, "u:p"), Endpoint{Auth: auth(t, "u:p")}, Endpoint{Auth: auth(t, "u:p")}); strings.Contains(text, "dTpw") {
		t.Errorf("a secret prints: %s", text)
	}
	file := filepath.Join(t.TempDir(), "secret")
	for text, want := range map[string]string{"Bearer abc\n": "", "\n": "write user:password", "nonsense": "write user:password"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadAuth(file); (want == "") != (err == nil) ||
			(err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "nonsense"))) {
			t.Errorf("a file with %q: %v; want %q", text, err, want)
		}
	}
	if _, err := ReadAuth(file + "-not-there"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func auth(t *testing.T, text string) Auth {
	t.Helper()
	a, err := ParseAuth(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A receiver that answers without end costs no memory.
func TestAnswersAreBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	client := Endpoint{URL: server.URL}.Client()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil || n != 64<<10 {
		t.Errorf("%d bytes were read, %v", n, err)
	}
}
