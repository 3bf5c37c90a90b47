package dashboard

import (
	"crypto/subtle"
	"embed"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/httpserve"
	"github.com/twinfleet/twinfleet/report/html"
)

//go:embed assets
var assets embed.FS

// Files are the parts of the page beside itself.
func Files() []string {
	return []string{
		"live.css", "live.js", "parts.js", "tables.js", "dialogs.js", "charts.js", "charts.css", "report.css", "uplot.min.js", "uplot.min.css",
	}
}

// Handler serves the page, its stream and its buttons.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { s.file(w, "live.html") })
	for _, name := range Files() {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) { s.file(w, name) })
	}
	mux.HandleFunc("GET /events", s.stream)
	mux.HandleFunc("GET /report.html", s.report)
	mux.HandleFunc("POST /do/{action}", s.act)
	return secured(mux)
}

// secured lets nothing into the page that is not its own, and answers no page that reached this machine by
// another's name.
func secured(next http.Handler) http.Handler {
	return httpserve.ByAddress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy",
			"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "+
				"frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	}))
}

func (s *Server) file(w http.ResponseWriter, name string) {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		b, err = html.Asset(name)
	}
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	_, _ = w.Write(b) // who has gone does not miss it
}

// report serves the report of the run, once it is over. Its scripts are within it; it reaches nothing of this page.
func (s *Server) report(w http.ResponseWriter, _ *http.Request) {
	page := s.take()
	if page == nil {
		http.Error(w, "the run is not over; its report comes with its end", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Security-Policy",
		"sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if _, err := w.Write(page); err == nil {
		s.took()
	}
}

// How long a page may take to take a message, and how often it hears something even when nothing happens.
const (
	patience  = 10 * time.Second
	heartbeat = 15 * time.Second
)

// stream sends what there is, then what comes, until the page or the run is gone.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	send := func(b []byte) bool {
		if control.SetWriteDeadline(time.Now().Add(patience)) != nil {
			return false
		}
		if _, err := w.Write(b); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if control.SetReadDeadline(time.Time{}) != nil { // the request has been read, and this goes on
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	soFar, next := s.watch()
	defer s.forget(next)
	if !send(soFar) {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case b, ok := <-next:
			if !ok || !send(b) {
				return
			}
		case <-beat.C:
			if !send([]byte(": still here\n\n")) {
				return
			}
		case <-s.done:
			for len(next) > 0 {
				send(<-next)
			}
			return
		case <-r.Context().Done():
			return
		}
	}
}

// act does what a button says, for whoever has the token and comes from this page.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1:
		http.Error(w, "the token is missing or wrong; open the address that the run printed, all of it", http.StatusUnauthorized)
		return
	case !httpserve.SameOrigin(r):
		http.Error(w, "only the page itself may do this", http.StatusForbidden)
		return
	}
	switch action := r.PathValue("action"); action {
	case "pause", "resume":
		s.opts.Controls.Pause(action == "pause") // what came of it the run tells
	case "next":
		s.opts.Controls.Next()
	case "stop":
		s.opts.Controls.Stop()
	case "change":
		if code, err := s.change(w, r); err != nil {
			http.Error(w, err.Error(), code)
			return
		}
	default:
		http.Error(w, "there is no such button", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
