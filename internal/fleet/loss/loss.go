// Package loss says why connections were lost that had been made, or refused, and why a target would not do something: what it said, what it did without
// a word, and what this side ended because of it.
package loss

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/fault"
	"github.com/twinfleet/twinfleet/internal/oserr"
	"github.com/twinfleet/twinfleet/metrics/reason"
	"github.com/twinfleet/twinfleet/report/clean"
)

// mostWords is how many texts of a target's own are told apart, mostBytes how long one may be. What it says beyond is left out: the reason code
// stays.
const (
	mostWords = 10
	mostBytes = 80
	mostRead  = 4 * mostBytes // is looked at for secrets: one that begins within what is shown is seen as a whole
)

// Storm is why a connection is lost that a storm of the run itself cut.
const Storm = "cut by a storm of the run itself"

// Reasons says why connections of a fleet were lost, and things refused, in a bounded number of texts. The zero value is ready. It is safe for concurrent use.
type Reasons struct {
	mu   sync.Mutex
	said map[string]struct{} // words of the target
}

// Of says why the connection of a device was lost.
func (r *Reasons) Of(lost error, device string) string {
	var told *link.DisconnectedError
	var broken link.ProtocolError
	var ended link.EndedError
	var closed *websocket.CloseError
	var network net.Error
	switch {
	case errors.As(lost, &told):
		return r.told(told.Reason(), told.Words, device)
	case errors.Is(lost, link.ErrCut):
		return Storm
	case errors.As(lost, &broken):
		return "ended by this side: " + broken.Reason()
	case errors.As(lost, &ended):
		return "ended by this side: " + ended.Reason()
	case errors.Is(lost, fault.ErrReset):
		return "cut by the scenario's own network"
	case errors.As(lost, &closed):
		return reason.Of(closing(*closed))
	case errors.As(lost, new(interface{ Reason() string })):
		return reason.Of(lost)
	case errors.Is(lost, io.EOF), errors.Is(lost, io.ErrUnexpectedEOF):
		return "the target closed the connection without a word"
	case oserr.Is(lost, oserr.Reset):
		return "the connection was reset, by the target or on the way to it"
	case errors.As(lost, &network) && network.Timeout():
		return "what was sent did not reach the target in time"
	}
	if why := reason.Of(lost); why != reason.Other {
		return why
	}
	return "nothing is known of why"
}

// Refused says why something that a device asked for ended badly, as package metrics/reason does; a refusal with the target's own words.
func (r *Reasons) Refused(err error, device string) string {
	var refused *link.RefusedError
	var subscription *link.SubscriptionError
	switch {
	case errors.As(err, &refused):
		return r.told(reason.Of(err), refused.Words, device)
	case errors.As(err, &subscription):
		return r.told(reason.Of(err), subscription.Words, device)
	}
	return reason.Of(err)
}

// told is a reason with the target's own words, as long as it has not said too much.
func (r *Reasons) told(text, words, device string) string {
	words = clean.Redact(words[:min(len(words), mostRead)])
	if len(device) > 1 { // what is said of each device is one reason
		words = strings.ReplaceAll(words, device, "{device}")
	}
	if len(words) > mostBytes {
		words = strings.ToValidUTF8(words[:mostBytes], "") + "…"
	}
	if words == "" || !r.admits(words) {
		return text
	}
	return reason.Of(spoken(text + `: "` + words + `"`))
}

// admits reports whether a target's words are among those that are told apart.
func (r *Reasons) admits(words string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.said[words]; ok {
		return true
	}
	if len(r.said) >= mostWords {
		return false
	}
	if r.said == nil {
		r.said = make(map[string]struct{})
	}
	r.said[words] = struct{}{}
	return true
}

// spoken is a reason with a target's words in it.
type spoken string

func (s spoken) Error() string  { return string(s) }
func (s spoken) Reason() string { return string(s) }

// closing is how a WebSocket was closed.
type closing websocket.CloseError

func (c closing) Error() string { return c.Reason() }

// Reason is of a bounded set: an end of the stream, which is none of WebSocket's, and the codes that RFC 6455 has (section 7.4.1).
func (c closing) Reason() string {
	meanings := map[int]string{
		websocket.CloseNormalClosure: "as it should", websocket.CloseGoingAway: "it is going away", websocket.CloseProtocolError: "a protocol error",
		websocket.CloseUnsupportedData: "a kind of data that it does not take", websocket.CloseInvalidFramePayloadData: "invalid data",
		websocket.ClosePolicyViolation: "a violation of its policy", websocket.CloseMessageTooBig: "a message that is too big",
		websocket.CloseInternalServerErr: "an internal error", websocket.CloseServiceRestart: "it restarts", websocket.CloseTryAgainLater: "try again later",
	}
	switch text, ok := meanings[c.Code]; {
	case c.Code == websocket.CloseAbnormalClosure:
		return "the target closed the connection without a word"
	case ok:
		return "the target closed the WebSocket: " + text
	}
	return "the target closed the WebSocket"
}
