package page

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// apiVersion is what the page's calls of the service side name.
const apiVersion = "2021-04-12"

// mayDo are the calls of the service side that the page makes, by their first segments.
func mayDo(method, path string) bool {
	parts := strings.Split(path, "/")
	module := len(parts) >= 4 && parts[2] == "modules"
	if module {
		parts = append(parts[:2:2], parts[4:]...)
	}
	switch strings.Join(append([]string{method, parts[0]}, parts[min(2, len(parts)):]...), " ") {
	case "GET devices", "PUT devices", "DELETE devices":
		return len(parts) == 2
	case "PATCH twins", "PUT twins":
		return len(parts) == 2
	case "POST twins methods":
		return len(parts) == 3
	case "POST devices messages deviceBound":
		return len(parts) == 4 && !module
	}
	return false
}

// forward has the hub's service side carry out a call, as the owner. So what the page does is checked, limited and counted as what an
// application does.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) {
	escaped := strings.TrimPrefix(r.URL.EscapedPath(), Prefix+"do")
	u, err := url.Parse(escaped + "?api-version=" + apiVersion)
	if err != nil || !mayDo(r.Method, strings.TrimPrefix(escaped, "/")) {
		fail(w, http.StatusNotFound, "the page does no such thing")
		return
	}
	out := r.Clone(r.Context())
	out.URL, out.RequestURI = u, u.RequestURI()
	out.Header.Set("Authorization", s.opts.Hub.Sign(nil, time.Minute))
	s.opts.REST.ServeHTTP(w, out)
}

// connection tells a device's or a module's connection string.
func (s *Server) connection(w http.ResponseWriter, r *http.Request) {
	i, err := s.opts.Hub.Identity(r.URL.Query().Get("id"))
	if err != nil {
		failed(w, err)
		return
	}
	o := s.opts.Hub.Pointing()
	c := connstring.Device{HostName: o.HostPort(), DeviceID: i.DeviceID, ModuleID: i.ModuleID, Key: i.Authentication.SymmetricKey.Primary}
	if i.Authentication.Type != registry.AuthSAS {
		c.X509 = true
	}
	answer(w, http.StatusOK, map[string]string{"connection": c.Reveal()})
}

// longest is the longest time for which a fault can be switched.
const longest = 24 * time.Hour

func (s *Server) fault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if !decode(w, r, &f) {
		return
	}
	good := false
	switch f.Kind {
	case "stall", "refuse":
		good = f.Seconds >= 0 && f.Seconds <= longest.Seconds()
	case "restart":
		good = f.Seconds >= 0 && f.Seconds <= longest.Seconds()
	case "drop":
		good = f.Share >= 0 && f.Share <= 1
	case "slow":
		good = f.Servers == 0 || f.Servers > 0 && f.Servers <= 1000 && f.Time > 0 && f.Time <= 60_000
	case "dps":
		good = f.DPS.Slow >= 0 && f.DPS.Slow <= longest.Seconds()
		for _, share := range []float64{f.DPS.Throttle, f.DPS.Fail, f.DPS.Disable, f.DPS.Mute, f.DPS.Close} {
			good = good && share >= 0 && share <= 1
		}
	}
	if !good {
		fail(w, http.StatusBadRequest, "stall, refuse and restart take seconds up to a day; drop and dps shares from 0 to 1; slow up to 1,000 servers and a time up to a minute")
		return
	}
	if f.Kind == "restart" {
		// The restart ends this connection too: it is answered first.
		w.WriteHeader(http.StatusNoContent)
		_ = http.NewResponseController(w).Flush()
		s.opts.Hub.Switch(f)
		return
	}
	s.opts.Hub.Switch(f)
	w.WriteHeader(http.StatusNoContent)
}
