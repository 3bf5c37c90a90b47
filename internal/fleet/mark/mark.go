// Package mark marks messages whose deliveries are measured, so that who gets one knows which it is.
package mark

import (
	"bytes"
	"strconv"
)

// Member is the name of the mark: of the reserved member of a payload that is a JSON object, and of the user property of any other
// (MQTT 5).
const Member = "_delivery"

// member begins a payload whose deliveries are measured: the reserved member comes first, so that a
// subscriber finds it without reading the rest. It names the run, the publisher and its message, and of
// kinds of messages that have a name the kind,
//
//	{"_delivery":"q7f3k-17-42","temperature":21.3}
//	{"_delivery":"q7f3k-17.1-42","temperature":21.3}
//
// and no time: the publisher's entry holds it, by the clock of its process. Both ends are in one, but on agents (docs/agents.md, Deliveries).
const member = `{"` + Member + `":"`

// longest is how long what follows the run may be, with the quote behind it: three numbers of 19 digits.
const longest = 3*19 + 3

// Mark is which message it is.
type Mark struct {
	Device int   // who sent it: its index in the fleet
	Kind   int   // of its group's messages; 0 is the one without a name
	Turn   int64 // of the device and the kind, from 0
}

// Stamp marks a payload, a JSON object. The run ends with a hyphen, or is empty.
func Stamp(body, run []byte, m Mark) []byte {
	out := make([]byte, 0, len(member)+len(run)+longest+len(body))
	out = append(out, member...)
	out = Append(out, run, m)
	out = append(out, '"')
	rest := bytes.TrimLeft(body[1:], " \t\r\n")
	if rest[0] != '}' {
		out = append(out, ',')
	}
	return append(out, rest...)
}

// Size is how many bytes Stamp adds to an object that has members.
func Size(run []byte, m Mark) int { return len(member) - 1 + len(Append(nil, run, m)) + len(`",`) }

// Append appends the text of a mark, which is the value of the member and of the user property.
func Append(out, run []byte, m Mark) []byte {
	out = append(out, run...)
	out = strconv.AppendInt(out, int64(m.Device), 10)
	if m.Kind != 0 {
		out = append(out, '.')
		out = strconv.AppendInt(out, int64(m.Kind), 10)
	}
	out = append(out, '-')
	return strconv.AppendInt(out, m.Turn, 10)
}

// Text is a mark as a user property has it.
func Text(run []byte, m Mark) string { return string(Append(nil, run, m)) }

// Read is the mark of a payload; ok is false when it has none of the run, which is as Stamp writes it.
func Read(body, run []byte) (m Mark, ok bool) {
	rest, ok := bytes.CutPrefix(body, []byte(member))
	if !ok {
		return Mark{}, false
	}
	text, _, closed := bytes.Cut(rest[:min(len(rest), len(run)+longest)], []byte{'"'})
	if !closed {
		return Mark{}, false
	}
	return read(text, run)
}

// ReadText is the mark that a user property has; ok is false when it is none of the run, which is as Text writes it.
func ReadText(text string, run []byte) (m Mark, ok bool) {
	if len(text) > len(run)+longest {
		return Mark{}, false
	}
	return read([]byte(text), run)
}

func read(text, run []byte) (m Mark, ok bool) {
	text, ok = bytes.CutPrefix(text, run)
	if !ok {
		return Mark{}, false
	}
	who, turn, ok := bytes.Cut(text, []byte{'-'})
	if !ok {
		return Mark{}, false
	}
	who, kind, named := bytes.Cut(who, []byte{'.'})
	if m.Device, ok = number(who); !ok {
		return Mark{}, false
	}
	if named {
		if m.Kind, ok = number(kind); !ok || m.Kind == 0 {
			return Mark{}, false
		}
	}
	n, ok := number(turn)
	m.Turn = int64(n)
	if !ok {
		return Mark{}, false
	}
	return m, true
}

// number reads one as Append writes it, and no other way.
func number(text []byte) (n int, ok bool) {
	if len(text) == 0 || len(text) > 1 && text[0] == '0' || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.Atoi(string(text))
	return n, err == nil
}
