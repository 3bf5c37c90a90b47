// Package connstring is the connection strings of IoT Hub, as its portal and its tools hand them out.
package connstring

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// ErrInvalid is the class of every error of the connection string parsers.
// Their texts name the part that is wrong and never hold a key.
var ErrInvalid = errors.New("connection string")

// Service names a hub and a shared access policy of it.
type Service struct {
	HostName string  // host, or host:port for a hub that listens elsewhere than on 443 and 8883
	Policy   string  // SharedAccessKeyName, for example iothubowner
	Key      sas.Key // SharedAccessKey: the policy's primary or secondary key
}

// Device names a device of a hub and how it proves who it is.
type Device struct {
	HostName        string  // host or host:port
	DeviceID        string  // DeviceId
	ModuleID        string  // empty for a device
	GatewayHostName string  // where to connect instead of HostName; empty for HostName itself
	Key             sas.Key // zero when X509 is set
	X509            bool    // the device shows a certificate instead of a token
}

// ParseService reads HostName=…;SharedAccessKeyName=…;SharedAccessKey=….
// Keys of the string are matched without regard to case. Errors match ErrInvalid.
func ParseService(s string) (Service, error) {
	parts, err := split(s)
	if err != nil {
		return Service{}, err
	}
	if parts["deviceid"] != "" {
		return Service{}, fmt.Errorf("%w: it is a device's (it has DeviceId); use one of a shared access policy", ErrInvalid)
	}
	for _, need := range []string{"HostName", "SharedAccessKeyName", "SharedAccessKey"} {
		if parts[strings.ToLower(need)] == "" {
			return Service{}, missingPart(need)
		}
	}
	key, err := sas.ParseKey(parts["sharedaccesskey"])
	if err != nil {
		return Service{}, fmt.Errorf("%w: SharedAccessKey: %w", ErrInvalid, err)
	}
	c := Service{HostName: parts["hostname"], Policy: parts["sharedaccesskeyname"], Key: key}
	if strings.Contains(c.Policy, "=") {
		return Service{}, swallowed("SharedAccessKeyName")
	}
	if err := checkHost("HostName", c.HostName); err != nil {
		return Service{}, err
	}
	return c, nil
}

// ParseDevice reads HostName=…;DeviceId=…;SharedAccessKey=… (or x509=true).
// Errors match ErrInvalid.
func ParseDevice(s string) (Device, error) {
	parts, err := split(s)
	if err != nil {
		return Device{}, err
	}
	c := Device{
		HostName: parts["hostname"], DeviceID: parts["deviceid"], ModuleID: parts["moduleid"], GatewayHostName: parts["gatewayhostname"],
		X509: strings.EqualFold(parts["x509"], "true"),
	}
	switch {
	case c.HostName == "":
		return Device{}, missingPart("HostName")
	case c.DeviceID == "":
		return Device{}, missingPart("DeviceId")
	case parts["sharedaccesskey"] == "" && !c.X509:
		return Device{}, missingPart("SharedAccessKey")
	}
	if err := cmp.Or(checkID("DeviceId", c.DeviceID), checkID("ModuleId", c.ModuleID), checkHost("HostName", c.HostName),
		checkHost("GatewayHostName", c.GatewayHostName)); err != nil {
		return Device{}, err
	}
	if !c.X509 {
		if c.Key, err = sas.ParseKey(parts["sharedaccesskey"]); err != nil {
			return Device{}, fmt.Errorf("%w: SharedAccessKey: %w", ErrInvalid, err)
		}
	}
	return c, nil
}

func missingPart(name string) error {
	return fmt.Errorf("%w: %s=… is missing; the parts are joined with semicolons", ErrInvalid, name)
}

// swallowed is the error for a part with an equals sign where none can be: the semicolon before the
// next part was lost, so that the value, which is not printed, may end in a key.
func swallowed(name string) error {
	return fmt.Errorf("%w: %s has an equals sign in it; is the semicolon after it missing?", ErrInvalid, name)
}

func checkHost(name, host string) error {
	if strings.Contains(host, "=") {
		return swallowed(name)
	}
	if strings.ContainsAny(host, "/\\ \t@") {
		return fmt.Errorf("%w: %s must be a host or host:port, without a scheme or path", ErrInvalid, name)
	}
	// Other names are written as xn--… (RFC 5890 section 2.3.2.1).
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: %s must be of ASCII letters, digits and signs", ErrInvalid, name)
	}
	return nil
}

// checkID is Check without the id in the text. An empty id is the caller's to judge.
func checkID(name, id string) error {
	if id == "" {
		return nil
	}
	if strings.Contains(strings.ToLower(id), "sharedaccesskey=") {
		return swallowed(name)
	}
	if problem := deviceid.Problem(id); problem != "" {
		return fmt.Errorf("%w: %s: %w: %s", ErrInvalid, name, deviceid.ErrRefused, problem)
	}
	return nil
}

// split cuts at semicolons and at the first equals sign of each part: keys hold further ones.
func split(s string) (map[string]string, error) {
	parts := make(map[string]string)
	for i, part := range strings.Split(strings.TrimSpace(s), ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("%w: part %d has no equals sign; write Name=value", ErrInvalid, i+1)
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := parts[name]; twice {
			return nil, fmt.Errorf("%w: part %d repeats an earlier one", ErrInvalid, i+1)
		}
		parts[name] = strings.TrimSpace(value)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	return parts, nil
}

// String is the connection string with its key hidden.
func (c Service) String() string {
	return "HostName=" + c.HostName + ";SharedAccessKeyName=" + c.Policy + ";SharedAccessKey=" + sas.Redacted
}

// LogValue hides the key in log lines.
func (c Service) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Reveal is the whole connection string, with its key.
func (c Service) Reveal() string {
	return "HostName=" + c.HostName + ";SharedAccessKeyName=" + c.Policy + ";SharedAccessKey=" + c.Key.Base64()
}

// String is the connection string with its key hidden.
func (c Device) String() string { return c.text(sas.Redacted) }

// LogValue hides the key in log lines.
func (c Device) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Reveal is the whole connection string, with its key.
func (c Device) Reveal() string { return c.text(c.Key.Base64()) }

func (c Device) text(key string) string {
	b := "HostName=" + c.HostName + ";DeviceId=" + c.DeviceID
	if c.ModuleID != "" {
		b += ";ModuleId=" + c.ModuleID
	}
	if c.GatewayHostName != "" {
		b += ";GatewayHostName=" + c.GatewayHostName
	}
	if c.X509 {
		return b + ";x509=true"
	}
	return b + ";SharedAccessKey=" + key
}
