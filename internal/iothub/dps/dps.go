// Package dps is what devices and Azure's Device Provisioning Service (DPS) say to each other: names, topics,
// documents and keys. It keeps no state and opens no connection.
//
// A device connects over MQTT 3.1.1 to the service's global endpoint with Username and a token for Resource, subscribes
// to ResponseFilter, publishes a RegisterRequest to RegisterTopic, and asks at PollTopic until the status of the
// Operation that is answered is no longer StatusAssigning (iot-mqtt-connect-to-iot-dps).
package dps

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// GlobalEndpoint is the host to which devices of every provisioning service connect (concepts-service).
const GlobalEndpoint = "global.azure-devices-provisioning.net"

// APIVersion is what device SDKs of the first generation name in the user name and in HTTP requests.
const APIVersion = "2019-03-31"

// CSRSince is the first api-version whose registrations may hold a certificate signing request.
const CSRSince = "2025-07-01-preview"

// TokenPolicy is the skn of a device's token (iot-mqtt-connect-to-iot-dps).
const TokenPolicy = "registration"

// ServicePolicy is the shared access policy that a provisioning service has from its beginning (how-to-control-access).
const ServicePolicy = "provisioningserviceowner"

// MaxMessage is the largest message of a device, in bytes: 96 KB (iot-mqtt-connect-to-iot-dps).
const MaxMessage = 96 << 10

// MaxRegistrationID is the longest registration id, in characters (concepts-service).
const MaxRegistrationID = 128

// ErrRegistrationID is the class of errors for registration ids that the service refuses.
var ErrRegistrationID = errors.New("invalid registration id")

// CheckRegistrationID checks a registration id: at most MaxRegistrationID letters, digits and - . _ : of which the last is
// a letter, a digit or - (concepts-service).
func CheckRegistrationID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: it is empty", ErrRegistrationID)
	case len(id) > MaxRegistrationID:
		return fmt.Errorf("%w: it has more than %d characters", ErrRegistrationID, MaxRegistrationID)
	}
	for i := range len(id) {
		c := id[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		switch {
		case alphanumeric || c == '-':
		case c != '.' && c != '_' && c != ':':
			return fmt.Errorf("%w: only letters, digits and the signs -._: are allowed", ErrRegistrationID)
		case i == len(id)-1:
			return fmt.Errorf("%w: its last character must be a letter, a digit or -", ErrRegistrationID)
		}
	}
	return nil
}

// Fold is the form in which registration ids are compared: case does not count (concepts-service).
func Fold(registrationID string) string { return strings.ToLower(registrationID) }

// Resource is what a device's token is for; give it to sas.Sign with TokenPolicy.
func Resource(idScope, registrationID string) string {
	return idScope + "/registrations/" + registrationID
}

// DeriveKey makes the key of a device from the primary or secondary key of its enrollment group. The device uses it for
// DPS and, once assigned, for the hub (concepts-symmetric-key-attestation). The registration id counts letter by letter.
func DeriveKey(group sas.Key, registrationID string) sas.Key { return group.Derive(registrationID) }

// Name is the MQTT user name of a device at DPS.
type Name struct {
	IDScope        string // for example 0ne00111111; case is kept
	RegistrationID string // as the device wrote it
	APIVersion     string // a date, to which -preview may be added
	ClientVersion  string // decoded; may be empty
}

// ErrUsername is returned for a user name that is not one of DPS.
var ErrUsername = errors.New("malformed user name of a provisioning device")

// userName is {idScope}/registrations/{registrationId}/api-version=….
var userName = regexp.MustCompile(`^([^/]+)/registrations/([^/]+)/api-version=(.*)$`)

var apiVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`)

// IsUsername reports whether the user name of a CONNECT is meant for DPS and not for a hub.
func IsUsername(user string) bool { return userName.MatchString(user) }

// KnownVersion reports whether a text is an api-version: a date, to which -preview may be added.
func KnownVersion(text string) bool { return apiVersion.MatchString(text) }

// ParseUsername reads a user name. It returns ErrUsername for one that is not of DPS or names no api-version.
func ParseUsername(user string) (Name, error) {
	part := userName.FindStringSubmatch(user)
	if part == nil {
		return Name{}, fmt.Errorf("%w: use {idScope}/registrations/{registrationId}/api-version=…", ErrUsername)
	}
	n := Name{IDScope: part[1], RegistrationID: part[2]}
	version, parameters, _ := strings.Cut(part[3], "&")
	if !KnownVersion(version) {
		return Name{}, fmt.Errorf("%w: the api-version is no date", ErrUsername)
	}
	n.APIVersion = version
	for pair := range strings.SplitSeq(parameters, "&") {
		if value, ok := strings.CutPrefix(pair, "ClientVersion="); ok {
			decoded, err := url.QueryUnescape(value)
			if err != nil {
				decoded = value
			}
			n.ClientVersion = decoded
		}
	}
	return n, nil
}

// String is the user name as devices send it. The api-version is APIVersion when empty.
func (n Name) String() string {
	version := n.APIVersion
	if version == "" {
		version = APIVersion
	}
	text := Resource(n.IDScope, n.RegistrationID) + "/api-version=" + version
	if n.ClientVersion != "" {
		text += "&ClientVersion=" + url.QueryEscape(n.ClientVersion)
	}
	return text
}
