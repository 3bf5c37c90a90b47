// Package reply is how the service side of a hub reads requests and writes answers over HTTP.
package reply

import (
	"crypto/rand"
	"encoding/hex"
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
)

// maxBody bounds the body of a request, in bytes; a bulk call of 100 full twins is below it.
const maxBody = 4 << 20

// Bound lets no more of a request's body be read than a hub takes.
func Bound(w http.ResponseWriter, r *http.Request) { r.Body = http.MaxBytesReader(w, r.Body, maxBody) }

// Error answers with an error, in the encoding that clients of the endpoint expect. What is no error of the
// service is logged and answered as one of the server.
func Error(w http.ResponseWriter, r *http.Request, err error, form errorbody.Form, log *slog.Logger) {
	var large *http.MaxBytesError
	var known *iothub.Error
	switch {
	case errors.As(err, &large):
		known = iothub.ErrMessageTooLarge.With("the request is larger than %d bytes", maxBody)
	case !errors.As(err, &known):
		log.Error("request failed", "method", r.Method, "error", err)
		known = iothub.ErrServer
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("iothub-errorcode", known.Name)
	w.WriteHeader(known.Status)
	_, _ = w.Write(errorbody.Of(known, form, trackingID(), time.Now()))
}

func trackingID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its own documentation
	return hex.EncodeToString(b[:])
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

// IfMatch is the condition of a request without quotes and weakness mark; "" for none.
func IfMatch(r *http.Request) string {
	etag := strings.TrimPrefix(strings.TrimSpace(r.Header.Get("If-Match")), "W/")
	return strings.Trim(etag, `"`)
}
