package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// CreateDevice makes an identity. Empty keys are made by the service. It returns
// iothub.ErrDeviceExists for an id that is taken.
func (c *Client) CreateDevice(ctx context.Context, identity registry.Identity) (registry.Identity, error) {
	return c.putDevice(ctx, "creating device ", identity, nil)
}

// UpdateDevice replaces an identity if its etag matches; "*" or "" match any.
func (c *Client) UpdateDevice(ctx context.Context, identity registry.Identity, etag string) (registry.Identity, error) {
	if etag == "" {
		etag = "*"
	}
	return c.putDevice(ctx, "updating device ", identity, ifMatch(etag))
}

func (c *Client) putDevice(ctx context.Context, doing string, identity registry.Identity, header http.Header) (registry.Identity, error) {
	var out registry.Identity
	_, err := c.do(ctx, request{
		doing: doing + identity.DeviceID, method: http.MethodPut, path: devicePath(identity.DeviceID), header: header,
		body: identity,
	}, &out)
	return out, err
}

// Device reads an identity. It returns iothub.ErrDeviceNotFound for an unknown id.
func (c *Client) Device(ctx context.Context, id string) (registry.Identity, error) {
	var out registry.Identity
	_, err := c.do(ctx, request{doing: "reading device " + id, method: http.MethodGet, path: devicePath(id)}, &out)
	return out, err
}

// Devices lists at most top identities, 1,000 at the most.
func (c *Client) Devices(ctx context.Context, top int) ([]registry.Identity, error) {
	var out []registry.Identity
	_, err := c.do(ctx, request{doing: "listing devices", method: http.MethodGet, path: "/devices?top=" + strconv.Itoa(top)}, &out)
	return out, err
}

// DeleteDevice removes an identity and its twin, whatever its etag.
func (c *Client) DeleteDevice(ctx context.Context, id string) error {
	_, err := c.do(ctx, request{doing: "deleting device " + id, method: http.MethodDelete, path: devicePath(id), header: ifMatch("*")}, nil)
	return err
}

// Bulk carries out up to registry.MaxBulk registry operations in one call. A call of which some
// entries failed is no error: the result names them.
func (c *Client) Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error) {
	var out registry.BulkResult
	_, err := c.do(ctx, request{
		doing: fmt.Sprintf("bulk registry call of %d devices", len(entries)), method: http.MethodPost, path: "/devices",
		body: entries,
	}, &out)
	var failed *bulkFailure
	if errors.As(err, &failed) {
		return failed.result, nil
	}
	return out, err
}

// bulkFailure is a bulk call of which some entries failed: the service answers 400 with the result.
type bulkFailure struct{ result registry.BulkResult }

func (f *bulkFailure) Error() string { return fmt.Sprintf("%d devices failed", len(f.result.Errors)) }

// asBulkFailure recognises the answer to a bulk call of which some entries failed.
func asBulkFailure(status int, answer []byte) error {
	var result registry.BulkResult
	if status != http.StatusBadRequest || json.Unmarshal(answer, &result) != nil || len(result.Errors) == 0 {
		return nil
	}
	return &bulkFailure{result}
}

// Statistics counts the identities of the hub.
func (c *Client) Statistics(ctx context.Context) (registry.Statistics, error) {
	var out registry.Statistics
	_, err := c.do(ctx, request{doing: "reading registry statistics", method: http.MethodGet, path: "/statistics/devices"}, &out)
	return out, err
}

// Twin reads a twin's service view as JSON.
func (c *Client) Twin(ctx context.Context, id string) (json.RawMessage, error) {
	var out json.RawMessage
	_, err := c.do(ctx, request{doing: "reading the twin of " + id, method: http.MethodGet, path: twinPath(id)}, &out)
	return out, err
}

// PatchTwin merges a patch, {"tags":…,"properties":{"desired":…}}, into a twin whose etag matches;
// "" matches any. It returns the new twin, or iothub.ErrPreconditionFailed.
func (c *Client) PatchTwin(ctx context.Context, id string, patch []byte, etag string) (json.RawMessage, error) {
	var out json.RawMessage
	_, err := c.do(ctx, request{doing: "patching the twin of " + id, method: http.MethodPatch, path: twinPath(id), header: ifMatch(etag), body: patch}, &out)
	return out, err
}

// ReplaceTwin replaces the sections of a twin that the document holds. See PatchTwin.
func (c *Client) ReplaceTwin(ctx context.Context, id string, document []byte, etag string) (json.RawMessage, error) {
	var out json.RawMessage
	_, err := c.do(ctx, request{doing: "replacing the twin of " + id, method: http.MethodPut, path: twinPath(id), header: ifMatch(etag), body: document}, &out)
	return out, err
}

// defaultResponseTimeout of a direct method, in seconds (iot-hub-devguide-direct-methods).
const defaultResponseTimeout = 30

// ErrMethodAnswer is returned for a device's answer to a direct method that is no JSON: the service passes it on as it is.
var ErrMethodAnswer error = answerError{what: "the device's answer to the method is no JSON"}

// answerError is an answer that cannot be decoded.
type answerError struct {
	what string
	err  error // of decoding; nil for one that stands for its kind
}

// Error says what is wrong, and where.
func (e answerError) Error() string {
	if e.err == nil {
		return e.what
	}
	return e.what + ": " + e.err.Error()
}

// Reason is the kind of the error: package metrics/reason shows it.
func (e answerError) Reason() string { return e.what }

// Is reports whether another error is of the same kind.
func (e answerError) Is(other error) bool {
	x, ok := other.(answerError)
	return ok && x.what == e.what
}

// InvokeMethod calls a direct method and waits for the device's answer. It returns
// iothub.ErrDeviceNotOnline or iothub.ErrMethodTimeout when the device cannot or does not answer, and ErrMethodAnswer when
// what it answers is no JSON.
func (c *Client) InvokeMethod(ctx context.Context, id string, call methods.Request) (methods.Response, error) {
	var out methods.Response
	hold := defaultResponseTimeout * time.Second
	if call.ResponseTimeout != nil {
		hold = time.Duration(*call.ResponseTimeout) * time.Second
	}
	if call.ConnectTimeout != nil {
		hold += time.Duration(*call.ConnectTimeout) * time.Second
	}
	_, err := c.do(ctx, request{
		doing: "calling method " + call.Name + " of " + id, method: http.MethodPost, path: twinPath(id) + "/methods", body: call,
		hold: hold,
	}, &out)
	var undecoded answerError
	if errors.As(err, &undecoded) {
		return out, fmt.Errorf("calling method %s of %s: %w", call.Name, id, answerError{ErrMethodAnswer.Error(), undecoded.err})
	}
	return out, err
}

// SendC2D queues a cloud-to-device message. The embedded hub takes it by HTTPS; Azure IoT Hub takes
// such messages over AMQP only and answers 404.
func (c *Client) SendC2D(ctx context.Context, id string, payload []byte) error {
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	_, err := c.do(ctx, request{
		doing: "sending a message to " + id, method: http.MethodPost, path: devicePath(id) + "/messages/deviceBound",
		header: header, body: payload,
	}, nil)
	return err
}

// CreateJob schedules a job.
func (c *Client) CreateJob(ctx context.Context, job jobs.Job) (jobs.Job, error) {
	var out jobs.Job
	_, err := c.do(ctx, request{doing: "creating job " + job.JobID, method: http.MethodPut, path: "/jobs/v2/" + url.PathEscape(job.JobID), body: job}, &out)
	return out, err
}

// Job reads a job's state. It returns iothub.ErrJobNotFound for one that the service does not know.
func (c *Client) Job(ctx context.Context, id string) (jobs.Job, error) {
	var out jobs.Job
	_, err := c.do(ctx, request{doing: "reading job " + id, method: http.MethodGet, path: "/jobs/v2/" + url.PathEscape(id)}, &out)
	if err == nil && out.Status == jobs.Unknown {
		return out, fmt.Errorf("reading job %s: %w", id, iothub.ErrJobNotFound)
	}
	return out, err
}

// CancelJob cancels a job that has not ended.
func (c *Client) CancelJob(ctx context.Context, id string) (jobs.Job, error) {
	var out jobs.Job
	_, err := c.do(ctx, request{doing: "cancelling job " + id, method: http.MethodPost, path: "/jobs/v2/" + url.PathEscape(id) + "/cancel"}, &out)
	return out, err
}

// Page is one page of a query's result.
type Page struct {
	Items    []json.RawMessage // in the order of the result
	ItemType string            // Twin, Raw or DeviceJob
}

// Pages walks through the pages of a query. It is for one goroutine.
type Pages interface {
	// More reports whether there may be a further page. A page may be empty and still not be the last.
	More() bool
	// Next reads the next page. One that failed may be asked for once more.
	Next(ctx context.Context) (Page, error)
}

// pager walks through the pages of one hub.
type pager struct {
	client *Client
	sql    string
	size   int
	token  string
	begun  bool
}

// Query prepares a query; nothing is sent before Next. Pages have at most pageSize items; 0 leaves the size to the service.
func (c *Client) Query(sql string, pageSize int) Pages {
	return &pager{client: c, sql: sql, size: pageSize}
}

func (p *pager) More() bool { return !p.begun || p.token != "" }

func (p *pager) Next(ctx context.Context) (Page, error) {
	header := http.Header{}
	if p.size > 0 {
		header.Set(paging.HeaderMaxItemCount, strconv.Itoa(p.size))
	}
	if p.token != "" {
		header.Set(paging.HeaderContinuation, p.token)
	}
	var page Page
	answer, err := p.client.do(ctx, request{
		doing: "querying", method: http.MethodPost, path: "/devices/query", header: header,
		body: paging.Request{Query: p.sql},
	}, &page.Items)
	if err != nil {
		return Page{}, err
	}
	p.begun = true
	p.token = answer.Get(paging.HeaderContinuation)
	page.ItemType = answer.Get(paging.HeaderItemType)
	return page, nil
}
