package timestamp

import (
	"strconv"
	"time"
)

// Ticks is a time as twins keep it: ticks of 100 ns since 1970, UTC. Seven fractional
// digits are what the service writes; a word instead of the three of time.Time is what a
// stamp at every node of every twin can afford.
type Ticks int64

const (
	// Tick is how many nanoseconds a tick has.
	Tick           = 100
	ticksPerSecond = int64(time.Second / Tick)

	// Never is 0001-01-01T00:00:00Z, which stands for "not yet" in documents.
	Never = Ticks(-62135596800 * ticksPerSecond)
)

// Of cuts a time to whole ticks. The zero time gives Never.
func Of(t time.Time) Ticks {
	return Ticks(t.Unix()*ticksPerSecond + int64(t.Nanosecond())/Tick)
}

// Time returns the time in UTC, the zero time for Never.
func (i Ticks) Time() time.Time {
	if i == Never {
		return time.Time{}
	}
	sec, ticks := i.split()
	return time.Unix(sec, ticks*Tick).UTC()
}

// split returns the seconds since 1970 and the ticks after them.
func (i Ticks) split() (sec, ticks int64) {
	sec, ticks = int64(i)/ticksPerSecond, int64(i)%ticksPerSecond
	if ticks < 0 {
		sec, ticks = sec-1, ticks+ticksPerSecond
	}
	return sec, ticks
}

// String writes the time as documents have it.
func (i Ticks) String() string { return string(i.Append(make([]byte, 0, 28))) }

// Append appends the time as documents have it: up to seven fractional digits without the zeros at their end, as
// recorded from the service, and Z. Pages of query results hold thousands of these: the general
// formatter of package time takes five times as long.
func (i Ticks) Append(dst []byte) []byte {
	sec, ticks := i.split()
	t := time.Unix(sec, 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendDigits(dst, year, 4)
	dst = appendDigits(append(dst, '-'), int(month), 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, 'T'), hour, 2)
	dst = appendDigits(append(dst, ':'), minute, 2)
	dst = appendDigits(append(dst, ':'), second, 2)
	if ticks != 0 {
		dst = appendDigits(append(dst, '.'), int(ticks), 7)
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return append(dst, 'Z')
}

// appendDigits appends n with leading zeros in exactly width digits, at most seven.
func appendDigits(dst []byte, n, width int) []byte {
	var digits [7]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, digits[:width]...)
}

// ticksOf1970 is how many ticks passed from 0001-01-01 to 1970.
const ticksOf1970 = 621355968000000000

// Digest writes a time as its ticks since 0001-01-01, as the service stamps what configurations write.
func Digest(t time.Time) string { return strconv.FormatInt(int64(Of(t))+ticksOf1970, 10) }
