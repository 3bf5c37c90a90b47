package iothub

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// ErrConnectionString is the class of every error of the connection string parsers.
// Their texts name the part that is wrong and never hold a key.
var ErrConnectionString = errors.New("connection string")

// ServiceConnectionString names a hub and a shared access policy of it.
type ServiceConnectionString struct {
	HostName string // host, or host:port for a hub that listens elsewhere than on 443 and 8883
	Policy   string // SharedAccessKeyName, for example iothubowner
	Key      Key
}

// DeviceConnectionString names a device of a hub and how it proves who it is.
type DeviceConnectionString struct {
	HostName        string // host or host:port
	DeviceID        string
	ModuleID        string // empty for a device
	GatewayHostName string // where to connect instead of HostName; empty for HostName itself
	Key             Key    // zero when X509 is set
	X509            bool   // the device shows a certificate instead of a token
}

// ParseServiceConnectionString reads HostName=…;SharedAccessKeyName=…;SharedAccessKey=….
// Keys of the string are matched without regard to case. Errors match ErrConnectionString.
func ParseServiceConnectionString(s string) (ServiceConnectionString, error) {
	parts, err := splitConnectionString(s)
	if err != nil {
		return ServiceConnectionString{}, err
	}
	if parts["deviceid"] != "" {
		return ServiceConnectionString{}, fmt.Errorf("%w: it is a device's (it has DeviceId); use one of a shared access policy", ErrConnectionString)
	}
	for _, need := range []string{"HostName", "SharedAccessKeyName", "SharedAccessKey"} {
		if parts[strings.ToLower(need)] == "" {
			return ServiceConnectionString{}, missingPart(need)
		}
	}
	key, err := ParseKey(parts["sharedaccesskey"])
	if err != nil {
		return ServiceConnectionString{}, fmt.Errorf("%w: SharedAccessKey: %w", ErrConnectionString, err)
	}
	c := ServiceConnectionString{HostName: parts["hostname"], Policy: parts["sharedaccesskeyname"], Key: key}
	if strings.Contains(c.Policy, "=") {
		return ServiceConnectionString{}, swallowed("SharedAccessKeyName")
	}
	if err := checkHost("HostName", c.HostName); err != nil {
		return ServiceConnectionString{}, err
	}
	return c, nil
}

// ParseDeviceConnectionString reads HostName=…;DeviceId=…;SharedAccessKey=… (or x509=true).
// Errors match ErrConnectionString.
func ParseDeviceConnectionString(s string) (DeviceConnectionString, error) {
	parts, err := splitConnectionString(s)
	if err != nil {
		return DeviceConnectionString{}, err
	}
	c := DeviceConnectionString{
		HostName: parts["hostname"], DeviceID: parts["deviceid"], ModuleID: parts["moduleid"], GatewayHostName: parts["gatewayhostname"],
		X509: strings.EqualFold(parts["x509"], "true"),
	}
	switch {
	case c.HostName == "":
		return DeviceConnectionString{}, missingPart("HostName")
	case c.DeviceID == "":
		return DeviceConnectionString{}, missingPart("DeviceId")
	case parts["sharedaccesskey"] == "" && !c.X509:
		return DeviceConnectionString{}, missingPart("SharedAccessKey")
	}
	if err := cmp.Or(checkID("DeviceId", c.DeviceID), checkID("ModuleId", c.ModuleID), checkHost("HostName", c.HostName), checkHost("GatewayHostName", c.GatewayHostName)); err != nil {
		return DeviceConnectionString{}, err
	}
	if !c.X509 {
		if c.Key, err = ParseKey(parts["sharedaccesskey"]); err != nil {
			return DeviceConnectionString{}, fmt.Errorf("%w: SharedAccessKey: %w", ErrConnectionString, err)
		}
	}
	return c, nil
}

func missingPart(name string) error {
	return fmt.Errorf("%w: %s=… is missing; the parts are joined with semicolons", ErrConnectionString, name)
}

// swallowed is the error for a part with an equals sign where none can be: the semicolon before the
// next part was lost, so that the value, which is not printed, may end in a key.
func swallowed(name string) error {
	return fmt.Errorf("%w: %s has an equals sign in it; is the semicolon after it missing?", ErrConnectionString, name)
}

func checkHost(name, host string) error {
	if strings.Contains(host, "=") {
		return swallowed(name)
	}
	if strings.ContainsAny(host, "/\\ \t@") {
		return fmt.Errorf("%w: %s must be a host or host:port, without a scheme or path", ErrConnectionString, name)
	}
	// Other names are written as xn--… (RFC 5890 section 2.3.2.1).
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: %s must be of ASCII letters, digits and signs", ErrConnectionString, name)
	}
	return nil
}

// checkID is ValidDeviceID without the id in the text. An empty id is the caller's to judge.
func checkID(name, id string) error {
	if id == "" {
		return nil
	}
	if strings.Contains(strings.ToLower(id), "sharedaccesskey=") {
		return swallowed(name)
	}
	if problem := idProblem(id); problem != "" {
		return fmt.Errorf("%w: %s: %w: %s", ErrConnectionString, name, ErrDeviceID, problem)
	}
	return nil
}

// splitConnectionString cuts at semicolons and at the first equals sign of each part: keys hold further ones.
func splitConnectionString(s string) (map[string]string, error) {
	parts := make(map[string]string)
	for i, part := range strings.Split(strings.TrimSpace(s), ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("%w: part %d has no equals sign; write Name=value", ErrConnectionString, i+1)
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := parts[name]; twice {
			return nil, fmt.Errorf("%w: part %d repeats an earlier one", ErrConnectionString, i+1)
		}
		parts[name] = strings.TrimSpace(value)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrConnectionString)
	}
	return parts, nil
}

// String is the connection string with its key hidden.
func (c ServiceConnectionString) String() string {
	return "HostName=" + c.HostName + ";SharedAccessKeyName=" + c.Policy + ";SharedAccessKey=" + redacted
}

// LogValue hides the key in log lines.
func (c ServiceConnectionString) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Reveal is the whole connection string, with its key.
func (c ServiceConnectionString) Reveal() string {
	return "HostName=" + c.HostName + ";SharedAccessKeyName=" + c.Policy + ";SharedAccessKey=" + c.Key.Base64()
}

// String is the connection string with its key hidden.
func (c DeviceConnectionString) String() string { return c.text(redacted) }

// LogValue hides the key in log lines.
func (c DeviceConnectionString) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Reveal is the whole connection string, with its key.
func (c DeviceConnectionString) Reveal() string { return c.text(c.Key.Base64()) }

func (c DeviceConnectionString) text(key string) string {
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
