package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub/pointing"
	"github.com/twinfleet/twinfleet/internal/hub/traffic"
)

// still is a hub of which nothing but its numbers is asked.
type still struct{ Hub }

func (still) Numbers() Numbers { return Numbers{Host: "localhost"} }
func (still) Switch(Fault)     {}
func (still) Pointing() pointing.Options {
	return pointing.Options{Host: "localhost", OwnerKey: "c2VjcmV0"}
}

func get(s *Server, from, host, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr, r.Host = from, host
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// A name that somebody else points at this machine is not answered; with --allow-remote any name is, and who is elsewhere needs the token
// also to look.
func TestWhoMayLook(t *testing.T) {
	tap := new(traffic.Tap)
	here := New(Options{Hub: still{}, Tap: tap, Host: "hub.example.net"})
	remote := New(Options{Hub: still{}, Tap: tap, Host: "hub.example.net", Remote: true})
	bearer := "Bearer " + remote.Token()
	const loopback, elsewhere = "127.0.0.1:5000", "192.0.2.7:5000"
	for _, tt := range []struct {
		s          *Server
		from, host string
		token      string
		want       int
	}{
		{here, loopback, "localhost:8883", "", 200},
		{here, loopback, "LOCALHOST:8883", "", 200},
		{here, loopback, "127.0.0.1:8883", "", 200},
		{here, loopback, "[::1]:8883", "", 200},
		{here, loopback, "hub.example.net", "", 200},
		{here, loopback, "evil.example.net:8883", "", 403},
		{here, loopback, "localhost.evil.example", "", 403},
		{here, loopback, "192.0.2.1:8883", "", 403},
		{here, loopback, "", "", 403},
		{remote, loopback, "any.example.net", "", 200},
		{remote, elsewhere, "any.example.net", "", 401},
		{remote, elsewhere, "any.example.net", "Bearer " + here.Token(), 401},
		{remote, elsewhere, "any.example.net", bearer, 200},
	} {
		if got := get(tt.s, tt.from, tt.host, "/page/api/numbers", "Authorization", tt.token).Code; got != tt.want {
			t.Errorf("%s asks %q with %.10q: %d; want %d", tt.from, tt.host, tt.token, got, tt.want)
		}
	}
	if got := get(remote, elsewhere, "any", "/").Code; got != 200 {
		t.Errorf("the empty page, in which the token is entered, answers %d", got)
	}
	if here.Token() == remote.Token() || len(here.Token()) < 32 {
		t.Error("tokens are alike, or short")
	}
}

// A page of another site can neither read nor act, even in a browser that has the token.
func TestOtherSites(t *testing.T) {
	s := New(Options{Hub: still{}, Tap: new(traffic.Tap)})
	token := "Bearer " + s.Token()
	for _, tt := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"its own", []string{header, "1", "Origin", "http://localhost:8883", "Sec-Fetch-Site", "same-origin"}, 204},
		{"no browser", []string{header, "1"}, 204},
		{"without the header", nil, 403},
		{"another origin", []string{header, "1", "Origin", "https://evil.example"}, 403},
		{"another port", []string{header, "1", "Origin", "http://localhost:3000"}, 403},
		{"no origin to speak of", []string{header, "1", "Origin", "null"}, 403},
		{"another site", []string{header, "1", "Sec-Fetch-Site", "cross-site"}, 403},
	} {
		r := httptest.NewRequest(http.MethodPost, "/page/api/fault", strings.NewReader(`{"kind":"stall","seconds":1}`))
		r.Host = "localhost:8883"
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Authorization", token)
		for i := 0; i < len(tt.headers); i += 2 {
			r.Header.Set(tt.headers[i], tt.headers[i+1])
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d; want %d", tt.name, w.Code, tt.want)
		}
	}
	if got := get(s, "127.0.0.1:1", "localhost", "/page/api/numbers", "Sec-Fetch-Site", "cross-site").Code; got != 403 {
		t.Errorf("another site reads the numbers: %d", got)
	}
}

// What the page carries is its own, and nothing that it shows can become a script.
func TestFiles(t *testing.T) {
	s := New(Options{Hub: still{}, Tap: new(traffic.Tap)})
	for path, kind := range map[string]string{
		"/": "text/html", "/page/hub.js": "javascript", "/page/lib.js": "javascript", "/page/hub.css": "text/css", "/page/report.css": "text/css",
	} {
		w := get(s, "127.0.0.1:1", "localhost", path)
		if w.Code != 200 || !strings.Contains(w.Header().Get("Content-Type"), kind) || w.Body.Len() == 0 {
			t.Errorf("%s: %d, %s, %d bytes", path, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy lacks %s", path, part)
			}
		}
		if strings.Contains(policy, "unsafe") || w.Header().Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %s, referrer %s", path, policy, w.Header().Get("Referrer-Policy"))
		}
	}
	if got := get(s, "127.0.0.1:1", "localhost", "/page/none.js").Code; got != 404 {
		t.Errorf("a file that is not there: %d", got)
	}
	scripts, err := assets.ReadDir("assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range scripts {
		b, err := assets.ReadFile("assets/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, no := range []string{"innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "http://", "https://", "style=", "onclick="} {
			if strings.Contains(string(b), no) {
				t.Errorf("%s has %s", f.Name(), no)
			}
		}
	}
}

// The page's way to the service side leads to what the page does, and nowhere else.
func TestMayDo(t *testing.T) {
	for call, want := range map[string]bool{
		"GET devices/d": true, "PUT devices/d": true, "DELETE devices/d": true, "PATCH twins/d": true, "PUT twins/d": true, "POST twins/d/methods": true,
		"POST devices/d/messages/deviceBound": true, "PUT devices/d/modules/m": true, "PATCH twins/d/modules/m": true, "POST twins/d/modules/m/methods": true,
		"POST devices/d/modules/m/messages/deviceBound": false,
		"GET devices": false, "POST devices": false, "POST devices/query": false, "PUT jobs/v2/j": false, "GET twins/d": false, "DELETE twins/d": false, "": false,
		"GET devices/d/modules": false, "DELETE devices/d/commands": false, "GET statistics/devices": false, "PUT devices/d/x": false, "POST twins": false,
	} {
		method, path, _ := strings.Cut(call, " ")
		if got := mayDo(method, path); got != want {
			t.Errorf("%q: %t", call, got)
		}
	}
}

func TestFaultsAreChecked(t *testing.T) {
	s := New(Options{Hub: still{}, Tap: new(traffic.Tap)})
	for body, want := range map[string]int{
		`{"kind":"drop","share":0.5}`: 204, `{"kind":"drop","share":1.5}`: 400, `{"kind":"drop","share":-1}`: 400, `{"kind":"stall","seconds":0}`: 204,
		`{"kind":"stall","seconds":-1}`: 400, `{"kind":"refuse","seconds":1e9}`: 400, `{"kind":"slow","servers":1}`: 400, `{"kind":"slow"}`: 204,
		`{"kind":"slow","servers":-1,"time":1}`: 400, `{"kind":"slow","servers":2,"time":5}`: 204, `{"kind":"melt"}`: 400, `{"kind":"dps"}`: 204,
		`{"kind":"dps","dps":{"throttle":0.5,"slow":3}}`: 204, `{"kind":"dps","dps":{"fail":1.5}}`: 400, `{"kind":"dps","dps":{"slow":-1}}`: 400, `{`: 400, ``: 400,
	} {
		r := httptest.NewRequest(http.MethodPost, "/page/api/fault", strings.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Authorization", "Bearer "+s.Token())
		r.Header.Set(header, "1")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d; want %d", body, w.Code, want)
		}
	}
}
