package page

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/traffic"
)

// How long a reader may take to take a message, how often it hears something even when nothing happens, and how much is put into one
// message.
const (
	patience  = 10 * time.Second
	heartbeat = 15 * time.Second
	gather    = 250 * time.Millisecond
)

// event is a traffic.Event as the page takes it.
type event struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`
	ID     string    `json:"id,omitempty"`
	Text   string    `json:"text,omitempty"`
	Body   string    `json:"body,omitempty"`
	Size   int       `json:"size,omitempty"`
	Status int       `json:"status,omitempty"`
	Ms     float64   `json:"ms,omitempty"`
}

// traffic streams what goes through the hub as server-sent events, until the reader goes. It costs the hub nothing once that is so.
func (s *Server) traffic(w http.ResponseWriter, r *http.Request) {
	sub, err := s.opts.Tap.Subscribe(r.URL.Query().Get("id"))
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	defer sub.Close()
	control := http.NewResponseController(w)
	send := func(text string, body []byte) bool {
		if control.SetWriteDeadline(time.Now().Add(patience)) != nil {
			return false
		}
		if _, err := w.Write(append([]byte(text), body...)); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if !send(": looking\n\n", nil) {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-sub.Ready():
			if wait(r, gather) && send("data: ", append(message(sub.Take()), "\n\n"...)) {
				continue
			}
			return
		case <-beat.C:
			if !send(": still here\n\n", nil) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// wait waits, unless the reader goes first.
func wait(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// message is a batch in JSON, in one line.
func message(b traffic.Batch) []byte {
	events := make([]event, len(b.Events))
	for i, e := range b.Events {
		events[i] = event{e.At, e.Kind.String(), e.ID, e.Text, e.Body, e.Size, e.Status, float64(e.Took.Microseconds()) / 1000}
	}
	counts := make(map[string]uint64, len(b.Counts))
	for k, n := range b.Counts {
		counts[k.String()] = n
	}
	out, _ := json.Marshal(map[string]any{"events": events, "counts": counts, "leftOut": b.LeftOut()}) // nothing in it fails to encode
	return out
}
