package device

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

const (
	// maxBody bounds the body of a request that sends messages: base64 and the JSON around it are more than what they hold.
	maxBody = 1 << 20
	// maxDocument bounds the body of a request about an upload.
	maxDocument = 64 << 10
)

// body reads the body of a request whole, of at most so many bytes, so that no operation finds it broken. Afterwards r.Body reads it from
// memory. Errors: iothub.ErrMessageTooLarge, iothub.ErrDeserialization.
func body(w http.ResponseWriter, r *http.Request, most int64) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength > most {
		w.Header().Set("Connection", "close") // nobody is to send the rest
		return devices.TooLarge(r.ContentLength)
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return devices.TooLarge(most + 1)
	}
	if err != nil {
		w.Header().Set("Connection", "close") // where the next request begins is not known
		return iothub.ErrDeserialization.With("the body is broken, or did not come in time")
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}
