// Package mark marks the payloads of messages whose deliveries are measured, so that who gets one knows which it is.
package mark

import (
	"bytes"
	"strconv"
)

// member begins a payload whose deliveries are measured: the reserved member comes first, so that a
// subscriber finds it without reading the rest. It names the run, the publisher and its message,
//
//	{"_delivery":"q7f3k-17-42","temperature":21.3}
//
// and no time: both ends are in one process, whose clock the publisher's entry holds.
const member = `{"_delivery":"`

// Stamp marks a payload, a JSON object, as the message of a device at a turn. The run ends with a hyphen, or is empty.
func Stamp(body, run []byte, device int, turn int64) []byte {
	out := make([]byte, 0, len(member)+40+len(body))
	out = append(out, member...)
	out = append(out, run...)
	out = strconv.AppendInt(out, int64(device), 10)
	out = append(out, '-')
	out = strconv.AppendInt(out, turn, 10)
	out = append(out, '"')
	rest := bytes.TrimLeft(body[1:], " \t\r\n")
	if rest[0] != '}' {
		out = append(out, ',')
	}
	return append(out, rest...)
}

// Size is how many bytes Stamp adds to an object that has members.
func Size(run []byte, device int, turn int64) int {
	var digits [40]byte
	return len(member) - 1 + len(run) + len(strconv.AppendInt(digits[:0], int64(device), 10)) + 1 + len(strconv.AppendInt(digits[:0], turn, 10)) + len(`",`)
}

// Read is the device and the turn of a payload; ok is false when it has no mark of the run, which is as Stamp writes it.
func Read(body, run []byte) (device int, turn int64, ok bool) {
	rest, ok := bytes.CutPrefix(body, []byte(member))
	if ok {
		rest, ok = bytes.CutPrefix(rest, run)
	}
	if !ok {
		return 0, 0, false
	}
	rest = rest[:min(len(rest), 40)]
	first, rest, ok := bytes.Cut(rest, []byte{'-'})
	second, _, closed := bytes.Cut(rest, []byte{'"'})
	if !ok || !closed {
		return 0, 0, false
	}
	device, err1 := strconv.Atoi(string(first))
	turn, err2 := strconv.ParseInt(string(second), 10, 64)
	return device, turn, err1 == nil && err2 == nil
}
