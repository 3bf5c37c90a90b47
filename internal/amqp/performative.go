package amqp

// The performatives of part 2, section 2.7. A decoder fills one whose slices are part of the frame that it read; what it cannot
// take is an error that matches ErrDecode.

// Open says what a peer can do with a connection.
type Open struct {
	ContainerID  string // required
	HostName     string // empty for none
	MaxFrameSize uint32 // bytes that it takes; 0 writes none, and none is read as 4294967295
	ChannelMax   uint16 // the highest channel; none is read as 65535
	IdleTimeOut  Uint32 // ms after which it gives up on a silent peer
	Properties   Value  // a map; nil for none
}

// Append implements Performative.
func (p *Open) Append(b []byte) []byte {
	b, l := begin(b, CodeOpen)
	b = AppendString(b, p.ContainerID)
	b = appendText(b, p.HostName)
	if p.MaxFrameSize == 0 {
		b = append(b, tNull)
	} else {
		b = AppendUint(b, p.MaxFrameSize)
	}
	b = AppendUshort(b, p.ChannelMax)
	b = p.IdleTimeOut.append(b)
	b = appendNulls(b, 4) // locales and capabilities
	b = AppendValue(b, p.Properties)
	return EndList(b, l, 10)
}

// Decode reads the fields of an open.
func (p *Open) Decode(list Value) error {
	f := fieldsOf("open", list)
	v := f.of("container-id", String)
	if v == nil {
		f.missing("container-id")
	}
	p.ContainerID = string(v.Bytes())
	p.HostName = string(f.text("hostname"))
	p.MaxFrameSize = f.uintOr("max-frame-size", noMost)
	var ok bool
	if p.ChannelMax, ok = f.ushort("channel-max"); !ok {
		p.ChannelMax = noMostChan
	}
	p.IdleTimeOut = f.uint("idle-time-out")
	for range 4 {
		f.next()
	}
	p.Properties = f.mapping("properties")
	return f.done()
}

// Begin begins a session.
type Begin struct {
	RemoteChannel  uint16 // of the peer's begin, when HasRemote
	HasRemote      bool   // this one answers that
	NextOutgoingID uint32 // of the first transfer
	IncomingWindow uint32 // transfers that the peer may send
	OutgoingWindow uint32 // transfers that will be sent at most
	HandleMax      uint32 // the highest handle; none is read as 4294967295
}

// Append implements Performative.
func (p *Begin) Append(b []byte) []byte {
	b, l := begin(b, CodeBegin)
	if p.HasRemote {
		b = AppendUshort(b, p.RemoteChannel)
	} else {
		b = append(b, tNull)
	}
	b = AppendUint(b, p.NextOutgoingID)
	b = AppendUint(b, p.IncomingWindow)
	b = AppendUint(b, p.OutgoingWindow)
	b = AppendUint(b, p.HandleMax)
	b = appendNulls(b, 3) // capabilities and properties
	return EndList(b, l, 8)
}

// Decode reads the fields of a begin.
func (p *Begin) Decode(list Value) error {
	f := fieldsOf("begin", list)
	p.RemoteChannel, p.HasRemote = f.ushort("remote-channel")
	p.NextOutgoingID = f.mustUint("next-outgoing-id")
	p.IncomingWindow = f.mustUint("incoming-window")
	p.OutgoingWindow = f.mustUint("outgoing-window")
	p.HandleMax = f.uintOr("handle-max", noMost)
	f.next()
	f.next()
	f.mapping("properties")
	return f.done()
}

// Roles of a link's end, and of who sends a disposition.
const (
	RoleSender   = false
	RoleReceiver = true
)

// Settle modes of senders, and of receivers.
const (
	SenderUnsettled = 0
	SenderSettled   = 1
	SenderMixed     = 2 // the usual one

	ReceiverFirst  = 0 // settles what it gets; the usual one
	ReceiverSecond = 1 // settles after the sender has
)

// ModeUnset is that of an attach that names none, and writes none.
const ModeUnset = 0xff

// Attach attaches a link.
type Attach struct {
	Name                 []byte // required, text
	Handle               uint32
	Role                 bool   // RoleSender or RoleReceiver
	SndSettleMode        uint8  // ModeUnset for none
	RcvSettleMode        uint8  // ModeUnset for none
	HasSource, HasTarget bool   // there is one; without them an attach is refused
	Source               Source // when HasSource
	Target               Target // when HasTarget
	InitialDeliveryCount Uint32 // of a sender, who must have one
	MaxMessageSize       uint64 // bytes; 0 for no limit
	Properties           Value  // a map; nil for none
}

// Append implements Performative. It writes no unsettled map.
func (p *Attach) Append(b []byte) []byte {
	b, l := begin(b, CodeAttach)
	b = appendLength(b, tString8, len(p.Name))
	b = append(b, p.Name...)
	b = AppendUint(b, p.Handle)
	b = AppendBool(b, p.Role)
	b = appendMode(b, p.SndSettleMode)
	b = appendMode(b, p.RcvSettleMode)
	if p.HasSource {
		b = p.Source.append(b)
	} else {
		b = append(b, tNull)
	}
	if p.HasTarget {
		b = p.Target.append(b)
	} else {
		b = append(b, tNull)
	}
	b = append(b, tNull, tFalse) // unsettled, incomplete-unsettled
	b = p.InitialDeliveryCount.append(b)
	if p.MaxMessageSize == 0 {
		b = append(b, tNull)
	} else {
		b = AppendUlong(b, p.MaxMessageSize)
	}
	b = appendNulls(b, 2) // capabilities
	b = AppendValue(b, p.Properties)
	return EndList(b, l, 14)
}

func appendMode(b []byte, mode uint8) []byte {
	if mode == ModeUnset {
		return append(b, tNull)
	}
	return AppendUbyte(b, mode)
}

// Decode reads the fields of an attach.
func (p *Attach) Decode(list Value) error {
	f := fieldsOf("attach", list)
	name := f.of("name", String)
	if name == nil {
		f.missing("name")
	}
	p.Name = name.Bytes()
	p.Handle = f.mustUint("handle")
	p.Role = f.mustBool("role")
	p.SndSettleMode = f.ubyte("snd-settle-mode", SenderMixed, ModeUnset)
	p.RcvSettleMode = f.ubyte("rcv-settle-mode", ReceiverSecond, ModeUnset)
	source := f.list("source", codeSource)
	if p.HasSource = source != nil; p.HasSource && f.err == nil {
		f.err = p.Source.decode(source)
	}
	target := f.next() // of transactions there is another kind, which nobody here coordinates
	if p.HasTarget = target != nil; p.HasTarget && f.err == nil {
		f.err = p.Target.decode(target)
	}
	f.mapping("unsettled")
	f.bool("incomplete-unsettled")
	p.InitialDeliveryCount = f.uint("initial-delivery-count")
	if sends := !p.Role; sends && !p.InitialDeliveryCount.Set && (p.HasSource || p.HasTarget) { // one that refuses may do without
		f.missing("initial-delivery-count")
	}
	p.MaxMessageSize = f.ulong("max-message-size")
	f.next()
	f.next()
	p.Properties = f.mapping("properties")
	return f.done()
}

// Source and Target are the ends of a link (part 3, section 3.5).
type Source struct {
	Address Value // a string; nil for none
	Filter  Value // a map; nil for none
	Dynamic bool  // read only: the peer is to make one up
}

const (
	codeError  = 0x1d
	codeSource = 0x28
	codeTarget = 0x29
)

func (s *Source) append(b []byte) []byte {
	b, l := begin(b, codeSource)
	b = AppendValue(b, s.Address)
	b = appendNulls(b, 3)
	b = append(b, tFalse)
	b = appendNulls(b, 2)
	b = AppendValue(b, s.Filter)
	b = appendNulls(b, 3)
	return EndList(b, l, 11)
}

func (s *Source) decode(list Value) error {
	f := fieldsOf("source", list)
	s.Address = f.next()
	f.uint("durable")
	f.of("expiry-policy", Symbol)
	f.uint("timeout")
	s.Dynamic = f.bool("dynamic")
	f.mapping("dynamic-node-properties")
	f.of("distribution-mode", Symbol)
	s.Filter = f.mapping("filter")
	f.next()
	f.next()
	f.next()
	return f.done()
}

// Target is where a link ends.
type Target struct {
	Address     Value // a string; nil for none
	Dynamic     bool  // read only: the peer is to make one up
	Coordinator bool  // read only: it is of transactions, and no target (part 4)
}

func (t *Target) append(b []byte) []byte {
	b, l := begin(b, codeTarget)
	b = AppendValue(b, t.Address)
	b = appendNulls(b, 3)
	b = append(b, tFalse)
	b = appendNulls(b, 2)
	return EndList(b, l, 7)
}

// codeCoordinator is the target of transactions.
const codeCoordinator = 0x30

func (t *Target) decode(v Value) error {
	descriptor, list, ok := v.Describe()
	code, known := codeOf(descriptor)
	switch {
	case ok && descriptor.Is("amqp:coordinator:list"), known && code == codeCoordinator:
		t.Coordinator = true
		return nil
	case !known || code != codeTarget || list.Kind() != List:
		return malformed("attach: target is not what the standard defines")
	}
	f := fieldsOf("target", list)
	t.Address = f.next()
	f.uint("durable")
	f.of("expiry-policy", Symbol)
	f.uint("timeout")
	t.Dynamic = f.bool("dynamic")
	f.mapping("dynamic-node-properties")
	f.next()
	return f.done()
}

// Flow is the state of a session, and with a handle that of a link.
type Flow struct {
	NextIncomingID Uint32
	IncomingWindow uint32
	NextOutgoingID uint32
	OutgoingWindow uint32
	Handle         Uint32 // the following fields have a meaning with it
	DeliveryCount  Uint32
	LinkCredit     Uint32
	Available      Uint32
	Drain          bool
	Echo           bool // the peer is to send one back
}

// Append implements Performative.
func (p *Flow) Append(b []byte) []byte {
	b, l := begin(b, CodeFlow)
	b = p.NextIncomingID.append(b)
	b = AppendUint(b, p.IncomingWindow)
	b = AppendUint(b, p.NextOutgoingID)
	b = AppendUint(b, p.OutgoingWindow)
	b = p.Handle.append(b)
	b = p.DeliveryCount.append(b)
	b = p.LinkCredit.append(b)
	b = p.Available.append(b)
	b = AppendBool(b, p.Drain)
	b = AppendBool(b, p.Echo)
	b = append(b, tNull)
	return EndList(b, l, 11)
}

// Decode reads the fields of a flow.
func (p *Flow) Decode(list Value) error {
	f := fieldsOf("flow", list)
	p.NextIncomingID = f.uint("next-incoming-id")
	p.IncomingWindow = f.mustUint("incoming-window")
	p.NextOutgoingID = f.mustUint("next-outgoing-id")
	p.OutgoingWindow = f.mustUint("outgoing-window")
	p.Handle = f.uint("handle")
	p.DeliveryCount = f.uint("delivery-count")
	p.LinkCredit = f.uint("link-credit")
	p.Available = f.uint("available")
	p.Drain = f.bool("drain")
	p.Echo = f.bool("echo")
	f.mapping("properties")
	return f.done()
}

// Window is how many transfers whoever sent the flow takes now, of a peer whose next one is next: what is under way counts too. One that
// has seen none yet, and therefore names none, counts from first.
func (p *Flow) Window(first, next uint32) uint32 {
	if p.NextIncomingID.Set {
		first = p.NextIncomingID.V
	}
	return left(p.IncomingWindow, next-first)
}

// Credit is how many deliveries whoever sent the flow takes now on its link, of a peer that has sent count, from 0.
func (p *Flow) Credit(count uint32) uint32 { return left(p.LinkCredit.V, count-p.DeliveryCount.V) }

// left is what remains of a window or a credit when so many that it counts are under way: a difference of serial numbers (RFC 1982), of
// which a negative one is of a peer that counts ahead.
func left(granted, underWay uint32) uint32 {
	if int32(underWay) < 0 {
		underWay = 0
	}
	return granted - min(granted, underWay)
}

// Transfer carries a delivery, or a part of one.
type Transfer struct {
	Handle        uint32
	DeliveryID    Uint32 // of its first frame, who must have one
	DeliveryTag   []byte // likewise; nil for none
	MessageFormat Uint32 // of its first frame; 0 when missing
	Settled       bool   // in any of its frames
	More          bool   // another frame follows
	State         State  // of the delivery; none when its Code is 0
	Aborted       bool   // what came of the delivery is to be forgotten
}

// Append implements Performative.
func (p *Transfer) Append(b []byte) []byte {
	b, l := begin(b, CodeTransfer)
	b = AppendUint(b, p.Handle)
	b = p.DeliveryID.append(b)
	b = appendBytes(b, p.DeliveryTag)
	b = p.MessageFormat.append(b)
	b = AppendBool(b, p.Settled)
	b = AppendBool(b, p.More)
	b = append(b, tNull) // rcv-settle-mode
	b = p.State.append(b)
	b = append(b, tNull) // resume
	b = AppendBool(b, p.Aborted)
	b = append(b, tFalse) // batchable
	return EndList(b, l, 11)
}

// maxTag is the longest delivery tag, in bytes (part 2, section 2.8.7).
const maxTag = 32

// Decode reads the fields of a transfer.
func (p *Transfer) Decode(list Value) error {
	f := fieldsOf("transfer", list)
	p.Handle = f.mustUint("handle")
	p.DeliveryID = f.uint("delivery-id")
	p.DeliveryTag = f.bytes("delivery-tag")
	if len(p.DeliveryTag) > maxTag && f.err == nil {
		f.err = malformed("transfer: a delivery-tag of %d bytes; at most %d are allowed", len(p.DeliveryTag), maxTag)
	}
	p.MessageFormat = f.uint("message-format")
	p.Settled = f.bool("settled")
	p.More = f.bool("more")
	f.ubyte("rcv-settle-mode", ReceiverSecond, ModeUnset)
	p.State = f.state("state")
	f.bool("resume")
	p.Aborted = f.bool("aborted")
	f.bool("batchable")
	return f.done()
}

// Disposition says what became of deliveries.
type Disposition struct {
	Role    bool // of who sends it: RoleReceiver of deliveries that it got
	First   uint32
	Last    Uint32 // First when missing
	Settled bool
	State   State // none when its Code is 0
}

// Append implements Performative.
func (p *Disposition) Append(b []byte) []byte {
	b, l := begin(b, CodeDisposition)
	b = AppendBool(b, p.Role)
	b = AppendUint(b, p.First)
	b = p.Last.append(b)
	b = AppendBool(b, p.Settled)
	b = p.State.append(b)
	b = append(b, tNull) // batchable
	return EndList(b, l, 6)
}

// Decode reads the fields of a disposition.
func (p *Disposition) Decode(list Value) error {
	f := fieldsOf("disposition", list)
	p.Role = f.mustBool("role")
	p.First = f.mustUint("first")
	p.Last = f.uint("last")
	p.Settled = f.bool("settled")
	p.State = f.state("state")
	f.bool("batchable")
	return f.done()
}

// Detach detaches a link.
type Detach struct {
	Handle uint32
	Closed bool   // for good
	Error  *Error // nil for none
}

// Append implements Performative.
func (p *Detach) Append(b []byte) []byte {
	b, l := begin(b, CodeDetach)
	b = AppendUint(b, p.Handle)
	b = AppendBool(b, p.Closed)
	b = p.Error.append(b)
	return EndList(b, l, 3)
}

// Decode reads the fields of a detach.
func (p *Detach) Decode(list Value) error {
	f := fieldsOf("detach", list)
	p.Handle = f.mustUint("handle")
	p.Closed = f.bool("closed")
	p.Error = f.failure("error")
	return f.done()
}

// End ends a session.
type End struct {
	Error *Error // nil for none
}

// Append implements Performative.
func (p *End) Append(b []byte) []byte { return appendFailure(b, CodeEnd, p.Error) }

// Decode reads the fields of an end.
func (p *End) Decode(list Value) (err error) {
	p.Error, err = decodeFailure("end", list)
	return err
}

// Close ends a connection.
type Close struct {
	Error *Error // nil for none
}

// Append implements Performative.
func (p *Close) Append(b []byte) []byte { return appendFailure(b, CodeClose, p.Error) }

// Decode reads the fields of a close.
func (p *Close) Decode(list Value) (err error) {
	p.Error, err = decodeFailure("close", list)
	return err
}

func appendFailure(b []byte, code byte, e *Error) []byte {
	b, l := begin(b, code)
	return EndList(e.append(b), l, 1)
}

func decodeFailure(what string, list Value) (*Error, error) {
	f := fieldsOf(what, list)
	e := f.failure("error")
	return e, f.done()
}
