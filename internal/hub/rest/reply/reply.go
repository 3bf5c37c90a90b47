// Package reply is how the service side of a hub reads requests and writes answers over HTTP.
package reply

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// MaxBody bounds the body of a request of a service, in bytes; a bulk call of 100 full twins is below it.
const MaxBody = 4 << 20

// Begin writes the headers that each answer of the service has (recorded from the service), and gives the
// request its id, a GUID.
func Begin(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Server", "Microsoft-HTTPAPI/2.0")
	h.Set("Vary", "Origin")
	h.Set(headerRequestID, uuid.New().String())
}

const headerRequestID = "x-ms-request-id"

// trackingID is the id of an answer as its error's text has it: the request's, without dashes.
func trackingID(w http.ResponseWriter) string {
	return strings.ReplaceAll(w.Header().Get(headerRequestID), "-", "")
}

// Body reads a request's body whole, of at most so many bytes, so that no handler finds it broken. Afterwards r.Body reads it from
// memory. Errors: *http.MaxBytesError, iothub.ErrDeserialization.
func Body(w http.ResponseWriter, r *http.Request, most int64) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return err
	}
	if err != nil {
		w.Header().Set("Connection", "close") // where the next request begins is not known
		return iothub.ErrDeserialization.With("the body is broken, or did not come in time")
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}

// Error answers with an error, in the encoding that clients of the endpoint expect. What is no error of the
// service is logged and answered as one of the server.
func Error(w http.ResponseWriter, r *http.Request, err error, form errorbody.Form, log *slog.Logger) {
	var large *http.MaxBytesError
	var known *iothub.Error
	switch {
	case errors.As(err, &large):
		known = iothub.ErrMessageTooLarge.With("the request is larger than %d bytes", large.Limit)
	case !errors.As(err, &known):
		log.Error("request failed", "method", r.Method, "error", err)
		known = iothub.ErrServer
	}
	w.Header().Set("iothub-errorcode", known.Name)
	_ = Bytes(w, known.Status, errorbody.Of(known, form, trackingID(w), time.Now())) // never an error
}

// Decode reads a request's JSON body.
func Decode(r *http.Request, into any) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return iothub.ErrDeserialization.With("the body is not the JSON that is expected: %v", err)
	}
	return nil
}

// JSON answers 200 with a document.
func JSON(w http.ResponseWriter, body any) error { return Status(w, http.StatusOK, body) }

// Status answers a status with a document.
func Status(w http.ResponseWriter, status int, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return Bytes(w, status, b)
}

// Size is how many bytes all pieces have.
func Size(pieces [][]byte) (n int) {
	for _, b := range pieces {
		n += len(b)
	}
	return n
}

// Bytes answers a status with JSON text, which may come in pieces.
func Bytes(w http.ResponseWriter, status int, pieces ...[]byte) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(Size(pieces)))
	w.WriteHeader(status)
	for _, b := range pieces {
		if _, err := w.Write(b); err != nil {
			break // the client is gone; there is nobody to tell
		}
	}
	return nil
}

// IfMatch is the condition of a request without quotes and weakness mark; "" for none. A quoted empty tag is
// none too: clients create with it (recorded from the service).
func IfMatch(r *http.Request) string {
	etag := strings.TrimPrefix(strings.TrimSpace(r.Header.Get("If-Match")), "W/")
	return strings.Trim(etag, `"`)
}

// MatchesNothing reports whether a request has the condition of a quoted empty tag, which no document has.
func MatchesNothing(r *http.Request) bool {
	return IfMatch(r) == "" && strings.TrimSpace(r.Header.Get("If-Match")) != ""
}
