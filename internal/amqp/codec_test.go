package amqp

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"
)

func text(s string) Value { return AppendString(nil, s) }

// What is written is read back as it was, in lists of full length.
func TestPerformatives(t *testing.T) {
	type decoder interface {
		Performative
		Decode(list Value) error
	}
	m, l := BeginMap(nil)
	m = AppendString(AppendSymbol(m, "com.microsoft:client-version"), "test/1")
	m = EndMap(m, l, 1)
	failed := &Error{Condition: NotFound, Description: "no such device", Info: m}
	for _, p := range []decoder{
		&Open{ContainerID: "c", HostName: "h", MaxFrameSize: 65536, ChannelMax: 8191, IdleTimeOut: Some(240000), Properties: m},
		&Open{ContainerID: "c", MaxFrameSize: noMost, ChannelMax: noMostChan},
		&Begin{RemoteChannel: 3, HasRemote: true, NextOutgoingID: 1, IncomingWindow: 5000, OutgoingWindow: noMost, HandleMax: 262143},
		&Begin{NextOutgoingID: 0, IncomingWindow: 1, OutgoingWindow: 2, HandleMax: 255},
		&Attach{
			Name: []byte("l"), Handle: 2, Role: RoleReceiver, SndSettleMode: SenderSettled, RcvSettleMode: ModeUnset, HasSource: true, HasTarget: true,
			Source: Source{Address: text("/a"), Filter: m}, Target: Target{Address: text("/b")}, MaxMessageSize: 1 << 20, Properties: m,
		},
		&Attach{Name: []byte("l"), Role: RoleSender, SndSettleMode: ModeUnset, RcvSettleMode: ReceiverSecond, InitialDeliveryCount: Some(0)},
		&Flow{NextIncomingID: Some(1), IncomingWindow: 5000, NextOutgoingID: 7, OutgoingWindow: 5000},
		&Flow{
			NextIncomingID: Some(0), IncomingWindow: 5000, NextOutgoingID: 300, OutgoingWindow: noMost, Handle: Some(0), DeliveryCount: Some(5),
			LinkCredit: Some(1000), Available: Some(0), Drain: true, Echo: true,
		},
		&Transfer{Handle: 1, DeliveryID: Some(4), DeliveryTag: bytes.Repeat([]byte{9}, 16), MessageFormat: Some(FormatBatch), More: true},
		&Transfer{Handle: 1, Settled: true, State: State{Code: Accepted}, Aborted: true},
		&Disposition{Role: RoleReceiver, First: 1, Last: Some(4), Settled: true, State: State{Code: Rejected, Error: failed}},
		&Disposition{First: 1, State: State{Code: Modified, DeliveryFailed: true, UndeliverableHere: true}},
		&Disposition{First: 1, State: State{Code: Released}},
		&Disposition{First: 1, State: State{Code: Received}},
		&Detach{Handle: 3, Closed: true, Error: failed},
		&End{}, &End{failed}, &Close{failed},
		&Mechanisms{[]string{"EXTERNAL", "MSSBCBS"}}, &Init{"PLAIN", []byte("\x00u\x00p"), "h"}, &Outcome{OutcomeOK, []byte("Welcome!")},
	} {
		b := AppendFrame(nil, 7, p, []byte("payload"))
		f, n, err := Cut(append(b, "more"...), 0)
		if err != nil || n != len(b) || f.Channel != 7 {
			t.Errorf("%T: %d bytes of %d, %v", p, n, len(b), err)
			continue
		}
		body, err := Parse(f.Body)
		got := reflect.New(reflect.TypeOf(p).Elem()).Interface().(decoder)
		if err == nil {
			err = got.Decode(body.Fields)
		}
		if err != nil || !reflect.DeepEqual(got, p) || string(body.Payload) != "payload" {
			t.Errorf("%T: %v\n got %+v\nwant %+v", p, err, got, p)
		}
		for cut := range b {
			if _, n, err := Cut(b[:cut], 0); n != 0 || err != nil {
				t.Errorf("%T cut at %d: %d, %v", p, cut, n, err)
			}
		}
	}
}

// A list may end before its last fields, and may name what it is by a symbol: rhea and others write so.
func TestShortAndNamed(t *testing.T) {
	b := append([]byte{tDescribed, tSymbol8, 14}, "amqp:open:list"...)
	b = append(b, tList8, 6, 1, tString8, 3, 'a', 'b', 'c')
	body, err := Parse(b)
	var p Open
	if err == nil {
		err = p.Decode(body.Fields)
	}
	if err != nil || body.Code != CodeOpen || p.ContainerID != "abc" || p.MaxFrameSize != noMost || p.ChannelMax != noMostChan || p.IdleTimeOut.Set {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestMalformed(t *testing.T) {
	deep := bytes.Repeat([]byte{tDescribed}, 100)
	lists := []byte{tList0}
	for range 20 {
		lists = append([]byte{tList8, byte(len(lists) + 1), 1}, lists...)
	}
	for name, b := range map[string][]byte{
		"nothing":                      {},
		"no constructor":               {0x00},
		"unknown constructor":          {0x99},
		"uint cut short":               {tUint, 0, 0},
		"string longer than there is":  {tString8, 5, 'a'},
		"size of four gigabytes":       {tBinary32, 0xff, 0xff, 0xff, 0xff, 1},
		"count of four billion":        {tList32, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff},
		"list with bytes left over":    {tList8, 3, 1, tNull, tNull},
		"list without a count":         {tList8, 0},
		"map of three":                 {tMap8, 4, 3, tNull, tNull, tNull},
		"array of nothing":             {tArray8, 1, 0},
		"array of four billion nulls":  {tArray32, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, tNull},
		"array of truths":              {tArray8, 4, 2, tBool, 1, 2},
		"boolean of two":               {tBool, 2},
		"string that is no UTF-8":      {tString8, 1, 0xff},
		"symbol that is no ASCII":      {tSymbol8, 1, 0x80},
		"descriptions without an end":  deep,
		"lists in lists":               lists,
		"array that describes forever": append([]byte{tArray8, 60, 1}, bytes.Repeat([]byte{tDescribed, tNull}, 40)...),
	} {
		if v, _, err := Read(b); !errors.Is(err, ErrDecode) {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

func TestFramesThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"of seven bytes":         {[]byte{0, 0, 0, 7, 2, 0, 0}, ErrDecode},
		"of a gigabyte":          {[]byte{0x40, 0, 0, 0}, ErrFrameSize},
		"whose body is outside":  {[]byte{0, 0, 0, 8, 3, 0, 0, 0}, ErrDecode},
		"with half a header":     {[]byte{0, 0, 0, 8, 1, 0, 0, 0}, ErrDecode},
		"of an unknown type":     {[]byte{0, 0, 0, 8, 2, 9, 0, 0}, ErrDecode},
		"that is HTTP":           {[]byte("GET / HTTP/1.1"), ErrFrameSize},
		"larger than was agreed": {AppendFrame(nil, 0, &Transfer{}, make([]byte, 64<<10)), ErrFrameSize},
	} {
		if _, _, err := Cut(c.b, 0); !errors.Is(err, c.want) {
			t.Errorf("a frame %s: %v", name, err)
		}
	}
	if f, n, err := Cut(AppendHeartbeat(nil), 0); err != nil || n != 8 || len(f.Body) != 0 {
		t.Errorf("a heartbeat: %d, %v", n, err)
	}
}

func TestValues(t *testing.T) {
	at := time.UnixMilli(1764300000123).UTC()
	var b []byte
	for _, n := range []int64{0, 1, -1, 127, 128, -128, -129, 1 << 40, -1 << 40} {
		v, rest, err := Read(AppendLong(nil, n))
		if got, ok := v.Int(); err != nil || len(rest) != 0 || !ok || got != n || v.Kind() != Long {
			t.Errorf("long %d: %d, %v", n, got, err)
		}
		if n >= -1<<31 && n < 1<<31 {
			v, _, _ = Read(AppendInt(nil, int32(n)))
			if got, ok := v.Int(); !ok || got != n || v.Kind() != Int {
				t.Errorf("int %d: %d", n, got)
			}
		}
		if n >= 0 {
			v, _, _ = Read(AppendUlong(nil, uint64(n)))
			if got, ok := v.Uint(); !ok || got != uint64(n) || v.Kind() != Ulong {
				t.Errorf("ulong %d: %d", n, got)
			}
		}
	}
	b = AppendSymbols(nil, "a", "bc")
	b = AppendTime(b, at)
	b = AppendUUID(b, [16]byte{1, 15: 2})
	v, b, _ := Read(b)
	var names []string
	for e := range v.Multiple() {
		s, _ := e.Text()
		names = append(names, s+"/"+e.Kind().String())
	}
	if !reflect.DeepEqual(names, []string{"a/symbol", "bc/symbol"}) {
		t.Errorf("symbols: %q", names)
	}
	v, b, _ = Read(b)
	if got, ok := v.Time(); !ok || !got.Equal(at) {
		t.Errorf("time: %v", got)
	}
	v, _, _ = Read(b)
	if got, ok := v.UUID(); !ok || got != [16]byte{1, 15: 2} {
		t.Errorf("uuid: %v", got)
	}
	big := make([]byte, 300)
	long, start := BeginList(nil)
	long = EndList(AppendBinary(long, big), start, 1)
	if v, rest, err := Read(long); err != nil || len(rest) != 0 || v.Len() != 1 {
		t.Errorf("a list of more than 255 bytes: %v", err)
	}
}

func TestMessageSections(t *testing.T) {
	b := AppendData(AppendData(AppendProperties(nil, &Properties{MessageID: text("m"), ContentType: "application/json"}), []byte("a")), []byte("b"))
	m, err := ParseMessage(b)
	payload, ok := m.Payload()
	if err != nil || !ok || string(payload) != "ab" || m.Properties.ContentType != "application/json" || !m.Properties.MessageID.Is("m") {
		t.Errorf("%+v, %q, %v", m, payload, err)
	}
	data := AppendData(nil, nil)
	for name, bad := range map[string][]byte{
		"data before properties":   AppendProperties(data, &Properties{}),
		"two properties":           AppendProperties(AppendProperties(nil, &Properties{}), &Properties{}),
		"data and a value":         AppendNull(AppendBody(data)),
		"no section":               {tNull},
		"data that is a string":    AppendString(AppendDescriptor(nil, SectionData), "x"),
		"a performative inside":    (&End{}).Append(nil),
		"annotations by list":      append(AppendDescriptor(nil, SectionMessageAnnotations), tMap8, 3, 2, tList0, tNull),
		"properties by number":     append(AppendDescriptor(nil, SectionApplicationProperties), tMap8, 3, 2, tUlong0, tNull),
		"a message id that is int": append(AppendDescriptor(nil, SectionProperties), tList8, 3, 1, tSmallInt, 1),
	} {
		if _, err := ParseMessage(bad); !errors.Is(err, ErrDecode) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A message goes in as many frames as it needs, and the first of them says of which delivery they are.
func TestAppendTransfer(t *testing.T) {
	for message, want := range map[string][]string{"": {""}, "abc": {"abc"}, "abcd": {"abc", "d"}, "abcdefg": {"abc", "def", "g"}} {
		x := Transfer{Handle: 1, DeliveryID: Some(4), DeliveryTag: []byte{9}, MessageFormat: Some(FormatMessage), Settled: true}
		rest := []byte(message)
		for i, part := range want {
			var b []byte
			b, rest = AppendTransfer(nil, 7, &x, rest, 3)
			f, n, err := Cut(b, 0)
			body, wrong := Parse(f.Body)
			var got Transfer
			if err := errors.Join(err, wrong, got.Decode(body.Fields)); err != nil || n != len(b) || f.Channel != 7 {
				t.Fatalf("%q: %v", message, err)
			}
			asked := Transfer{Handle: 1, Settled: true, More: i < len(want)-1}
			if i == 0 {
				asked.DeliveryID, asked.DeliveryTag, asked.MessageFormat = Some(4), []byte{9}, Some(FormatMessage)
			}
			if !reflect.DeepEqual(got, asked) || string(body.Payload) != part {
				t.Errorf("%q: frame %d is %+v with %q", message, i, got, body.Payload)
			}
		}
		if len(rest) > 0 {
			t.Errorf("%q: %q is left", message, rest)
		}
	}
}

// What is under way is no part of what is left of a window, or of credit: numbers begin anew after the highest, what was taken back leaves
// nothing, and the largest grant is one.
func TestWhatFlowsGrant(t *testing.T) {
	const most = 1<<32 - 1
	for _, c := range []struct{ seen, granted, sent, want uint32 }{
		{0, 10, 0, 10}, {0, 10, 4, 6}, {4, 10, 4, 10}, {0, 3, 4, 0}, {0, 0, 4, 0}, {0, most, 0, most}, {0, most, 4, most - 4}, {most, 10, 2, 7}, {5, 10, 4, 10},
	} {
		f := Flow{NextIncomingID: Some(c.seen), IncomingWindow: c.granted, DeliveryCount: Some(c.seen), LinkCredit: Some(c.granted)}
		if window, credit := f.Window(1, c.sent), f.Credit(c.sent); window != c.want || credit != c.want {
			t.Errorf("%+v: a window of %d, %d credit", c, window, credit)
		}
	}
	f := Flow{IncomingWindow: 10, LinkCredit: Some(10)}
	if window, credit := f.Window(1, 4), f.Credit(3); window != 7 || credit != 7 {
		t.Errorf("of a peer that has seen nothing: a window of %d, %d credit", window, credit)
	}
}

// Frames of every operation are read and written without allocating.
func TestAllocations(t *testing.T) {
	frame := func(p Performative) []byte { return AppendFrame(nil, 1, p, []byte("x")) }
	flow := frame(&Flow{NextIncomingID: Some(1), Handle: Some(1), LinkCredit: Some(1)})
	transfer := frame(&Transfer{DeliveryID: Some(1), DeliveryTag: []byte{1}, State: State{Code: Accepted}})
	disposition := frame(&Disposition{First: 1, State: State{Code: Accepted}})
	out := make([]byte, 0, 1024)
	n := testing.AllocsPerRun(100, func() {
		for _, b := range [][]byte{flow, transfer, disposition} {
			f, _, _ := Cut(b, 0)
			body, err := Parse(f.Body)
			if err != nil {
				t.Fatal(err)
			}
			switch body.Code {
			case CodeFlow:
				var p Flow
				err = p.Decode(body.Fields)
			case CodeTransfer:
				var p Transfer
				err = p.Decode(body.Fields)
			case CodeDisposition:
				var p Disposition
				err = p.Decode(body.Fields)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		b, start := BeginFrame(out, FrameAMQP, 1)
		p := Transfer{DeliveryID: Some(1)}
		_ = EndFrame(p.Append(b), start)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
