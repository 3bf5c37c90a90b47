package page

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf16"

	"github.com/twinfleet/twinfleet/internal/hub/pointing"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/query/scan"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Bounds of what one request may ask for.
const (
	mostDevices = 200
	mostRows    = 500
	mostText    = 64 << 10 // bytes of a request's body
	mostTime    = 10 * time.Second
)

// failure is what a request that fails is answered with.
type failure struct {
	Error  string `json:"error"`            // for people
	Code   int    `json:"code,omitempty"`   // the service's error code
	Line   int    `json:"line,omitempty"`   // of a query, from 1
	Column int    `json:"column,omitempty"` // of a query, from 1
	Offset int    `json:"offset,omitempty"` // of a query, in characters of UTF-16, as browsers count
	Hint   string `json:"hint,omitempty"`   // what would be right
}

func fail(w http.ResponseWriter, status int, text string) { answer(w, status, failure{Error: text}) }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who has gone does not miss it
}

// failed answers with an error: the service's own as what they are.
func failed(w http.ResponseWriter, err error) {
	var own *iothub.Error
	switch {
	case errors.As(err, &own):
		answer(w, own.Status, failure{Error: own.Message, Code: own.Code})
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, http.StatusGatewayTimeout, "it takes longer than "+mostTime.String()+": ask for less")
	default:
		fail(w, http.StatusInternalServerError, err.Error())
	}
}

// alone runs what may walk over all devices, one at a time and for a bounded time.
func (s *Server) alone(w http.ResponseWriter, r *http.Request, do func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(r.Context(), mostTime)
	defer cancel()
	select {
	case s.heavy <- struct{}{}:
		defer func() { <-s.heavy }()
		do(ctx)
	case <-ctx.Done():
		fail(w, http.StatusServiceUnavailable, "the page is busy with other questions")
	}
}

func (s *Server) numbers(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, struct {
		Numbers
		May bool `json:"may"` // the request has the token
	}{s.opts.Hub.Numbers(), s.allowed(r)})
}

// row is a device in the list.
type row struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	Connected bool   `json:"connected"`
	Active    string `json:"active"` // last activity; empty for never
	C2D       int    `json:"c2d"`    // messages that wait
}

func rowOf(t *twin.Twin) row {
	r := row{ID: t.DeviceID, Status: t.Status, Connected: t.Connected, C2D: t.C2DCount}
	if !t.LastActivity.IsZero() {
		r.Active = timestamp.Of(t.LastActivity).String()
	}
	return r
}

func (s *Server) devices(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	top, err := strconv.Atoi(q.Get("top"))
	if err != nil || top < 1 || top > mostDevices {
		top = mostDevices
	}
	s.alone(w, r, func(context.Context) {
		found := s.opts.Hub.List(q.Get("after"), q.Get("search"), top+1) // one more tells whether a page follows
		rows := make([]row, 0, top)
		for _, t := range found[:min(top, len(found))] {
			rows = append(rows, rowOf(t))
		}
		answer(w, http.StatusOK, map[string]any{"devices": rows, "more": len(found) > top})
	})
}

// states tells of devices by their ids; those that are gone are left out.
func (s *Server) states(w http.ResponseWriter, r *http.Request) {
	ids := r.URL.Query()["id"]
	rows := make([]row, 0, len(ids))
	for _, id := range ids[:min(len(ids), mostDevices)] {
		if t, err := s.opts.Hub.Twin(id); err == nil {
			rows = append(rows, rowOf(t))
		}
	}
	answer(w, http.StatusOK, rows)
}

// device tells all of a device or a module but its keys.
func (s *Server) device(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("id")
	t, err := s.opts.Hub.Twin(key)
	if err != nil {
		failed(w, err)
		return
	}
	modules := []string{}
	if t.ModuleID == "" && r.URL.Query().Get("modules") != "" {
		found, err := s.opts.Hub.Modules(key)
		if err != nil {
			failed(w, err)
			return
		}
		modules = append(modules, found...)
	}
	answer(w, http.StatusOK, map[string]any{"twin": t, "session": s.opts.Hub.Session(key), "modules": modules})
}

func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Query        string `json:"query"`
		Continuation string `json:"continuation"`
		Size         int    `json:"size"`
	}
	if !decode(w, r, &in) {
		return
	}
	if in.Size < 1 || in.Size > mostRows {
		in.Size = 100
	}
	s.alone(w, r, func(ctx context.Context) {
		begun := time.Now()
		page, err := s.opts.Hub.Query(ctx, in.Query, in.Size, in.Continuation)
		var syntax *scan.SyntaxError
		if errors.As(err, &syntax) {
			answer(w, http.StatusBadRequest, failure{
				Error: syntax.Message, Line: syntax.Line, Column: syntax.Column, Hint: syntax.Hint,
				Offset: len(utf16.Encode([]rune(in.Query[:min(syntax.Offset, len(in.Query))]))),
			})
			return
		}
		if err != nil {
			failed(w, err)
			return
		}
		items := make([]json.RawMessage, len(page.Items))
		for i, item := range page.Items {
			items[i] = item
		}
		answer(w, http.StatusOK, map[string]any{
			"items": items, "type": page.ItemType, "continuation": page.Continuation, "ms": float64(time.Since(begun).Microseconds()) / 1000,
		})
	})
}

// decode reads a request's body; when that fails it has answered.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostText))
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "the request cannot be read: "+err.Error())
	}
	return err == nil
}

// lineLife is how long the tokens in lines to paste hold.
const lineLife = 24 * time.Hour

// connect tells how each client is pointed at the hub: with keys and tokens only for who has the token.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	o := s.opts.Hub.Pointing()
	o.DeviceID = r.URL.Query().Get("id")
	if !s.allowed(r) {
		o.OwnerKey = ""
		answer(w, http.StatusOK, map[string]any{"clients": pointing.Clients(o), "ca": o.CA})
		return
	}
	o.ServiceSAS = s.opts.Hub.Sign(nil, lineLife)
	if o.DeviceID != "" {
		i, err := s.opts.Hub.Identity(o.DeviceID)
		if err != nil {
			failed(w, err)
			return
		}
		if key := i.Authentication.SymmetricKey.Primary; !key.IsZero() {
			o.DeviceKey, o.DeviceSAS = key.Base64(), s.opts.Hub.Sign(&i, lineLife)
		}
	}
	answer(w, http.StatusOK, map[string]any{"clients": pointing.Clients(o), "ca": o.CA, "service": pointing.Owner(o)})
}
