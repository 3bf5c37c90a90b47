// Package limits is what the sections of a twin may hold (iot-hub-devguide-device-twins, "Tags and properties format").
package limits

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

// The limits of a twin (iot-hub-devguide-device-twins, "Tags and properties format").
const (
	MaxTagsSize     = 8 << 10    // Size of the tags, computed as the guide says: see Section.Size.
	MaxDesiredSize  = 32 << 10   // Size of the desired properties.
	MaxReportedSize = 32 << 10   // Size of the reported properties.
	MaxKeyLength    = 1 << 10    // Bytes of UTF-8 in a name.
	MaxStringLength = 4 << 10    // Bytes of UTF-8 in a string.
	MaxLevels       = 10         // Objects inside each other below a section.
	MaxInteger      = 1<<52 - 1  // Largest number written without fraction and exponent.
	MinInteger      = -(1 << 52) // Smallest such number.
)

// What a number and a boolean count in the size of a section.
const (
	numberSize = 8
	boolSize   = 4
)

// Error says which rule of a twin's format a document broke. The service answers
// it with ArgumentInvalid and the message.
type Error struct {
	Section SectionKind // Where the document was to go.
	Message string      // For people; it may repeat a property's name, never a value.
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// checker holds one document against the rules of its section.
type checker struct {
	section SectionKind
}

// fail makes the error of a broken rule.
func (c checker) fail(format string, a ...any) error {
	return &Error{Section: c.section, Message: fmt.Sprintf(format, a...)}
}

// invalid begins the message of a document that is no section at all, in the service's own words.
const invalid = "Provided json is not a valid 'tags' or 'properties' object: "

// Check holds a patch or a whole section against the rules of a section, but for its size: [CheckSize]. Errors
// are [*Error].
func Check(section SectionKind, doc jsonvalue.Value) error {
	c := checker{section}
	if doc.Kind() != jsonvalue.Object {
		return c.fail(invalid+"%s must be an object, not %s.", c.section, doc.Kind())
	}
	return c.object(doc, 0, false) // Level 0 is the section itself.
}

// object checks the members of an object at some level.
func (c checker) object(v jsonvalue.Value, level int, inArray bool) error {
	if level > MaxLevels {
		return c.fail("The nesting depth of %s exceeds the maximum of %d.", c.section, MaxLevels)
	}
	members := v.Map().Members()
	for i := range members {
		m := &members[i]
		if err := c.key(m.Key); err != nil {
			return err
		}
		if err := c.value(m.Key, m.Value, level, inArray); err != nil {
			return err
		}
	}
	return nil
}

// value checks one value, which stands under the name key at some level.
func (c checker) value(key string, v jsonvalue.Value, level int, inArray bool) error {
	switch v.Kind() {
	case jsonvalue.Undefined:
		return c.fail("Value of Property or Tag is missing. Error in Property/Tag %s", shorten(key))
	case jsonvalue.Null:
		if inArray { // Elsewhere null deletes. The text is the service's own, its missing space included.
			return c.fail("Value of Property or Tag cannot be null. Error inProperty/Tag %s", shorten(key))
		}
	case jsonvalue.String:
		if n := len(v.Str()); n > MaxStringLength {
			return c.fail("The value of Property or Tag %s has %d bytes; at most %d are allowed.", shorten(key), n, MaxStringLength)
		}
	case jsonvalue.Number:
		return c.number(key, v)
	case jsonvalue.Object:
		return c.object(v, level+1, inArray)
	case jsonvalue.Array:
		for elem := range v.Elems() {
			if err := c.value(key, elem, level, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// key checks a name: its length, and that it holds no control character, dot, dollar sign, number sign or space.
func (c checker) key(key string) error {
	if len(key) > MaxKeyLength {
		return c.fail("The name of Property or Tag %s has %d bytes; at most %d are allowed.", shorten(key), len(key), MaxKeyLength)
	}
	if key == "" {
		return c.fail("The name of a Property or Tag is empty.")
	}
	for i := range len(key) {
		b := key[i]
		c1 := b == 0xC2 && i+1 < len(key) && key[i+1] < 0xA0 // U+0080 to U+009F in UTF-8.
		if b <= ' ' || b == '.' || b == '$' || b == '#' || b == 0x7F || c1 {
			return c.fail("The name of Property or Tag %s is not valid: it must not contain control characters, '.', '$', '#' or a space.", shorten(key))
		}
	}
	return nil
}

// number checks that an integer lies in the range that every client can read exactly,
// and that any other number has a value at all.
func (c checker) number(key string, v jsonvalue.Value) error {
	text := v.Literal()
	if len(text) < 15 { // Too short to be out of range.
		if strings.IndexByte(text, 'e') < 0 && strings.IndexByte(text, 'E') < 0 {
			return nil
		}
	}
	if strings.ContainsAny(text, ".eE") {
		if math.IsInf(v.Num(), 0) {
			return c.fail("The value of Property or Tag %s is beyond the range of numbers.", shorten(key))
		}
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < MinInteger || n > MaxInteger {
		return c.fail("The value of Property or Tag %s is not valid: an integer must lie between %d and %d.", shorten(key), int64(MinInteger), int64(MaxInteger))
	}
	return nil
}

// CheckSize checks the computed size of a section, see [SizeOf]. Errors are [*Error].
func CheckSize(section SectionKind, n int) error {
	if limit := section.maxSize(); n > limit {
		return checker{section}.fail("The size of %s is %d bytes, which exceeds the maximum of %d.", section, n, limit)
	}
	return nil
}

// shorten keeps a hostile name from filling a message or a log line.
func shorten(key string) string {
	const longest = 64
	if utf8.RuneCountInString(key) <= longest {
		return strings.ToValidUTF8(strings.Map(printable, key), "")
	}
	return strings.Map(printable, string([]rune(key)[:longest])) + "..."
}

// printable replaces control characters.
func printable(r rune) rune {
	if isControl(r) {
		return utf8.RuneError
	}
	return r
}

// isControl reports whether r is a control character of the segments C0 and C1, or DEL between them.
func isControl(r rune) bool { return r < ' ' || r >= 0x7F && r < 0xA0 }

// SizeOfText counts the characters of a text without control characters.
func SizeOfText(s string) int {
	n := 0
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7F {
			return sizeOfRunes(s)
		}
		n++
	}
	return n
}

// sizeOfRunes is SizeOfText for a text that is not plain ASCII.
func sizeOfRunes(s string) int {
	n := 0
	for _, r := range s {
		if !isControl(r) {
			n++
		}
	}
	return n
}

// SizeOf computes the size of a value as the guide defines it: a string counts its
// characters, a number 8, a boolean 4, an object its names and values, an array its
// elements.
func SizeOf(v jsonvalue.Value) int {
	switch v.Kind() {
	case jsonvalue.String:
		return SizeOfText(v.Str())
	case jsonvalue.Number:
		return numberSize
	case jsonvalue.Bool:
		return boolSize
	case jsonvalue.Object:
		n := 0
		members := v.Map().Members()
		for i := range members {
			n += SizeOfText(members[i].Key) + SizeOf(members[i].Value)
		}
		return n
	case jsonvalue.Array:
		n := 0
		for elem := range v.Elems() {
			n += SizeOf(elem)
		}
		return n
	default:
		return 0
	}
}
