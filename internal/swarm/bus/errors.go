package bus

import "errors"

// What can go wrong, for errors.Is.
var (
	// ErrClosed is what calls after Close, or cut short by it, return.
	ErrClosed = errors.New("the bus is closed")
	// ErrDenied means that the server refuses the credentials.
	ErrDenied = errors.New("the server refuses the credentials")
	// ErrForbidden means that the server takes the credentials, and does not allow them this. The text has the subject.
	ErrForbidden = errors.New("the server does not allow it")
	// ErrNobody means that there is no such instance or endpoint.
	ErrNobody = errors.New("nobody is there to answer")
	// ErrLost means that the connection broke, and that it is not known what became of what was under way.
	ErrLost = errors.New("the connection broke meanwhile")
	// ErrTooLarge means more than MaxPayload bytes; nothing was sent.
	ErrTooLarge = errors.New("more bytes than one message can have")
	// ErrBacklog means that there is no connection, and that as much is kept for later as may be.
	ErrBacklog = errors.New("no connection, and no room to keep more messages for later")
	// ErrName means a subject, name or key that cannot be.
	ErrName = errors.New("not a valid name")
	// ErrNoStore means that there is no such store.
	ErrNoStore = errors.New("there is no such store")
	// ErrFull means that the store holds no more.
	ErrFull = errors.New("the store is full")
	// ErrExists means that the key has a value.
	ErrExists = errors.New("the key exists")
	// ErrConflict means that the key was written since.
	ErrConflict = errors.New("the key was written since")
	// ErrNoKey means that the key has no value.
	ErrNoKey = errors.New("the key does not exist")
)

// Code says what kind of failure an endpoint's error is. There are no others than these.
type Code int

// The codes, numbered as in HTTP.
const (
	Invalid     Code = 400 // the question makes no sense
	Refused     Code = 403 // it will not
	Unknown     Code = 404 // what was asked about is not there
	Conflict    Code = 409 // not as things stand
	Failed      Code = 500 // it went wrong
	Unavailable Code = 503 // not now: ask later
)

// Known returns the code, or Failed when it is none of the codes.
func (c Code) Known() Code {
	switch c {
	case Invalid, Refused, Unknown, Conflict, Unavailable:
		return c
	}
	return Failed
}

// MaxErrorText is the most bytes of an endpoint's error that reach who asked.
const MaxErrorText = 4096

// Error is an endpoint's error, on either side.
type Error struct {
	Code Code
	Text string // cut at MaxErrorText
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// AsError is how an endpoint's error looks to who asked: the *Error in it with the text of the whole, or Failed.
func AsError(err error) *Error {
	out := &Error{Code: Failed, Text: err.Error()}
	var known *Error
	if errors.As(err, &known) {
		out.Code = known.Code.Known()
	}
	if len(out.Text) > MaxErrorText {
		out.Text = out.Text[:MaxErrorText]
	}
	if out.Text == "" {
		out.Text = "failed"
	}
	return out
}
