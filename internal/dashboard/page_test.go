package dashboard

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// A page without buttons is made anew each time, and answers nobody by another name than its address.
func TestPage(t *testing.T) {
	n := 0
	p := &Page{
		HTML: func(w io.Writer) error { n++; _, err := io.WriteString(w, strings.Repeat("x", n)); return err },
		JSON: func(w io.Writer) error { _, err := io.WriteString(w, "{}"); return err },
	}
	url, err := p.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, host string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, x := range []struct {
		path, host string
		code       int
		body       string
	}{{"", "", 200, "x"}, {"", "", 200, "xx"}, {"answer.json", "", 200, "{}"}, {"do/stop", "", 404, "404 page not found\n"}, {"", "evil.example", 403, "open the page by its address\n"}} {
		if code, body := get(x.path, x.host); code != x.code || body != x.body {
			t.Errorf("/%s as %q: %d %q; want %d %q", x.path, x.host, code, body, x.code, x.body)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := (&Page{}).Close(); err != nil {
		t.Error("closing one that never began:", err)
	}
}

// A page that other machines can reach says so; one on loopback has nothing to say.
func TestExposedPage(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:0": false, "0.0.0.0:0": true} {
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		p := &Page{Logger: log}
		s := New(Options{Logger: log})
		for name, server := range map[string]interface {
			Start(ctx context.Context, addr string) (string, error)
			Close() error
		}{"page": p, "server": s} {
			said.Reset()
			if _, err := server.Start(t.Context(), addr); err != nil {
				t.Fatal(err)
			}
			if err := server.Close(); err != nil {
				t.Error(err)
			}
			if got := strings.Contains(said.String(), "other machines can read the live page"); got != want {
				t.Errorf("%s at %s: %q", name, addr, &said)
			}
		}
	}
}
