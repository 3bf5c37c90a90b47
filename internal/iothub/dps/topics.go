package dps

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ResponseFilter is the only topic filter that DPS grants; at most with QoS 1 (iot-mqtt-connect-to-iot-dps).
const ResponseFilter = "$dps/registrations/res/#"

const (
	registerPrefix = "$dps/registrations/PUT/iotdps-register/?"
	pollPrefix     = "$dps/registrations/GET/iotdps-get-operationstatus/?"
	responsePrefix = "$dps/registrations/res/"
)

// ErrTopic is returned for a topic that DPS does not know.
var ErrTopic = errors.New("no topic of the provisioning service")

// RegisterTopic is where a device publishes its RegisterRequest. The request id comes back in the response.
func RegisterTopic(requestID string) string { return registerPrefix + "$rid=" + requestID }

// PollTopic is where a device asks for the state of an operation. The operation id is URL-encoded.
func PollTopic(requestID, operationID string) string {
	return pollPrefix + "$rid=" + requestID + "&operationId=" + url.QueryEscape(operationID)
}

// Request is the topic of a message from a device.
type Request struct {
	RequestID   string // $rid as it was written; may be empty
	OperationID string // decoded; empty for a registration
	Poll        bool   // it asks for the state of OperationID; else it registers
}

// ParseRequest reads the topic of a message from a device. Errors match ErrTopic.
func ParseRequest(topic string) (Request, error) {
	query, register := strings.CutPrefix(topic, registerPrefix)
	var r Request
	if !register {
		if query, r.Poll = strings.CutPrefix(topic, pollPrefix); !r.Poll {
			return Request{}, ErrTopic
		}
	}
	for pair := range strings.SplitSeq(query, "&") {
		switch key, value, _ := strings.Cut(pair, "="); key {
		case "$rid":
			r.RequestID = value
		case "operationId":
			decoded, err := url.QueryUnescape(value)
			if err != nil {
				return Request{}, fmt.Errorf("%w: operationId is wrongly encoded", ErrTopic)
			}
			r.OperationID = decoded
		}
	}
	return r, nil
}

// ResponseTopic is the topic of a response. Clients want $rid first, and retry-after in whole seconds only where it says
// something: 0 leaves it out, and parts of a second count as one.
func ResponseTopic(status int, requestID string, retryAfter time.Duration) string {
	topic := responsePrefix + strconv.Itoa(status) + "/?$rid=" + requestID
	if retryAfter > 0 {
		topic += "&retry-after=" + Seconds(retryAfter)
	}
	return topic
}

// Seconds writes a retry-after, as topics and HTTP headers have it: whole seconds, rounded up.
func Seconds(retryAfter time.Duration) string {
	return strconv.FormatInt(int64((retryAfter+time.Second-1)/time.Second), 10)
}

// Response is the topic of a response.
type Response struct {
	Status     int           // as in HTTP: below 300 the body is an Operation, else an error (errorbody.Parse)
	RequestID  string        // $rid of the request
	RetryAfter time.Duration // when to ask again, or to try again, at most mostRetryAfter; 0 when the service does not say
}

// mostRetryAfter is what a longer retry-after counts as: no device waits for that, and a time.Duration holds it a few times over.
const mostRetryAfter = 365 * 24 * time.Hour

// ParseResponse reads the topic of a response. Errors match ErrTopic.
func ParseResponse(topic string) (Response, error) {
	rest, ok := strings.CutPrefix(topic, responsePrefix)
	status, query, found := strings.Cut(rest, "/?")
	if !ok || !found {
		return Response{}, ErrTopic
	}
	n, err := strconv.Atoi(status)
	if err != nil || n < 100 || n > 599 {
		return Response{}, fmt.Errorf("%w: the status is no number", ErrTopic)
	}
	r := Response{Status: n}
	for pair := range strings.SplitSeq(query, "&") {
		switch key, value, _ := strings.Cut(pair, "="); strings.ToLower(key) {
		case "$rid":
			r.RequestID = value
		case "retry-after":
			s, err := strconv.ParseInt(value, 10, 64)
			if (err == nil || errors.Is(err, strconv.ErrRange)) && s > 0 {
				r.RetryAfter = time.Duration(min(s, int64(mostRetryAfter/time.Second))) * time.Second
			}
		}
	}
	return r, nil
}
