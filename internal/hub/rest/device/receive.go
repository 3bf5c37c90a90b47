package device

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// maxLock is how long a device holds a message at most (iot-hub-devguide-messages-c2d); when it does not say it is c2d.Lock.
const maxLock = 5 * time.Minute

// headerLock is how many seconds a device wants to hold the message that it asks for.
const headerLock = "iothub-messagelocktimeout"

// receive gives out the next message that waits: with 200, or 204 when none does.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, c *caller) error {
	lock := c2d.Lock
	if text := r.Header.Get(headerLock); text != "" {
		seconds, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || seconds < 1 || seconds > int(maxLock/time.Second) {
			return iothub.ErrArgumentInvalid.With("%s is 1 to %d seconds", headerLock, int(maxLock/time.Second))
		}
		lock = time.Duration(seconds) * time.Second
	}
	if err := s.opts.Admit(r.Context(), tier.ClassC2DReceive); err != nil {
		return err
	}
	given, ok := s.opts.Queue.Receive(c.client, lock)
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	d, h := given.Message, w.Header()
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	to := d.To
	if to == "" {
		to = entity.Path(c.client) + "/messages/deviceBound"
	}
	h.Set("ETag", `"`+given.Token.String()+`"`)
	h.Set("iothub-sequencenumber", strconv.FormatUint(given.Sequence, 10))
	h.Set("iothub-deliverycount", strconv.Itoa(given.Deliveries))
	if !given.Enqueued.IsZero() {
		h.Set("iothub-enqueuedtime", string(timestamp.Append(nil, given.Enqueued)))
	}
	h.Set("iothub-to", to)
	set("iothub-messageid", d.MessageID)
	set("iothub-correlationid", d.CorrelationID)
	set("iothub-userid", d.UserID)
	set("iothub-ack", d.Ack)
	set("iothub-contenttype", d.ContentType)
	set("iothub-contentencoding", d.ContentEncoding)
	if !given.Until.IsZero() {
		h.Set("iothub-expiry", string(timestamp.Append(nil, given.Until)))
	}
	for _, p := range d.Properties {
		if !strings.HasPrefix(p.Name, "$.") { // those are of MQTT's topics
			h.Set(appProperty+p.Name, p.Value)
		}
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(d.Payload)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(d.Payload) // a client that is gone gets it again when its lock ends
	return nil
}

// settle takes what a device says of a message that it holds. The path has the lock token; the header If-Match, which some clients send
// too, says nothing else.
func (s *Server) settle(w http.ResponseWriter, r *http.Request, c *caller) error {
	outcome := lockqueue.Complete
	switch {
	case r.Method == http.MethodPost:
		outcome = lockqueue.Abandon
	case r.URL.Query().Has("reject"):
		outcome = lockqueue.Reject
	}
	token, ok := uuid.Parse(strings.Trim(c.token, `"`))
	if !ok {
		return iothub.ErrMessageLockLost // it never was one
	}
	if err := s.opts.Queue.Settle(r.Context(), c.client, token, outcome); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
