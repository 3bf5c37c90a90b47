// Package human writes numbers and times as people read them.
package human

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Number is a number of things: "1 device", "2,000 devices", "0 identities".
func Number(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "y"); ok && stem != "" && !strings.ContainsRune("aeou", rune(stem[len(stem)-1])) { // a key, keys
		one = stem + "ie"
	}
	return Count(n) + " " + one + "s"
}

// Count writes a number with its thousands apart: 3,000.
func Count[N int | int64 | uint64](n N) string {
	digits := fmt.Sprint(n)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Duration writes a time with three significant digits and the unit a person would choose: 850µs, 12.3ms, 1.25s, 2m05s.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-max(d, math.MinInt64+1)) // the least has no negative
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + "µs"
	case d < time.Second:
		return significant(float64(d)/float64(time.Millisecond)) + "ms"
	case d < time.Minute:
		return significant(d.Seconds()) + "s"
	default:
		d = d.Round(time.Second)
		if d < time.Hour {
			return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
		}
		return fmt.Sprintf("%dh%02dm%02ds", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
	}
}

func significant(x float64) string {
	places := 2
	if x >= 100 {
		places = 0
	} else if x >= 10 {
		places = 1
	}
	return strconv.FormatFloat(x, 'f', places, 64)
}

// Apart writes a number with as many digits as it takes to tell it from another.
func Apart(x, from float64) string {
	text := ""
	for digits := 4; digits <= 12; digits++ {
		if text = strconv.FormatFloat(x, 'g', digits, 64); text != strconv.FormatFloat(from, 'g', digits, 64) {
			break
		}
	}
	return text
}

// Rate writes a number of operations per second.
func Rate(perSecond float64) string {
	if perSecond >= 1000 {
		return Count(int64(perSecond+0.5)) + "/s"
	}
	return significant(perSecond) + "/s"
}
