package allocate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/dps/enrollment"
)

// webhookTime is how long a webhook may take. No source says what the service allows.
const webhookTime = 10 * time.Second

// mostAnswer bounds the answer of a webhook, in bytes.
const mostAnswer = 256 << 10

// errNotLoopback is why a webhook elsewhere is not asked.
var errNotLoopback = errors.New("webhooks are asked on loopback only")

// Webhook asks the webhooks of enrollments (concepts-custom-allocation).
type Webhook struct{ client *http.Client }

// NewWebhook makes a Webhook. It connects to loopback only, unless remote: an enrollment must not make the hub call
// whoever it names. The caller must Close it.
func NewWebhook(remote bool) *Webhook {
	dialer := &net.Dialer{Timeout: webhookTime}
	if !remote {
		// The address is checked when it is known, after the name was looked up.
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			host, _, err := net.SplitHostPort(address)
			if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
				return errNotLoopback
			}
			return nil
		}
	}
	return &Webhook{&http.Client{
		Timeout:       webhookTime,
		Transport:     &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes the connections that are kept.
func (w *Webhook) Close() { w.client.CloseIdleConnections() }

type question struct {
	Group      *enrollment.Enrollment `json:"enrollmentGroup,omitempty"`
	Individual *enrollment.Enrollment `json:"individualEnrollment,omitempty"`
	Context    runtimeContext         `json:"deviceRuntimeContext"`
	Hubs       []string               `json:"linkedHubs"`
}

type runtimeContext struct {
	RegistrationID string          `json:"registrationId"`
	CurrentHub     string          `json:"currentIotHubHostName,omitempty"`
	CurrentDevice  string          `json:"currentDeviceId,omitempty"`
	X509           *struct{}       `json:"x509,omitempty"`
	SymmetricKey   *struct{}       `json:"symmetricKey,omitempty"`
	Payload        json.RawMessage `json:"payload,omitempty"`
}

type answer struct {
	Hub         string                  `json:"iotHubHostName"`
	InitialTwin *enrollment.InitialTwin `json:"initialTwin"`
	Payload     json.RawMessage         `json:"payload"`
}

// ask sends the device to its webhook. The enrollment goes without its keys.
func (w *Webhook) ask(ctx context.Context, r Request, hubs []string) (Decision, error) {
	q := question{Hubs: hubs, Context: runtimeContext{
		RegistrationID: r.RegistrationID, CurrentHub: r.CurrentHub, CurrentDevice: r.CurrentDevice, Payload: r.Payload,
	}}
	if r.Enrollment.IsGroup() {
		q.Group = r.Enrollment.Shown()
	} else {
		q.Individual = r.Enrollment.Shown()
	}
	if r.X509 {
		q.Context.X509 = &struct{}{}
	} else {
		q.Context.SymmetricKey = &struct{}{}
	}
	body, err := json.Marshal(q)
	if err != nil {
		return Decision{}, fmt.Errorf("encoding the question to the webhook: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Enrollment.Webhook.URL, bytes.NewReader(body))
	if err != nil {
		return Decision{}, failure("Custom allocation failed: the webhook's URL is not valid")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	switch {
	case errors.Is(err, errNotLoopback):
		return Decision{}, failure("Custom allocation failed: " + errNotLoopback.Error())
	case err != nil:
		return Decision{}, failure("Custom allocation failed: the webhook cannot be reached") // its URL may hold a key
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return Decision{}, failure(fmt.Sprintf("Custom allocation failed with status code: %d", resp.StatusCode))
	case err != nil || len(text) > mostAnswer:
		return Decision{}, failure("Custom allocation failed: the webhook's answer cannot be read")
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return Decision{}, failure("Custom allocation failed: the webhook's answer is not the JSON that is expected")
	}
	d := Decision(a)
	if d.InitialTwin == nil {
		d.InitialTwin = r.Enrollment.InitialTwin
	}
	return d, nil
}
