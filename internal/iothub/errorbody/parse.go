package errorbody

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// errorCodePrefix begins the text form of an error's message.
const errorCodePrefix = "ErrorCode:"

// Parse reads an error answer of any of the three encodings. It always returns an error
// that carries at least the status.
func Parse(status int, header http.Header, body []byte) *iothub.Error {
	e := &iothub.Error{Status: status, Name: header.Get("iothub-errorcode"), RetryAfter: retryAfter(header)}
	var rest restBody
	if json.Unmarshal(body, &rest) == nil && rest.Message != "" {
		if strings.HasPrefix(rest.Message, "{") {
			body = []byte(rest.Message)
		} else {
			readText(e, rest)
		}
	}
	var plain answeredBody
	if json.Unmarshal(body, &plain) == nil && plain.ErrorCode != 0 {
		e.Code, e.Message, e.TrackingID, e.Info = int(plain.ErrorCode), plain.Message, plain.TrackingID, plain.Info
	}
	e.Name, e.Message, e.TrackingID = Clip(e.Name, maxName), Clip(e.Message, MaxText), Clip(e.TrackingID, maxName)
	e.Complete()
	return e
}

// Bounds of what an answer says for people, in bytes: it goes into logs and reports.
const (
	MaxText = 2000
	maxName = 100
)

// Clip is a text of n bytes at the most; an ellipsis follows what is left of a longer one.
func Clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.Clone(text[:n]) + "…" // all of it need not be kept
}

// readText reads the text form, ErrorCode:Name;text. Gateways in front of the service also answer
// plain sentences, which name no error.
func readText(e *iothub.Error, body restBody) {
	e.Message = body.Message
	if coded, ok := strings.CutPrefix(body.Message, errorCodePrefix); ok {
		e.Name, e.Message, _ = strings.Cut(coded, ";")
	}
	if id, ok := strings.CutPrefix(body.ExceptionMessage, "Tracking ID:"); ok {
		e.TrackingID, _, _ = strings.Cut(id, "-TimeStamp:")
	}
}

// retryAfter reads the header of that name: seconds, or a date (RFC 9110 section 10.2.3). A date
// counts from the service's own clock where the answer tells it.
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now))
}

// answeredBody is plainBody as lenient as a reader must be: what matters is the code.
type answeredBody struct {
	ErrorCode  Code      `json:"errorCode"`
	TrackingID string    `json:"trackingId"`
	Message    string    `json:"message"`
	Info       looseText `json:"info"`
}

// Code is the number of an error, which some versions of the service write as its name.
type Code int

// UnmarshalJSON reads a number, a number in quotes, or a name; an unknown name is 0.
func (c *Code) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	n, err := strconv.Atoi(text)
	if err != nil {
		// An unknown name is no reason to lose the rest of the answer.
		n = iothub.CodeOf(text)
	}
	*c = Code(n)
	return nil
}

// looseText is an object whose members are taken as text, whatever they are. Anything else is empty.
type looseText map[string]string

func (t *looseText) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(b, &members) != nil || len(members) == 0 {
		*t = nil
		return nil
	}
	*t = make(looseText, len(members))
	for name, raw := range members {
		text := string(raw)
		var s string
		if json.Unmarshal(raw, &s) == nil {
			text = s
		}
		(*t)[name] = text
	}
	return nil
}
