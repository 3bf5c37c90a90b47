package hub

import (
	"net/http"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/traffic"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// tell shows an event of a device to those who look at the live traffic. err becomes the event's status; what is done is 200.
func (h *Hub) tell(kind traffic.Kind, id, text string, body []byte, err error) {
	if !h.tap.On() {
		return
	}
	e := traffic.Event{Kind: kind, ID: id, Text: text, Status: http.StatusOK}
	if err != nil {
		own := iothub.AsError(err)
		e.Status, e.Text = own.Status, strings.TrimSpace(text+" "+own.Message)
	}
	h.tap.Publish(e, body)
}

// tapped shows the requests that a handler answers to those who look at the live traffic: method, path and status. Bodies and headers
// may hold keys and are not shown.
func (h *Hub) tapped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.tap.On() || upgrades(r) {
			next.ServeHTTP(w, r)
			return
		}
		begun := time.Now()
		seen := &watched{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		h.tap.Publish(traffic.Event{
			Kind: traffic.Request, ID: deviceOf(r.URL.Path), Text: r.Method + " " + r.URL.Path, Size: int(max(0, r.ContentLength)), Status: seen.status,
			Took: time.Since(begun),
		}, nil)
	})
}

// deviceOf is the key of the device or module of which a path of the service side speaks; empty for none.
func deviceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 2 || parts[0] != "devices" && parts[0] != "twins" || len(parts) == 2 && parts[1] == "query" {
		return ""
	}
	if len(parts) >= 4 && parts[2] == "modules" {
		return parts[1] + "/" + parts[3]
	}
	return parts[1]
}

// watched notes the status of an answer.
type watched struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is the writer below, for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Watched reports whether somebody looks at the live traffic now.
func (h *Hub) Watched() bool { return h.tap.On() }

// upgrades reports whether a request asks for a WebSocket, whose connection outlives it.
func upgrades(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }
