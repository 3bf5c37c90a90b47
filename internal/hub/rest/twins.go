package rest

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/apiversion"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

func (s *Server) getTwin(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassTwinRead, 1); err != nil {
		return err
	}
	t, err := s.opts.Twins.Twin(key(r))
	if err != nil {
		return err
	}
	body := asOf(apiversion.Of(r.URL.Query()), t.AppendJSON(nil))
	s.meter(len(body))
	return reply.Bytes(w, http.StatusOK, body)
}

func (s *Server) patchTwin(w http.ResponseWriter, r *http.Request) error {
	return s.writeTwin(w, r, s.opts.Twins.PatchTwin)
}

func (s *Server) putTwin(w http.ResponseWriter, r *http.Request) error {
	return s.writeTwin(w, r, s.opts.Twins.ReplaceTwin)
}

type twinWrite func(ctx context.Context, id string, tags, desired jsonvalue.Value, ifMatch string) (*twin.Twin, error)

// writeTwin takes tags and desired properties; all else in the body is the service's own and passed over.
func (s *Server) writeTwin(w http.ResponseWriter, r *http.Request, write twinWrite) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	doc, err := s.opts.Twins.ParseValue(body)
	if err != nil {
		return iothub.ErrArgumentInvalid.With("Provided json is not valid: %v", err)
	}
	if doc.Kind() != jsonvalue.Object {
		return iothub.ErrArgumentInvalid.With("Provided json is not a valid twin: it is no object")
	}
	if err := s.admit(r, tier.ClassTwinUpdate, 1); err != nil {
		return err
	}
	t, err := write(r.Context(), key(r), doc.Get("tags"), doc.Path("properties", "desired"), reply.IfMatch(r))
	if err != nil {
		return err
	}
	s.meter(len(body))
	return reply.Bytes(w, http.StatusOK, asOf(apiversion.Of(r.URL.Query()), t.AppendJSON(nil)))
}

// asOf makes of a twin's document that of an api-version.
func asOf(version apiversion.Version, doc []byte) []byte {
	if version.HasModelID() {
		return doc
	}
	const none = `,"modelId":""`
	if i := bytes.Index(doc, []byte(none)); i >= 0 && i < bytes.Index(doc, []byte(`"properties"`)) {
		return append(doc[:i:i], doc[i+len(none):]...)
	}
	return doc
}
