package device

import (
	"errors"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
)

const (
	// maxBody bounds the body of a request that sends messages: base64 and the JSON around it are more than what they hold.
	maxBody = 1 << 20
	// maxDocument bounds the body of a request about an upload.
	maxDocument = 64 << 10
)

// body reads the body of a request as reply.Body does. Errors: iothub.ErrMessageTooLarge, iothub.ErrDeserialization.
func body(w http.ResponseWriter, r *http.Request, most int64) error {
	if r.ContentLength > most {
		w.Header().Set("Connection", "close") // nobody is to send the rest
		return devices.TooLarge(r.ContentLength)
	}
	err := reply.Body(w, r, most)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return devices.TooLarge(most + 1)
	}
	return err
}
