// Package username is the MQTT user name with which a device says who it is (iot-mqtt-connect-to-iot-hub).
package username

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
)

// Name is the MQTT user name of a connection (iot-mqtt-connect-to-iot-hub).
type Name struct {
	Host       string // of the hub, as the client knows it; a port may follow
	DeviceID   string // never empty once parsed
	ModuleID   string // empty for a device
	APIVersion string // empty when the client names none
	Query      string // all parameters as sent, without the question mark
}

// ErrMalformed is returned for a user name that names no host or device, or one with an id longer than deviceid.Max.
var ErrMalformed = errors.New("malformed MQTT user name")

// Parse reads {host}/{device}[/{module}]/?api-version=…; older clients leave out the
// question mark or the whole last part, which is accepted.
func Parse(s string) (Name, error) {
	host, rest, ok := strings.Cut(s, "/")
	device, rest, _ := strings.Cut(rest, "/")
	if !ok || host == "" || device == "" {
		return Name{}, fmt.Errorf("%w: use {host}/{device}/?api-version=…", ErrMalformed)
	}
	u := Name{Host: host, DeviceID: device}
	if rest != "" && !isQuery(rest) {
		u.ModuleID, rest, _ = strings.Cut(rest, "/")
	}
	if len(u.DeviceID) > deviceid.Max || len(u.ModuleID) > deviceid.Max {
		return Name{}, fmt.Errorf("%w: an id has at most %d characters", ErrMalformed, deviceid.Max)
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
func (u Name) ClientID() string {
	if u.ModuleID != "" {
		return u.DeviceID + "/" + u.ModuleID
	}
	return u.DeviceID
}

// Parameter is a decoded parameter of the user name, for example model-id or DeviceClientType
// (iot-mqtt-connect-to-iot-hub); empty when the client sends none.
func (u Name) Parameter(name string) string {
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
func (u Name) String() string {
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
func (u Name) AllowsArrays() bool { return u.APIVersion == "" || u.APIVersion >= arraysSince }
