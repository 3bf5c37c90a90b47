package rest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/dps/book"
	"github.com/twinfleet/twinfleet/internal/hub/dps/enrollment"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// enrollments finds the endpoint of a request about enrollments or groups; parts are those after the first word.
func (h *Handler) enrollments(group bool, method string, parts []string) endpoint {
	switch {
	case len(parts) == 0:
		return only(method, http.MethodPost, h.bulk(group))
	case len(parts) == 1 && strings.EqualFold(parts[0], "query") && method == http.MethodPost:
		return h.query(group)
	case len(parts) == 1 && method == http.MethodPut:
		return h.put(group, parts[0])
	case len(parts) == 1 && method == http.MethodGet:
		return h.get(group, parts[0])
	case len(parts) == 1 && method == http.MethodDelete:
		return h.remove(group, parts[0])
	case len(parts) == 2 && strings.EqualFold(parts[1], "attestationmechanism"):
		return only(method, http.MethodPost, h.mechanism(group, parts[0]))
	case len(parts) == 1:
		return refuse(dps.ErrMethod)
	default:
		return refuse(dps.ErrNotFound)
	}
}

// decode reads a request's JSON body.
func decode(r *http.Request, into any) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return dps.ErrDeserialization // what is wrong may be a key, which nobody must read
	}
	return nil
}

// bare is an entity tag without what clients put around it: .NET quotes it, Node sends it as the document has it, which is
// in quotes too (provisioningserviceclient).
func bare(etag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(etag), "W/"), `"`)
}

// holds checks a condition on what there is, nil for nothing.
func holds(condition string, there bool, etag string) error {
	switch condition = bare(condition); {
	case condition == "" || (condition == "*" && there):
		return nil
	case !there || condition != bare(etag):
		return dps.ErrPrecondition
	default:
		return nil
	}
}

// save completes, checks and keeps an enrollment. before decides whether the present one, nil for none, may be replaced.
func (h *Handler) save(group bool, e *enrollment.Enrollment, before func(old *enrollment.Enrollment) error) (*enrollment.Enrollment, error) {
	return h.opts.Book.Change(group, e.ID(), func(old *enrollment.Enrollment) (*enrollment.Enrollment, error) {
		if err := before(old); err != nil {
			return nil, err
		}
		if err := e.Check(old, h.opts.Linked, h.opts.Authority); err != nil {
			return nil, err
		}
		now := timestamp.Time{Time: time.Now()}
		e.Created, e.Updated, e.ETag = now, now, `"`+uuid.New().String()+`"`
		if old != nil {
			e.Created = old.Created
		}
		return e, nil
	})
}

func (h *Handler) put(group bool, id string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		e := &enrollment.Enrollment{}
		if err := decode(r, e); err != nil {
			return err
		}
		if err := name(e, group, id); err != nil {
			return err
		}
		kept, err := h.save(group, e, func(old *enrollment.Enrollment) error {
			return holds(r.Header.Get("If-Match"), old != nil, etagOf(old))
		})
		if err != nil {
			return err
		}
		return write(w, http.StatusOK, h.withState(kept.ShownToWriter()))
	}
}

// name gives an enrollment the id of its address, unless its own is another one.
func name(e *enrollment.Enrollment, group bool, id string) error {
	own, other := &e.RegistrationID, &e.GroupID
	if group {
		own, other = other, own
	}
	if *own == "" {
		*own = id
	}
	if *other != "" || dps.Fold(*own) != dps.Fold(id) {
		return dps.ErrArgument.With("the id in the body is not the one in the path")
	}
	return nil
}

func etagOf(e *enrollment.Enrollment) string {
	if e == nil {
		return ""
	}
	return e.ETag
}

// withState adds the state of its registration to an individual enrollment.
func (h *Handler) withState(e *enrollment.Enrollment) *enrollment.Enrollment {
	if !e.IsGroup() {
		if r := h.opts.Book.Registration(e.RegistrationID); r != nil && !r.Group {
			e.State = &r.RegistrationState
		}
	}
	return e
}

func (h *Handler) find(group bool, id string) (*enrollment.Enrollment, error) {
	e := h.opts.Book.Enrollment(group, id)
	if e == nil {
		return nil, dps.ErrEnrollmentNotFound
	}
	return e, nil
}

func (h *Handler) get(group bool, id string) endpoint {
	return func(w http.ResponseWriter, _ *http.Request) error {
		e, err := h.find(group, id)
		if err != nil {
			return err
		}
		return write(w, http.StatusOK, h.withState(e.Shown()))
	}
}

func (h *Handler) mechanism(group bool, id string) endpoint {
	return func(w http.ResponseWriter, _ *http.Request) error {
		e, err := h.find(group, id)
		if err != nil {
			return err
		}
		return write(w, http.StatusOK, e.Mechanism())
	}
}

func (h *Handler) remove(group bool, id string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := h.drop(group, id, r.Header.Get("If-Match")); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func (h *Handler) drop(group bool, id, condition string) error {
	_, err := h.opts.Book.Change(group, id, func(old *enrollment.Enrollment) (*enrollment.Enrollment, error) {
		if old == nil {
			return nil, dps.ErrEnrollmentNotFound
		}
		return nil, holds(condition, true, old.ETag)
	})
	return err
}

type bulkRequest struct {
	Mode        string                  `json:"mode"`
	Enrollments []enrollment.Enrollment `json:"enrollments"`
	Groups      []enrollment.Enrollment `json:"enrollmentGroups"`
}

type bulkResult struct {
	Successful bool        `json:"isSuccessful"`
	Errors     []bulkError `json:"errors"`
}

type bulkError struct {
	RegistrationID string `json:"registrationId,omitempty"`
	GroupID        string `json:"enrollmentGroupId,omitempty"`
	Code           int    `json:"errorCode"`
	Status         string `json:"errorStatus"`
}

// bulk does to several enrollments what a mode says, each by itself.
func (h *Handler) bulk(group bool) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in bulkRequest
		if err := decode(r, &in); err != nil {
			return err
		}
		all := in.Enrollments
		if group {
			all = in.Groups
		}
		do, err := h.mode(group, in.Mode)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return dps.ErrArgument.With("the request names no enrollments")
		}
		result := bulkResult{Successful: true, Errors: []bulkError{}}
		for i := range all {
			e := &all[i]
			var err error = dps.ErrArgument.With("an enrollment lacks its id")
			if e.IsGroup() == group && e.ID() != "" {
				err = do(e)
			}
			if err == nil {
				continue
			}
			failure := dps.AsError(err)
			result.Successful = false
			result.Errors = append(result.Errors, bulkError{e.RegistrationID, e.GroupID, failure.Code, failure.Message})
		}
		return write(w, http.StatusOK, result)
	}
}

// mode is what a bulk request does to each enrollment.
func (h *Handler) mode(group bool, mode string) (func(*enrollment.Enrollment) error, error) {
	keep := func(before func(e, old *enrollment.Enrollment) error) func(*enrollment.Enrollment) error {
		return func(e *enrollment.Enrollment) error {
			condition := *e
			_, err := h.save(group, e, func(old *enrollment.Enrollment) error { return before(&condition, old) })
			return err
		}
	}
	switch strings.ToLower(mode) {
	case "create":
		return keep(func(_, old *enrollment.Enrollment) error {
			if old != nil {
				return dps.ErrExists
			}
			return nil
		}), nil
	case "update":
		return keep(func(_, old *enrollment.Enrollment) error {
			if old == nil {
				return dps.ErrEnrollmentNotFound
			}
			return nil
		}), nil
	case "updateifmatchetag":
		return keep(func(e, old *enrollment.Enrollment) error {
			if old == nil {
				return dps.ErrEnrollmentNotFound
			}
			if bare(e.ETag) == "" {
				return dps.ErrPrecondition
			}
			return holds(e.ETag, true, old.ETag)
		}), nil
	case "delete":
		return func(e *enrollment.Enrollment) error { return h.drop(group, e.ID(), e.ETag) }, nil
	default:
		return nil, dps.ErrArgument.With("mode is create, update, updateIfMatchETag or delete")
	}
}

// registrations finds the endpoint of a request about registration states; parts are those after the first word.
func (h *Handler) registrations(method string, parts []string) endpoint {
	switch {
	case len(parts) == 2 && strings.EqualFold(parts[1], "query"):
		return only(method, http.MethodPost, h.members(parts[0]))
	case len(parts) == 1 && method == http.MethodGet:
		return func(w http.ResponseWriter, _ *http.Request) error {
			r := h.opts.Book.Registration(parts[0])
			if r == nil {
				return dps.ErrRegistrationNotFound
			}
			return write(w, http.StatusOK, r.RegistrationState)
		}
	case len(parts) == 1 && method == http.MethodDelete:
		return func(w http.ResponseWriter, r *http.Request) error {
			found, err := h.opts.Book.Drop(parts[0], func(old *book.Registration) error {
				return holds(r.Header.Get("If-Match"), true, old.ETag)
			})
			switch {
			case err != nil:
				return err
			case !found:
				return dps.ErrRegistrationNotFound
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	case len(parts) == 1:
		return refuse(dps.ErrMethod)
	default:
		return refuse(dps.ErrNotFound)
	}
}

// mostItems is the largest page of a query, and its size when a request names none (azure-iot-sdk-node issue 813).
const mostItems = 100

// everything is the only query that the service knows.
var everything = regexp.MustCompile(`(?i)^\s*select\s+\*(\s+from\s+\w+)?\s*$`)

// page reads what of a listing a request asks for.
func page(r *http.Request) (after string, most int, err error) {
	var in struct {
		Query string `json:"query"`
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return "", 0, err
	}
	if len(strings.TrimSpace(string(b))) > 0 {
		if err := json.Unmarshal(b, &in); err != nil {
			return "", 0, dps.ErrDeserialization
		}
	}
	if in.Query != "" && !everything.MatchString(in.Query) {
		return "", 0, dps.ErrArgument.With("the only query is SELECT *")
	}
	most = mostItems
	if text := r.Header.Get("x-ms-max-item-count"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < -1 || n == 0 {
			return "", 0, dps.ErrArgument.With("x-ms-max-item-count is no number of items")
		}
		if n > 0 {
			most = min(n, mostItems)
		}
	}
	token, err := base64.StdEncoding.DecodeString(r.Header.Get("x-ms-continuation"))
	if err != nil {
		return "", 0, dps.ErrArgument.With("x-ms-continuation is not one that the service gave")
	}
	return string(token), most, nil
}

// listed answers a page of a listing; next is the last item's id when there is more.
func listed(w http.ResponseWriter, kind string, items any, next string) error {
	w.Header().Set("x-ms-item-type", kind)
	if next != "" {
		w.Header().Set("x-ms-continuation", base64.StdEncoding.EncodeToString([]byte(next)))
	}
	return write(w, http.StatusOK, items)
}

func (h *Handler) query(group bool) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		after, most, err := page(r)
		if err != nil {
			return err
		}
		// One more than asked for tells whether there is a next page.
		all := h.opts.Book.Enrollments(group, after, most+1)
		items := make([]*enrollment.Enrollment, 0, most)
		for _, e := range all[:min(most, len(all))] {
			items = append(items, h.withState(e.Shown()))
		}
		kind := "enrollment"
		if group {
			kind = "enrollmentGroup"
		}
		next := ""
		if len(all) > most {
			next = dps.Fold(items[most-1].ID())
		}
		return listed(w, kind, items, next)
	}
}

func (h *Handler) members(group string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		after, most, err := page(r)
		if err != nil {
			return err
		}
		if _, err := h.find(true, group); err != nil {
			return err
		}
		all := h.opts.Book.Members(group, after, most+1)
		items := make([]dps.RegistrationState, 0, most)
		for _, m := range all[:min(most, len(all))] {
			items = append(items, m.RegistrationState)
		}
		next := ""
		if len(all) > most {
			next = dps.Fold(items[most-1].RegistrationID)
		}
		return listed(w, "deviceRegistration", items, next)
	}
}
