package amqp_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

// native is a value as the other codec has it.
func native(v amqp.Value) any {
	switch v.Kind() {
	case amqp.Bool:
		b, _ := v.Bool()
		return b
	case amqp.Ubyte, amqp.Ushort, amqp.Uint, amqp.Ulong:
		n, _ := v.Uint()
		return map[amqp.Kind]any{amqp.Ubyte: uint8(n), amqp.Ushort: uint16(n), amqp.Uint: uint32(n), amqp.Ulong: n}[v.Kind()]
	case amqp.Byte, amqp.Short, amqp.Int, amqp.Long:
		n, _ := v.Int()
		return map[amqp.Kind]any{amqp.Byte: int8(n), amqp.Short: int16(n), amqp.Int: int32(n), amqp.Long: n}[v.Kind()]
	case amqp.Float:
		f, _ := v.Float()
		return float32(f)
	case amqp.Double:
		f, _ := v.Float()
		return f
	case amqp.Timestamp:
		t, _ := v.Time()
		return t
	case amqp.UUID:
		id, _ := v.UUID()
		return goamqp.UUID(id)
	case amqp.Binary:
		return v.Bytes()
	case amqp.String:
		s, _ := v.Text()
		return s
	case amqp.Symbol:
		s, _ := v.Text()
		return goamqp.Symbol(s)
	default:
		return nil
	}
}

// normal makes what both codecs say of a value comparable.
func normal(v any) string {
	switch x := v.(type) {
	case time.Time:
		return fmt.Sprint("time ", x.UnixMilli())
	case []byte:
		return "bytes " + hex.EncodeToString(x)
	case float32:
		return fmt.Sprintf("float32 %x", math.Float32bits(x))
	case float64:
		return fmt.Sprintf("float64 %x", math.Float64bits(x))
	case int:
		return fmt.Sprintf("int64 %d", x)
	}
	return fmt.Sprintf("%T %v", v, v)
}

// scalars draws values that a map of properties may hold.
func scalars() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.Bool().AsAny(), rapid.Byte().AsAny(), rapid.Uint16().AsAny(), rapid.Uint32().AsAny(), rapid.Uint64().AsAny(),
		rapid.Int8().AsAny(), rapid.Int16().AsAny(), rapid.Int32().AsAny(), rapid.Int64().AsAny(), rapid.Float32().AsAny(), rapid.Float64().AsAny(),
		rapid.Map(rapid.String(), func(s string) string { return strings.ToValidUTF8(s, "") }).AsAny(),
		rapid.SliceOfN(rapid.Byte(), 0, 400).AsAny(),
		rapid.Map(rapid.StringMatching(`[a-z-]{0,300}`), func(s string) goamqp.Symbol { return goamqp.Symbol(s) }).AsAny(),
		rapid.Map(rapid.Int64Range(-1<<45, 1<<45), func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }).AsAny(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) goamqp.UUID { return goamqp.UUID(b) }).AsAny(),
	)
}

// Messages that Microsoft's Go client writes are read as it meant them.
func TestReadsGoAMQP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := rapid.MapOfN(rapid.StringMatching(`[A-Za-z$.-]{1,20}`), scalars(), 0, 5).Draw(t, "application")
		notes := rapid.MapOfN(rapid.StringMatching(`x-opt-[a-z]{1,10}`), scalars(), 0, 3).Draw(t, "annotations")
		data := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 3).Draw(t, "data")
		subject, kind, group := "s", "application/json", uint32(7)
		expiry := time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "expiry")).UTC()
		id := rapid.OneOf(
			rapid.Just[any]("id"), rapid.Uint64().AsAny(), rapid.SliceOfN(rapid.Byte(), 1, 9).AsAny(), rapid.Just[any](goamqp.UUID{1, 2, 15: 9}),
		).Draw(t, "id")
		in := goamqp.Message{
			Header: &goamqp.MessageHeader{Durable: true, Priority: 4, TTL: time.Minute, DeliveryCount: 3}, Annotations: goamqp.Annotations{},
			ApplicationProperties: app, Data: data,
			Properties: &goamqp.MessageProperties{
				MessageID: id, CorrelationID: id, UserID: []byte("u"), Subject: &subject, ContentType: &kind, AbsoluteExpiryTime: &expiry, GroupSequence: &group,
			},
		}
		for k, v := range notes {
			in.Annotations[k] = v
		}
		b, err := in.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		m, err := amqp.ParseMessage(b)
		if err != nil {
			t.Fatalf("%v\n%x", err, b)
		}
		for k, v := range app {
			if got := m.Application.Get(k); normal(native(got)) != normal(v) {
				t.Errorf("%s: %v, want %v", k, normal(native(got)), normal(v))
			}
		}
		for k, v := range notes {
			if got := m.Annotations.Get(k); normal(native(got)) != normal(v) {
				t.Errorf("%s: %v, want %v", k, normal(native(got)), normal(v))
			}
		}
		payload, ok := m.Payload()
		if !ok || !bytes.Equal(payload, bytes.Join(data, nil)) {
			t.Errorf("payload %x, want %x", payload, data)
		}
		p := m.Properties
		if normal(native(p.MessageID)) != normal(id) || normal(native(p.CorrelationID)) != normal(id) || string(p.UserID) != "u" || p.Subject != subject ||
			p.ContentType != kind || !p.AbsoluteExpiryTime.Equal(expiry) || p.GroupSequence != amqp.Some(group) {
			t.Errorf("%+v", p)
		}
		if !m.Durable || m.TTL != amqp.Some(60_000) || m.DeliveryCount != 3 {
			t.Errorf("header: %+v", m)
		}
	})
}

// Messages that are written here Microsoft's Go client reads as they were meant.
func TestGoAMQPReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,9}`), rapid.StringMatching(`[ -~é]{0,300}`), 0, 300).Draw(t, "application")
		n, u, ms := rapid.Int64().Draw(t, "long"), rapid.Uint64().Draw(t, "ulong"), rapid.Int64Range(0, 1<<42).Draw(t, "time")
		i32 := rapid.Int32().Draw(t, "int")
		data := rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "data")
		at := time.UnixMilli(ms)

		b, start := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
		b = amqp.AppendLong(amqp.AppendSymbol(b, "n"), n)
		b = amqp.AppendUlong(amqp.AppendSymbol(b, "u"), u)
		b = amqp.AppendInt(amqp.AppendSymbol(b, "i"), i32)
		b = amqp.AppendTime(amqp.AppendSymbol(b, "t"), at)
		b = amqp.AppendUbyte(amqp.AppendSymbol(b, "c"), 7)
		b = amqp.EndMap(b, start, 5)
		b = amqp.AppendProperties(b, &amqp.Properties{
			MessageID: amqp.AppendUUID(nil, [16]byte{1, 15: 2}), To: amqp.AppendString(nil, "/devices/x"), ContentType: "a/b", ContentEncoding: "utf-8", CreationTime: at,
		})
		b, start = amqp.BeginSection(b, amqp.SectionApplicationProperties)
		for k, v := range texts {
			b = amqp.AppendString(amqp.AppendString(b, k), v)
		}
		b = amqp.EndMap(b, start, len(texts))
		b = amqp.AppendData(b, data)

		var m goamqp.Message
		if err := m.UnmarshalBinary(b); err != nil {
			t.Fatalf("%v\n%x", err, b)
		}
		if len(m.ApplicationProperties) != len(texts) {
			t.Errorf("%d properties of %d", len(m.ApplicationProperties), len(texts))
		}
		for k, v := range texts {
			if m.ApplicationProperties[k] != v {
				t.Errorf("%s: %q, want %q", k, m.ApplicationProperties[k], v)
			}
		}
		want := goamqp.Annotations{"n": n, "u": u, "i": i32, "c": uint8(7)}
		for k, v := range want {
			if !reflect.DeepEqual(m.Annotations[k], v) {
				t.Errorf("%s: %T %v, want %v", k, m.Annotations[k], m.Annotations[k], v)
			}
		}
		if got, ok := m.Annotations["t"].(time.Time); !ok || got.UnixMilli() != ms {
			t.Errorf("time: %v", m.Annotations["t"])
		}
		p := m.Properties
		if p == nil || p.MessageID != (goamqp.UUID{1, 15: 2}) || *p.To != "/devices/x" || *p.ContentType != "a/b" || p.CreationTime.UnixMilli() != ms || !bytes.Equal(m.GetData(), data) {
			t.Errorf("%+v", p)
		}
	})
}

// Whatever both codecs read they read alike; and what this one takes for a message it reads without a panic, all of it.
func FuzzMessage(f *testing.F) {
	f.Add(amqp.AppendData(amqp.AppendProperties(nil, &amqp.Properties{MessageID: amqp.AppendString(nil, "x")}), []byte("body")))
	b, start := amqp.BeginSection(nil, amqp.SectionApplicationProperties)
	f.Add(amqp.EndMap(amqp.AppendString(amqp.AppendString(b, "k"), "v"), start, 1))
	f.Add([]byte("\x00\x53\x75\xa0\x01a\x00\x53\x75\xa0\x01b"))
	f.Add([]byte("\x00\x53\x77\xc1\x07\x04\xa1\x01a\x43\x44\x45"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := amqp.ParseMessage(b)
		if err != nil {
			return
		}
		walk(amqp.Value(m.Application))
		walk(amqp.Value(m.Annotations))
		walk(m.Value)
		payload, _ := m.Payload()
		var other goamqp.Message
		if err := unmarshal(&other, b); err != nil {
			return
		}
		if m.Value == nil && !m.Sequence && !bytes.Equal(payload, bytes.Join(other.Data, nil)) {
			t.Errorf("%x: payload %x, the other says %x", b, payload, other.Data)
		}
		for k, v := range m.Application.Pairs() {
			key, ok := k.Text()
			mine := native(v)
			if _, symbol := mine.(goamqp.Symbol); symbol { // a string to the other
				mine, _ = v.Text()
			}
			if !ok || mine == nil || m.Application.Len() != 2*len(other.ApplicationProperties) { // a key twice is nobody's business
				continue
			}
			if theirs := other.ApplicationProperties[key]; normal(mine) != normal(theirs) {
				t.Errorf("%x: %q is %v, the other says %v", b, key, normal(mine), normal(theirs))
			}
		}
	})
}

// unmarshal reads with the other codec, which panics at keys that are lists.
func unmarshal(m *goamqp.Message, b []byte) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("it panics: %v", x)
		}
	}()
	return m.UnmarshalBinary(bytes.Clone(b))
}

func walk(v amqp.Value) {
	if _, inner, ok := v.Describe(); ok {
		walk(inner)
	}
	for e := range v.Elements() {
		walk(e)
	}
	for k, e := range v.Pairs() {
		walk(k)
		walk(e)
	}
}

// What is read of any bytes has its bounds, and is written back as it was.
func FuzzFrame(f *testing.F) {
	f.Add(amqp.AppendFrame(nil, 1, &amqp.Attach{Name: []byte("n"), HasSource: true, HasTarget: true}, nil))
	f.Add(amqp.AppendFrame(nil, 0, &amqp.Open{ContainerID: "c"}, nil))
	f.Add(amqp.AppendFrame(nil, 0, &amqp.Transfer{DeliveryTag: []byte{1}}, []byte("x")))
	f.Add(amqp.AppendFrame(nil, 0, &amqp.Disposition{State: amqp.State{Code: amqp.Rejected, Error: &amqp.Error{Condition: "a"}}}, nil))
	f.Add(amqp.AppendSASL(nil, &amqp.Mechanisms{Names: []string{"A"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n, err := amqp.Cut(b, 1024)
		if err != nil || n == 0 {
			return
		}
		body, err := amqp.Parse(frame.Body)
		if err != nil {
			return
		}
		walk(body.Fields)
		p := performative(body.Code)
		if p == nil || p.Decode(body.Fields) != nil {
			return
		}
		written := amqp.AppendFrame(nil, frame.Channel, p, body.Payload)
		second, _, err := amqp.Cut(written, math.MaxUint32)
		if err != nil {
			t.Fatal(err)
		}
		body, err = amqp.Parse(second.Body)
		q := performative(body.Code)
		if err == nil {
			err = q.Decode(body.Fields)
		}
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%x\n%x", err, b, written)
		}
		if third := amqp.AppendFrame(nil, frame.Channel, q, body.Payload); !bytes.Equal(written, third) {
			t.Fatalf("read and written once more it is another:\n%x\n%x", written, third)
		}
	})
}

type decoder interface {
	amqp.Performative
	Decode(list amqp.Value) error
}

func performative(code byte) decoder {
	switch code {
	case amqp.CodeOpen:
		return &amqp.Open{}
	case amqp.CodeBegin:
		return &amqp.Begin{}
	case amqp.CodeAttach:
		return &amqp.Attach{}
	case amqp.CodeFlow:
		return &amqp.Flow{}
	case amqp.CodeTransfer:
		return &amqp.Transfer{}
	case amqp.CodeDisposition:
		return &amqp.Disposition{}
	case amqp.CodeDetach:
		return &amqp.Detach{}
	case amqp.CodeEnd:
		return &amqp.End{}
	case amqp.CodeClose:
		return &amqp.Close{}
	case amqp.CodeMechanisms:
		return &amqp.Mechanisms{}
	case amqp.CodeInit:
		return &amqp.Init{}
	case amqp.CodeOutcome:
		return &amqp.Outcome{}
	}
	return nil
}
