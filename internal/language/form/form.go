// Package form is what the values of a language look like when they are written: numbers with units, shares, names.
package form

import (
	"math"
	"strconv"
	"strings"
)

// Form is what a value looks like, as the reference names it.
type Form string

// The forms. Those of objects and lists say what stands in them elsewhere.
const (
	Text    Form = "text"
	Name    Form = "name"
	Count   Form = "whole number"
	CountOr Form = "whole number, or a word"
	Devices Form = "number of devices"
	Goals   Form = "number of devices, one by group, or a shape"
	Switch  Form = "true or false"
	Time    Form = "time"
	Times   Form = "random time"
	Gaps    Form = "time, or random gaps"
	Share   Form = "share"
	Rate    Form = "rate"
	OneRate Form = "rate that stays"
	Object  Form = "object"
	List    Form = "list"
	Weights Form = "weights"
	Any     Form = "any object"
	Map     Form = "object by name"
	Texts   Form = "list of texts"
	Bytes   Form = "bandwidth"
	Size    Form = "size"
	Content Form = "object, list or text"
	Bounds  Form = "thresholds by operation"

	TextsByName Form = "text by name"

	RateShape    Form = "rate, or a shape"
	RatePoints   Form = "list of times with rates"
	DevicePoints Form = "list of times with numbers of devices"
)

// aTime matches what time.ParseDuration reads.
const aTime = `([0-9.]+(ns|us|µs|ms|s|m|h))+`

// Pattern is a regular expression, of JSON Schema, that values of the form match; "" of a form that is no text.
func (f Form) Pattern() string {
	switch f {
	case Name:
		return "^[a-z0-9][a-z0-9-]{0,59}$"
	case Time:
		return "^" + aTime + "$"
	case Gaps:
		return `^(~?` + aTime + `|` + aTime + `\.\.` + aTime + `|exp\(.*\))$`
	case Times:
		return `^(~?` + aTime + `(\.\.` + aTime + `)?|exp\(.*\)|normal\(.*\))$`
	case Share:
		return `^[0-9.]+%$`
	case Rate:
		return `^[0-9.]+/[smh](\.\.[0-9.]+/[smh])?$`
	case OneRate:
		return `^[0-9.]+/[smh]$`
	case Bytes:
		return `^[0-9.]+ ?(B|KB|MB|KiB|MiB|kbit|Mbit)/s$`
	case Size:
		return `^[0-9.]+ ?(B|KB|MB|KiB|MiB)$`
	}
	return ""
}

// IsName reports whether a text can be a metric label and part of a device id: small letters, digits and hyphens, 60 at most.
func IsName(s string) bool {
	if s == "" || len(s) > 60 {
		return false
	}
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (c != '-' || i == 0) {
			return false
		}
	}
	return true
}

// ParseShare reads a share such as 80%, as 0.8; ok is false for what is none.
func ParseShare(s string) (share float64, ok bool) {
	number, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !percent || !(v >= 0 && v <= 100) {
		return 0, false
	}
	return v / 100, true
}

// ParseRate reads a rate such as 100/s or 600/m, or one that changes, such as 0/s..100/s. Both ends are per second.
func ParseRate(s string) (from, to float64, ok bool) {
	first, second, ramp := strings.Cut(s, "..")
	if !ramp {
		second = first
	}
	from, ok1 := perSecond(first)
	to, ok2 := perSecond(second)
	return from, to, ok1 && ok2
}

func perSecond(s string) (float64, bool) {
	number, unit, ok := strings.Cut(strings.TrimSpace(s), "/")
	v, err := strconv.ParseFloat(number, 64)
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if !ok || err != nil || seconds == 0 || !(v >= 0 && v <= 1e15) {
		return 0, false
	}
	return v / seconds, true
}

// ParseBandwidth reads a bandwidth such as 64KB/s, 1.5MB/s, 32KiB/s or 250kbit/s, in bytes per second: from one byte to less
// than a gigabyte.
func ParseBandwidth(s string) (bytes float64, ok bool) {
	number := strings.TrimRight(s, "/BKMbikst")
	unit := map[string]float64{
		"B/s": 1, "KB/s": 1e3, "MB/s": 1e6, "KiB/s": 1 << 10, "MiB/s": 1 << 20, "kbit/s": 1e3 / 8, "Mbit/s": 1e6 / 8,
	}[s[len(number):]]
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || unit == 0 || !(v*unit >= 1 && v < 1e9) {
		return 0, false
	}
	return v * unit, true
}

// ParseSize reads a number of bytes such as 512B, 64KB, 1KiB or 1.5MiB: whole ones, less than a terabyte.
func ParseSize(s string) (bytes int, ok bool) {
	number := strings.TrimRight(s, "BKMi")
	unit := map[string]float64{"B": 1, "KB": 1e3, "MB": 1e6, "KiB": 1 << 10, "MiB": 1 << 20}[s[len(number):]]
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || unit == 0 || !(v >= 0 && v*unit < 1e12) || v*unit != math.Trunc(v*unit) {
		return 0, false
	}
	return int(v * unit), true
}

// FormatSize is a number of bytes as ParseSize reads it: in the largest unit of which it is a whole number.
func FormatSize(bytes int) string {
	for _, unit := range []struct {
		size int
		name string
	}{{1 << 20, "MiB"}, {1e6, "MB"}, {1 << 10, "KiB"}, {1e3, "KB"}} {
		if bytes >= unit.size && bytes%unit.size == 0 {
			return strconv.Itoa(bytes/unit.size) + unit.name
		}
	}
	return strconv.Itoa(bytes) + "B"
}
