package amqp

import "fmt"

// StateCode is what became of a delivery (part 3, section 3.4).
type StateCode byte

// The states. All but Received are outcomes.
const (
	NoState  StateCode = 0 // says nothing
	Received StateCode = 0x23
	Accepted StateCode = 0x24
	Rejected StateCode = 0x25
	Released StateCode = 0x26
	Modified StateCode = 0x27
)

// String is the standard's name.
func (c StateCode) String() string {
	switch c {
	case NoState:
		return "none"
	case Received:
		return "received"
	case Accepted:
		return "accepted"
	case Rejected:
		return "rejected"
	case Released:
		return "released"
	case Modified:
		return "modified"
	}
	return fmt.Sprintf("0x%02x", byte(c))
}

// State is what became of a delivery. The zero State says nothing.
type State struct {
	Code              StateCode
	Error             *Error // of Rejected; nil for none
	DeliveryFailed    bool   // of Modified: it counts as a delivery in vain
	UndeliverableHere bool   // of Modified: it is not to come back
}

func (s State) append(b []byte) []byte {
	switch s.Code {
	case NoState:
		return append(b, tNull)
	case Rejected:
		b, l := begin(b, byte(Rejected))
		return EndList(s.Error.append(b), l, 1)
	case Modified:
		b, l := begin(b, byte(Modified))
		b = AppendBool(b, s.DeliveryFailed)
		b = AppendBool(b, s.UndeliverableHere)
		return EndList(append(b, tNull), l, 3)
	case Received:
		b, l := begin(b, byte(Received))
		return EndList(append(b, tUint0, tUlong0), l, 2)
	}
	return append(AppendDescriptor(b, byte(s.Code)), tList0)
}

// decodeState reads a state. One that the standard does not define, as transactions have, is an error.
func decodeState(v Value) (State, error) {
	descriptor, list, ok := v.Describe()
	code, known := codeOf(descriptor)
	if !ok || !known || list.Kind() != List {
		return State{}, malformed("no state of a delivery")
	}
	s := State{Code: StateCode(code)}
	f := fieldsOf(s.Code.String(), list)
	switch s.Code {
	case Received:
		f.uint("section-number")
		f.ulong("section-offset")
	case Accepted, Released:
	case Rejected:
		s.Error = f.failure("error")
	case Modified:
		s.DeliveryFailed = f.bool("delivery-failed")
		s.UndeliverableHere = f.bool("undeliverable-here")
		f.mapping("message-annotations")
	default:
		return State{}, malformed("no state of a delivery")
	}
	return s, f.done()
}

// Conditions of errors that the standard defines (part 2, section 2.8; part 3).
const (
	InternalError      = "amqp:internal-error"
	NotFound           = "amqp:not-found"
	UnauthorizedAccess = "amqp:unauthorized-access"
	DecodeError        = "amqp:decode-error"
	LimitExceeded      = "amqp:resource-limit-exceeded"
	NotAllowed         = "amqp:not-allowed"
	InvalidField       = "amqp:invalid-field"
	NotImplemented     = "amqp:not-implemented"
	IllegalState       = "amqp:illegal-state"
	FrameSizeTooSmall  = "amqp:frame-size-too-small"

	ConnectionForced = "amqp:connection:forced"
	FramingError     = "amqp:connection:framing-error"

	WindowViolation  = "amqp:session:window-violation"
	ErrantLink       = "amqp:session:errant-link"
	HandleInUse      = "amqp:session:handle-in-use"
	UnattachedHandle = "amqp:session:unattached-handle"

	DetachForced        = "amqp:link:detach-forced"
	TransferLimit       = "amqp:link:transfer-limit-exceeded"
	MessageSizeExceeded = "amqp:link:message-size-exceeded"
	Redirect            = "amqp:link:redirect"
	Stolen              = "amqp:link:stolen"
)

// Error is one of the standard: why a message was refused, or a link, a session or a connection ended. As a Go error it says so.
type Error struct {
	Condition   string // a symbol, such as amqp:not-found
	Description string // for people; empty for none
	Info        Value  // a map; nil for none
}

// Error implements error.
func (e *Error) Error() string {
	if e.Description == "" {
		return e.Condition
	}
	return e.Condition + ": " + e.Description
}

// append appends the error; null for nil.
func (e *Error) append(b []byte) []byte {
	if e == nil {
		return append(b, tNull)
	}
	b, l := begin(b, codeError)
	b = AppendSymbol(b, e.Condition)
	b = appendText(b, e.Description)
	b = AppendValue(b, e.Info)
	return EndList(b, l, 3)
}

func decodeError(list Value) (*Error, error) {
	f := fieldsOf("error", list)
	condition := f.text("condition")
	if condition == nil {
		f.missing("condition")
	}
	e := &Error{Condition: string(condition), Description: string(f.text("description"))}
	e.Info = f.mapping("info")
	if e.Info != nil { // outlives the frame
		e.Info = append(Value(nil), e.Info...)
	}
	return e, f.done()
}

// The frames of the security layer (part 5, section 5.3.3).

// Mechanisms are those that a server offers.
type Mechanisms struct{ Names []string }

// Append implements Performative.
func (p *Mechanisms) Append(b []byte) []byte {
	b, l := begin(b, CodeMechanisms)
	return EndList(AppendSymbols(b, p.Names...), l, 1)
}

// Decode reads the fields of sasl-mechanisms.
func (p *Mechanisms) Decode(list Value) error {
	f := fieldsOf("sasl-mechanisms", list)
	v := f.next()
	p.Names = nil
	for name := range v.Multiple() {
		text, ok := name.Text()
		if !ok {
			f.wrong("sasl-server-mechanisms", name, Symbol)
			break
		}
		p.Names = append(p.Names, text)
	}
	if len(p.Names) == 0 {
		f.missing("sasl-server-mechanisms")
	}
	return f.done()
}

// Init chooses a mechanism.
type Init struct {
	Mechanism string
	Response  []byte // nil for none
	HostName  string // empty for none
}

// Append implements Performative.
func (p *Init) Append(b []byte) []byte {
	b, l := begin(b, CodeInit)
	b = AppendSymbol(b, p.Mechanism)
	b = appendBytes(b, p.Response)
	b = appendText(b, p.HostName)
	return EndList(b, l, 3)
}

// Decode reads the fields of sasl-init.
func (p *Init) Decode(list Value) error {
	f := fieldsOf("sasl-init", list)
	mechanism := f.text("mechanism")
	if mechanism == nil {
		f.missing("mechanism")
	}
	p.Mechanism = string(mechanism)
	p.Response = f.bytes("initial-response")
	p.HostName = string(f.text("hostname"))
	return f.done()
}

// Codes of a sasl-outcome.
const (
	OutcomeOK   = 0
	OutcomeAuth = 1 // bad credentials
)

// Outcome is how the security layer ended.
type Outcome struct {
	Code       uint8
	Additional []byte // nil for none
}

// Append implements Performative.
func (p *Outcome) Append(b []byte) []byte {
	b, l := begin(b, CodeOutcome)
	b = AppendUbyte(b, p.Code)
	return EndList(appendBytes(b, p.Additional), l, 2)
}

// Decode reads the fields of sasl-outcome.
func (p *Outcome) Decode(list Value) error {
	f := fieldsOf("sasl-outcome", list)
	v := f.of("code", Ubyte)
	if v == nil {
		f.missing("code")
	}
	n, _ := v.Uint()
	p.Code = uint8(n)
	p.Additional = f.bytes("additional-data")
	return f.done()
}
