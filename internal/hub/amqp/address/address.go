// Package address reads the addresses of links as clients of IoT Hub write them: relative or absolute, in any case but for ids, with ids
// that are percent-encoded or not.
package address

import (
	"errors"
	"net/url"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
)

// Address is one, cut into its segments, each decoded. The zero Address is none.
type Address []string

// ErrMalformed is returned for what is no address.
var ErrMalformed = errors.New("the link address did not match any of the expected formats")

// maxLength is the longest address, in bytes: two ids, each character encoded, and what is around them.
const maxLength = 1024

// Parse reads an address. Scheme, host and port of an absolute one say nothing: the connection is the hub's. Errors match ErrMalformed.
func Parse(text string) (Address, error) {
	if len(text) > maxLength {
		return nil, ErrMalformed
	}
	if _, rest, ok := strings.Cut(text, "://"); ok {
		_, text, _ = strings.Cut(rest, "/")
	}
	text = strings.Trim(text, "/")
	if text == "" {
		return nil, ErrMalformed
	}
	segments := strings.Split(text, "/")
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil || decoded == "" {
			return nil, ErrMalformed
		}
		segments[i] = decoded
	}
	return segments, nil
}

// Is reports whether the address is a pattern, segment by segment, in any case; "*" stands for any segment.
func (a Address) Is(pattern ...string) bool {
	if len(a) != len(pattern) {
		return false
	}
	for i, p := range pattern {
		if p != "*" && !strings.EqualFold(a[i], p) {
			return false
		}
	}
	return true
}

// Device splits an address below a device or a module, devices/{d}[/modules/{m}]/…, into the client id of that (the device id, or
// device/module) and the segments behind it; ok is false for any other, also one with an id that is too long or has a slash.
func (a Address) Device() (client string, rest Address, ok bool) {
	id := func(s string) bool { return s != "" && len(s) <= deviceid.Max && !strings.Contains(s, "/") }
	if len(a) < 2 || !strings.EqualFold(a[0], "devices") || !id(a[1]) {
		return "", nil, false
	}
	if len(a) >= 4 && strings.EqualFold(a[2], "modules") {
		return entity.Key(a[1], a[3]), a[4:], id(a[3])
	}
	return a[1], a[2:], true
}
