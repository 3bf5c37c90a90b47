package iothub

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// MaxDeviceID is the longest device or module id, in characters (iot-hub-devguide-identity-registry).
const MaxDeviceID = 128

// ErrDeviceID is the class of errors for ids that the registry refuses.
var ErrDeviceID = errors.New("invalid device id")

// ValidDeviceID checks an id against the registry's rules: at most MaxDeviceID ASCII letters,
// digits and - . + % _ # * ? ! ( ) , = @ $ ' : ; (iot-hub-devguide-identity-registry).
func ValidDeviceID(id string) error {
	switch problem := idProblem(id); {
	case problem == "":
		return nil
	case id == "" || len(id) > MaxDeviceID:
		return fmt.Errorf("%w: %s", ErrDeviceID, problem)
	default:
		return fmt.Errorf("%w: %q %s", ErrDeviceID, id, problem)
	}
}

// idProblem says what is wrong with an id, without the id; empty when nothing is.
func idProblem(id string) string {
	if id == "" || len(id) > MaxDeviceID {
		return fmt.Sprintf("%d characters; it must have 1 to %d", len(id), MaxDeviceID)
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("-.+%_#*?!(),=@$':;", rune(c)) {
			return "may hold letters, digits and - . + % _ # * ? ! ( ) , = @ $ ' : ;"
		}
	}
	return ""
}

// Username is the MQTT user name of a connection (iot-mqtt-connect-to-iot-hub).
type Username struct {
	Host       string
	DeviceID   string
	ModuleID   string // empty for a device
	APIVersion string // empty when the client names none
	Query      string // all parameters as sent, without the question mark
}

// ErrUsername is returned for a user name that names no host or device.
var ErrUsername = errors.New("malformed MQTT user name")

// ParseUsername reads {host}/{device}[/{module}]/?api-version=…; older clients leave out the
// question mark or the whole last part, which is accepted.
func ParseUsername(s string) (Username, error) {
	host, rest, ok := strings.Cut(s, "/")
	device, rest, _ := strings.Cut(rest, "/")
	if !ok || host == "" || device == "" {
		return Username{}, fmt.Errorf("%w: use {host}/{device}/?api-version=…", ErrUsername)
	}
	u := Username{Host: host, DeviceID: device}
	if rest != "" && !isQuery(rest) {
		u.ModuleID, rest, _ = strings.Cut(rest, "/")
	}
	u.Query = strings.TrimPrefix(rest, "?")
	for pair := range strings.SplitSeq(u.Query, "&") {
		if value, ok := strings.CutPrefix(pair, "api-version="); ok {
			u.APIVersion = value
		}
	}
	return u, nil
}

func isQuery(s string) bool {
	return strings.HasPrefix(s, "?") || strings.Contains(s[:max(0, strings.IndexByte(s+"/", '/'))], "api-version=")
}

// ClientID is the MQTT client id that belongs to the user name.
func (u Username) ClientID() string {
	if u.ModuleID != "" {
		return u.DeviceID + "/" + u.ModuleID
	}
	return u.DeviceID
}

// Parameter is a decoded parameter of the user name, for example model-id or DeviceClientType
// (iot-mqtt-connect-to-iot-hub); empty when the client sends none.
func (u Username) Parameter(name string) string {
	for pair := range strings.SplitSeq(u.Query, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == name {
			if decoded, err := url.PathUnescape(value); err == nil {
				return decoded
			}
			return value
		}
	}
	return ""
}

// String is the user name as clients send it.
func (u Username) String() string {
	query := u.Query
	if query == "" && u.APIVersion != "" {
		query = "api-version=" + u.APIVersion
	}
	if query == "" {
		return u.Host + "/" + u.ClientID()
	}
	return u.Host + "/" + u.ClientID() + "/?" + query
}

// arraysSince is the first api-version in which twins may hold arrays.
const arraysSince = "2019-10-01"

// AllowsArrays reports whether the client's api-version lets twins hold arrays. Versions are dates
// and compare as text; a client that names none is taken for a current one.
func (u Username) AllowsArrays() bool { return u.APIVersion == "" || u.APIVersion >= arraysSince }
