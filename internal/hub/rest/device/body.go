package device

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

const (
	// maxMessage is the most bytes of a message, or of all of a batch, with their properties (iot-hub-devguide-quotas-throttling).
	maxMessage = 256 << 10
	// maxBody bounds the body of a request that sends messages: base64 and the JSON around it are more than what they hold.
	maxBody = 1 << 20
	// maxDocument bounds the body of a request about an upload.
	maxDocument = 64 << 10
)

// tooLarge is the error for messages of so many bytes, or of more.
func tooLarge(size int64) error {
	return iothub.ErrMessageTooLarge.With("Message size is %d bytes which is greater than the max size %d bytes allowed.", size, maxMessage)
}

// body reads the body of a request whole, of at most so many bytes, so that no operation finds it broken. Afterwards r.Body reads it from
// memory. Errors: iothub.ErrMessageTooLarge, iothub.ErrDeserialization.
func body(w http.ResponseWriter, r *http.Request, most int64) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength > most {
		w.Header().Set("Connection", "close") // nobody is to send the rest
		return tooLarge(r.ContentLength)
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return tooLarge(most + 1)
	}
	if err != nil {
		w.Header().Set("Connection", "close") // where the next request begins is not known
		return iothub.ErrDeserialization.With("the body is broken, or did not come in time")
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}
