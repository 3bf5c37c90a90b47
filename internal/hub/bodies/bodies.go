// Package bodies guards an HTTP server against clients that announce a body and do not send it.
package bodies

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// Guard bounds how long a handler waits for the body of a request, in all; the time that the handler takes for itself does not count. A
// client that is not authorised, to which the handler answers 401 or 403, has the answer at once, and a second until its connection ends: who
// is still sending would else lose the answer with the connection.
func Guard(next http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		b := &body{ReadCloser: r.Body, control: http.NewResponseController(w), left: limit}
		bounded := *r
		bounded.Body = b
		next.ServeHTTP(&answer{ResponseWriter: w, body: b}, &bounded)
		b.rest()
	})
}

// grace is how long an unauthorised client may go on sending.
const grace = time.Second

// body is a request's body.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	left    time.Duration // for waiting
	ended   bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.ended {
		return b.ReadCloser.Read(p)
	}
	began := time.Now()
	if err := b.control.SetReadDeadline(began.Add(b.left)); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= time.Since(began)
	if errors.Is(err, io.EOF) {
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{}) // the server notices from here on when the client goes; if it has, so it did
	}
	return n, err
}

// rest bounds the wait for what the handler did not read, which the server reads to use the connection again.
func (b *body) rest() {
	if !b.ended {
		_ = b.control.SetReadDeadline(time.Now().Add(b.left)) // fails when the connection has ended
	}
}

// answer is the answer to a request with a body.
type answer struct {
	http.ResponseWriter
	body *body
}

// Unwrap is the writer below, for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader writes the status.
func (a *answer) WriteHeader(status int) {
	if (status == http.StatusUnauthorized || status == http.StatusForbidden) && !a.body.ended {
		a.Header().Set("Connection", "close")
		a.body.left = min(a.body.left, grace)
	}
	a.ResponseWriter.WriteHeader(status)
}
