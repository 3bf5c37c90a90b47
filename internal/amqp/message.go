package amqp

import "time"

// Sections of a message (part 3, section 3.2), in their order.
const (
	SectionHeader                = 0x70
	SectionDeliveryAnnotations   = 0x71
	SectionMessageAnnotations    = 0x72
	SectionProperties            = 0x73
	SectionApplicationProperties = 0x74
	SectionData                  = 0x75
	SectionSequence              = 0x76
	SectionValue                 = 0x77
	SectionFooter                = 0x78
)

// Formats of messages.
const (
	FormatMessage = 0
	FormatBatch   = 0x80013700 // of Microsoft's: each Data section holds a whole message
)

// Message is a message as it was read. Its parts are of what it was read from.
type Message struct {
	Durable             bool
	TTL                 Uint32 // ms
	DeliveryCount       uint32 // tries before this one that failed
	DeliveryAnnotations Value  // a map; nil for none
	Annotations         Value  // of the message, a map; nil for none
	Properties          Properties
	Application         Value  // properties of the application, a map; nil for none
	Data                []byte // of the first Data section; nil when HasData is not set, or it is empty
	HasData             bool
	MoreData            [][]byte // of the Data sections behind the first
	Value               Value    // of the section amqp-value; nil for none
	Sequence            bool     // there are sections amqp-sequence, which nobody here reads
}

// Properties are a message's (part 3, section 3.2.4).
type Properties struct {
	MessageID          Value  // a ulong, a uuid, a binary or a string; nil for none
	UserID             []byte // nil for none
	To                 Value  // a string; nil for none
	Subject            string // empty for none, as below
	ReplyTo            string
	CorrelationID      Value // as MessageID
	ContentType        string
	ContentEncoding    string
	AbsoluteExpiryTime time.Time // the zero time for none
	CreationTime       time.Time // likewise
	GroupID            string
	GroupSequence      Uint32
	ReplyToGroupID     string
}

// id is an id, of any of the four types.
func (f *fields) id(name string) Value {
	v := f.next()
	switch v.Kind() {
	case Absent, Ulong, UUID, Binary, String:
		return v
	default:
		f.wrong(name, v, String)
		return nil
	}
}

func (f *fields) time(name string) time.Time {
	t, _ := f.of(name, Timestamp).Time()
	return t
}

func (p *Properties) decode(list Value) error {
	f := fieldsOf("properties", list)
	p.MessageID = f.id("message-id")
	p.UserID = f.bytes("user-id")
	p.To = f.of("to", String)
	p.Subject = string(f.text("subject"))
	p.ReplyTo = string(f.text("reply-to"))
	p.CorrelationID = f.id("correlation-id")
	p.ContentType = string(f.text("content-type"))
	p.ContentEncoding = string(f.text("content-encoding"))
	p.AbsoluteExpiryTime = f.time("absolute-expiry-time")
	p.CreationTime = f.time("creation-time")
	p.GroupID = string(f.text("group-id"))
	p.GroupSequence = f.uint("group-sequence")
	p.ReplyToGroupID = string(f.text("reply-to-group-id"))
	return f.done()
}

// AppendProperties appends the section with a message's properties.
func AppendProperties(b []byte, p *Properties) []byte {
	b, l := begin(b, SectionProperties)
	b = AppendValue(b, p.MessageID)
	b = appendBytes(b, p.UserID)
	b = AppendValue(b, p.To)
	b = appendText(b, p.Subject)
	b = appendText(b, p.ReplyTo)
	b = AppendValue(b, p.CorrelationID)
	b = appendSymbol(b, p.ContentType)
	b = appendSymbol(b, p.ContentEncoding)
	b = appendTime(b, p.AbsoluteExpiryTime)
	b = appendTime(b, p.CreationTime)
	b = appendText(b, p.GroupID)
	b = p.GroupSequence.append(b)
	b = appendText(b, p.ReplyToGroupID)
	return EndList(b, l, 13)
}

func appendSymbol(b []byte, s string) []byte {
	if s == "" {
		return append(b, tNull)
	}
	return AppendSymbol(b, s)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, tNull)
	}
	return AppendTime(b, t)
}

// BeginSection begins a section that is a map: annotations, or properties of the application. EndMap ends it.
func BeginSection(b []byte, code byte) (section []byte, start int) {
	return BeginMap(AppendDescriptor(b, code))
}

// AppendData appends a Data section.
func AppendData(b, data []byte) []byte { return AppendBinary(AppendDescriptor(b, SectionData), data) }

// AppendBody appends the descriptor of the section amqp-value, whose value must follow.
func AppendBody(b []byte) []byte { return AppendDescriptor(b, SectionValue) }

// ParseMessage reads a message. An error matches ErrDecode.
func ParseMessage(b []byte) (m Message, err error) {
	last := byte(0)
	for len(b) > 0 {
		var v Value
		if v, b, err = Read(b); err != nil {
			return m, err
		}
		descriptor, section, ok := v.Describe()
		code, known := codeOf(descriptor)
		if !ok || !known || code < SectionHeader || code > SectionFooter {
			return m, malformed("a message holds what is none of its sections")
		}
		if code < last || code == last && code != SectionData && code != SectionSequence {
			return m, malformed("the sections of a message are not in their order")
		}
		if last >= SectionData && last <= SectionValue && code != last && code != SectionFooter {
			return m, malformed("a message with bodies of two kinds")
		}
		last = code
		if err := m.section(code, section); err != nil {
			return m, err
		}
	}
	return m, nil
}

func (m *Message) section(code byte, v Value) error {
	want := Map
	switch code {
	case SectionHeader, SectionProperties, SectionSequence:
		want = List
	case SectionData:
		want = Binary
	case SectionValue:
		m.Value = v
		return nil
	}
	if v.Kind() != want {
		return malformed("the section 0x%02x of a message is a %v where it must be a %v", code, v.Kind(), want)
	}
	if want == Map {
		for k := range v.Pairs() {
			if kind := k.Kind(); kind != Symbol && kind != String && (kind != Ulong || code == SectionApplicationProperties) {
				return malformed("a key of the section 0x%02x of a message is a %v", code, kind)
			}
		}
	}
	switch code {
	case SectionHeader:
		f := fieldsOf("header", v)
		m.Durable = f.bool("durable")
		f.of("priority", Ubyte)
		m.TTL = f.uint("ttl")
		f.bool("first-acquirer")
		m.DeliveryCount = f.uint("delivery-count").V
		return f.done()
	case SectionDeliveryAnnotations:
		m.DeliveryAnnotations = v
	case SectionMessageAnnotations:
		m.Annotations = v
	case SectionProperties:
		return m.Properties.decode(v)
	case SectionApplicationProperties:
		m.Application = v
	case SectionSequence:
		m.Sequence = true
	case SectionData:
		switch {
		case !m.HasData:
			m.HasData, m.Data = true, v.Bytes()
		default:
			m.MoreData = append(m.MoreData, v.Bytes())
		}
	}
	return nil
}

// Payload is the body as bytes: the Data sections, one after the other, or the value of a string or a binary. ok is false for a body
// of another form; a message without a body has an empty one.
func (m *Message) Payload() (payload []byte, ok bool) {
	switch {
	case m.Sequence:
		return nil, false
	case m.Value != nil:
		switch m.Value.Kind() {
		case Binary, String:
			return m.Value.Bytes(), true
		case Null:
			return nil, true
		default:
			return nil, false
		}
	case len(m.MoreData) == 0:
		return m.Data, true
	}
	payload = append(payload, m.Data...)
	for _, d := range m.MoreData {
		payload = append(payload, d...)
	}
	return payload, true
}
