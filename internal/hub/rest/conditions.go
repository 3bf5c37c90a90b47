package rest

import (
	"bytes"
	"io"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/apiversion"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
)

// checked refuses a write of a twin whose condition no twin can meet, and one that holds arrays in a version of the
// protocol that has none.
func checked(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if reply.MatchesNothing(r) {
			return iothub.ErrPreconditionFailed.With("Etag mismatch: the request has an empty etag")
		}
		if !apiversion.Of(r.URL.Query()).AllowsArrays() {
			if err := noArrays(r); err != nil {
				return err
			}
		}
		return h(w, r)
	}
}

// noArrays looks for arrays in the tags and properties of a body, which can be read again afterwards. What is no
// JSON is left to the handler.
func noArrays(r *http.Request) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	doc, err := jsonparse.Parse(b)
	if err == nil && (doc.Get("tags").HasArray() || doc.Get("properties").HasArray()) {
		return iothub.ErrArgumentInvalid.With("Provided json is not a valid 'tags' or 'properties' object: arrays are not supported.")
	}
	return nil
}
