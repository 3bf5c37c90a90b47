// Package service is a client of the service side of Azure IoT Hub over REST: the identity
// registry, twins, queries, direct methods, cloud-to-device messages and jobs.
package service

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// apiVersion is the version of the service API that the official SDKs of 2021 to 2026 name.
const apiVersion = "2021-04-12"

const (
	tokenLife   = time.Hour
	tokenMargin = 10 * time.Minute // a token is made anew when less than this is left of it
	maxAnswer   = 64 << 20         // bytes; a page of 1,000 twins of the largest size is below it
	maxAtOnce   = 4 << 20          // bytes for which memory is taken before they have come
	maxFailure  = 1 << 20          // bytes of an answer that says what failed; that to 100 entries of a bulk call is below it
	dialTimeout = 30 * time.Second // of the connection, and of the TLS handshake on it: they go on when their call is given up
)

// Options say where the service is and how patient its client is.
type Options struct {
	// ConnectionString names the hub and the policy that signs requests. Required.
	ConnectionString connstring.Service
	// BaseURL is where requests go; "https://" and the host name of the connection string when empty.
	BaseURL string
	// RootCAs are trusted beside nothing else; nil means the system's.
	RootCAs *x509.CertPool
	// Dial opens connections; nil asks the network.
	Dial func(ctx context.Context) (net.Conn, error)
	// Connections kept open to the service; 32 when 0.
	Connections int
	// Retries of a request that the service throttled (429) or was too busy for (503); 0 means none.
	// The wait is the one the service asks for, else it grows from RetryWait.
	Retries int
	// RetryWait is the first wait of a retry; one second when 0. It doubles up to thirty seconds.
	RetryWait time.Duration
	// Timeout of one try of one request; one minute when 0. A direct method has the time that it asks for besides.
	Timeout time.Duration
	// Transport carries requests, for a service in this process; nil is connections of the client's own.
	Transport http.RoundTripper
}

// Client speaks to one hub. It is safe for concurrent use. Errors of the service are *iothub.Error.
type Client struct {
	opts     Options
	base     string
	resource string
	http     *http.Client

	mu      sync.Mutex // protects the token
	token   string
	expires time.Time
}

// New makes a client. It opens no connection yet.
func New(o Options) (*Client, error) {
	if o.ConnectionString.HostName == "" || o.ConnectionString.Key.IsZero() {
		return nil, errors.New("service client: a service connection string is needed")
	}
	base := o.BaseURL
	if base == "" {
		base = "https://" + o.ConnectionString.HostName
	}
	if o.Connections == 0 {
		o.Connections = 32
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.RetryWait == 0 {
		o.RetryWait = time.Second
	}
	host, _, _ := strings.Cut(o.ConnectionString.HostName, ":")
	dial := (&net.Dialer{Timeout: dialTimeout}).DialContext
	if o.Dial != nil {
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) }
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			DialContext:         dial,
			TLSClientConfig:     &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			MaxIdleConns:        o.Connections,
			MaxIdleConnsPerHost: o.Connections,
			MaxConnsPerHost:     o.Connections,
			IdleConnTimeout:     90 * time.Second,
			TLSHandshakeTimeout: dialTimeout,
			DisableCompression:  true,
		}
	}
	return &Client{opts: o, base: strings.TrimSuffix(base, "/"), resource: host, http: &http.Client{Transport: o.Transport}}, nil
}

// BaseURL is where requests go.
func (c *Client) BaseURL() string { return c.base }

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) authorization(now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Add(tokenMargin).After(c.expires) {
		c.expires = now.Add(tokenLife)
		c.token = sas.Sign(c.resource, c.opts.ConnectionString.Key, c.opts.ConnectionString.Policy, c.expires)
	}
	return c.token
}

// request is one call of the service.
type request struct {
	doing  string // what is being done, for errors
	method string
	path   string // escaped, may have a query
	header http.Header
	body   any           // nil, []byte of JSON, or a value to encode
	hold   time.Duration // that the service may take on purpose
}

// do carries a request out, with retries, and decodes the answer into out unless that is nil.
func (c *Client) do(ctx context.Context, r request, out any) (http.Header, error) {
	var body []byte
	switch b := r.body.(type) {
	case nil:
	case []byte:
		body = b
	default:
		var err error
		if body, err = json.Marshal(b); err != nil {
			return nil, fmt.Errorf("%s: encoding the request: %w", r.doing, err)
		}
	}
	backoff := c.opts.RetryWait
	for try := 0; ; try++ {
		header, answer, err := c.once(ctx, r, body)
		if err == nil {
			if out == nil {
				return header, nil
			}
			if err := json.Unmarshal(answer, out); err != nil {
				return nil, fmt.Errorf("%s: %w", r.doing, answerError{"the answer is not the JSON that is expected", err})
			}
			return header, nil
		}
		pause, retry := retryAfter(err, backoff)
		if !retry || try >= c.opts.Retries {
			return header, fmt.Errorf("%s: %w", r.doing, err)
		}
		backoff = min(2*backoff, 30*time.Second)
		if ended := wait.For(ctx, pause); ended != nil {
			return nil, fmt.Errorf("%s: %w (the service last said: %w)", r.doing, ended, err)
		}
	}
}

// retryAfter says whether a request that failed may be sent once more, and when.
func retryAfter(err error, wait time.Duration) (time.Duration, bool) {
	var e *iothub.Error
	if !errors.As(err, &e) || (e.Status != http.StatusTooManyRequests && e.Status != http.StatusServiceUnavailable) {
		return 0, false
	}
	if e.RetryAfter > 0 {
		wait = e.RetryAfter
	}
	return wait, true
}

// readAnswer reads a body, into one piece of memory when its length was said before and is no more than answers usually have: what
// is said costs nothing to say. The body of an error is read as far as it may be of use.
func readAnswer(resp *http.Response) ([]byte, error) {
	if resp.StatusCode/100 != 2 {
		return io.ReadAll(io.LimitReader(resp.Body, maxFailure))
	}
	if n := resp.ContentLength; n >= 0 && n <= maxAtOnce {
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(b) > maxAnswer {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLarge, maxAnswer)
	}
	return b, err
}

// errTooLarge is returned for an answer that no service gives.
var errTooLarge = errors.New("the answer is too large")

func (c *Client) once(ctx context.Context, r request, body []byte) (http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout+r.hold)
	defer cancel()
	separator := "?"
	if strings.Contains(r.path, "?") {
		separator = "&"
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path+separator+"api-version="+apiVersion, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", c.authorization(time.Now()))
	req.Header.Set("User-Agent", "twinfleet")
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, plainer(err)
	}
	defer resp.Body.Close()
	answer, err := readAnswer(resp)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		if failure := asBulkFailure(resp.StatusCode, answer); failure != nil {
			return resp.Header, answer, failure
		}
		return resp.Header, answer, errorbody.Parse(resp.StatusCode, resp.Header, answer)
	}
	return resp.Header, answer, nil
}

// Permanent reports whether a call failed for a reason that another try would meet too: the name of the host, its
// certificate, or a port that speaks something else. A service's own answers are *iothub.Error, and tell by themselves.
func Permanent(err error) bool {
	var lookup *net.DNSError
	var address *net.AddrError
	var certificate *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &lookup):
		return lookup.IsNotFound
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert
		return true
	}
	return errors.As(err, &address) || errors.As(err, &certificate) || errors.As(err, &unknown) || errors.As(err, &name) ||
		errors.As(err, &invalid) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch)
}

// plainer takes the URL, which can hold a device id, out of net/http's error.
func plainer(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// ifMatch writes an etag as the service expects it: quoted. Empty means no condition.
func ifMatch(etag string) http.Header {
	if etag == "" {
		return nil
	}
	if !strings.HasPrefix(etag, `"`) {
		etag = `"` + etag + `"`
	}
	return http.Header{"If-Match": {etag}}
}

func devicePath(id string) string { return "/devices/" + url.PathEscape(id) }
func twinPath(id string) string   { return "/twins/" + url.PathEscape(id) }
