package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/method"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

func (s *Server) getTwin(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassTwinRead, 1); err != nil {
		return err
	}
	t, err := s.opts.Twins.Twin(r.PathValue("id"))
	if err != nil {
		return err
	}
	body := t.AppendJSON(nil)
	s.meter(len(body))
	return writeBytes(w, http.StatusOK, body)
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
	t, err := write(r.Context(), r.PathValue("id"), doc.Get("tags"), doc.Path("properties", "desired"), ifMatch(r))
	if err != nil {
		return err
	}
	s.meter(len(body))
	return writeBytes(w, http.StatusOK, t.AppendJSON(nil))
}

func (s *Server) query(w http.ResponseWriter, r *http.Request) error {
	var in paging.Request
	if err := decode(r, &in); err != nil {
		return err
	}
	q, err := query.Parse(in.Query)
	if err != nil {
		return iothub.ErrArgumentInvalid.With("The query is invalid: %v", err)
	}
	size, err := strconv.Atoi(r.Header.Get(paging.HeaderMaxItemCount))
	if err != nil || size < 1 {
		size = defaultPage
	}
	size = min(size, maxPage)
	continuation := r.Header.Get(paging.HeaderContinuation)
	if err := s.admit(r, tier.ClassQuery, 1); err != nil {
		return err
	}
	var page paging.Page
	if q.From == tree.Jobs {
		page, err = s.opts.Jobs.Query(r.Context(), q, size, continuation)
	} else {
		page, err = q.Plan(s.opts.Source).Run(r.Context(), size, continuation)
	}
	if errors.Is(err, paging.ErrContinuation) {
		return iothub.ErrArgumentInvalid.With("%v", err)
	}
	if err != nil {
		return err
	}
	body := joinItems(page.Items)
	s.meter(len(body))
	w.Header().Set(paging.HeaderItemType, page.ItemType)
	if page.Continuation != "" {
		w.Header().Set(paging.HeaderContinuation, page.Continuation)
	}
	return writeBytes(w, http.StatusOK, body)
}

func joinItems(items [][]byte) []byte {
	n := 2 + len(items)
	for _, it := range items {
		n += len(it)
	}
	b := append(make([]byte, 0, n), '[')
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, it...)
	}
	return append(b, ']')
}

func (s *Server) method(w http.ResponseWriter, r *http.Request) error {
	var in methods.Request
	if err := decode(r, &in); err != nil {
		return err
	}
	if err := method.Check(&in); err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	if err := s.admit(r, tier.ClassMethod, len(in.Payload)); err != nil {
		return err
	}
	status, payload, err := method.Call(r.Context(), s.opts.Devices, id, &in)
	// The request counts, and so does the answer, also one that did not come (iot-hub-devguide-pricing).
	s.meter(len(in.Payload))
	s.meter(len(payload))
	if err != nil {
		return err
	}
	if len(payload) == 0 || !json.Valid(payload) {
		payload = []byte("null")
	}
	return writeJSON(w, methods.Response{Status: status, Payload: payload})
}

// appProperty marks the headers that become a message's application properties.
const appProperty = "Iothub-App-"

func (s *Server) sendMessage(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if len(body) > maxC2DBytes {
		return iothub.ErrMessageTooLarge.With("a cloud-to-device message has at most %d bytes", maxC2DBytes)
	}
	if err := s.admit(r, tier.ClassC2D, 1); err != nil {
		return err
	}
	m := c2d.Message{Payload: body}
	for header, name := range map[string]string{"Iothub-Messageid": "$.mid", "Iothub-Correlationid": "$.cid", "Iothub-Userid": "$.uid"} {
		if v := r.Header.Get(header); v != "" {
			m.Properties = append(m.Properties, topics.Property{Name: name, Value: v, HasValue: true})
		}
	}
	for header, values := range r.Header {
		if name, ok := strings.CutPrefix(header, appProperty); ok {
			// net/http spells header names its own way; properties sent over HTTP are in lower case.
			m.Properties = append(m.Properties, topics.Property{Name: strings.ToLower(name), Value: values[0], HasValue: true})
		}
	}
	if expiry := r.Header.Get("Iothub-Expiry"); expiry != "" {
		if m.Expires, err = time.Parse(time.RFC3339, expiry); err != nil {
			return iothub.ErrArgumentInvalid.With("iothub-expiry is not a time such as 2026-01-02T03:04:05Z")
		}
	}
	if err := s.opts.Devices.Send(id, m); err != nil {
		return err
	}
	s.meter(len(body) + m.Properties.Size())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) purge(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"deviceId": id, "moduleId": nil, "totalMessagesPurged": s.opts.Devices.Purge(id)})
}

func (s *Server) createJob(w http.ResponseWriter, r *http.Request) error {
	var in jobs.Job
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.JobID == "" {
		in.JobID = r.PathValue("id")
	}
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	return answerJob(w)(s.opts.Jobs.Create(in))
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request) error {
	return answerJob(w)(s.opts.Jobs.Job(r.PathValue("id")))
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) error {
	return answerJob(w)(s.opts.Jobs.Cancel(r.PathValue("id")))
}

func answerJob(w http.ResponseWriter) func(jobs.Job, error) error {
	return func(job jobs.Job, err error) error {
		if err != nil {
			return err
		}
		return writeJSON(w, job)
	}
}

func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	list := s.opts.Jobs.List(v.Get("jobType"), v.Get("jobStatus"))
	if list == nil {
		list = []jobs.Job{}
	}
	w.Header().Set(paging.HeaderItemType, "JobResponse")
	return writeJSON(w, list)
}
