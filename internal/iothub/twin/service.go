package twin

import (
	"fmt"
	"strings"
	"time"
)

// ServiceTwin is a twin as a client of the service reads it: what [Twin.AppendJSON]
// writes, or the same from any IoT Hub. Members that the answer does not have are zero.
type ServiceTwin struct {
	DeviceID       string
	ModuleID       string
	ETag           string
	DeviceETag     string
	Status         string
	StatusReason   string
	StatusUpdated  time.Time
	LastActivity   time.Time
	Connected      bool
	C2DCount       int
	AuthType       string
	ModelID        string
	Version        int64
	IoTEdge        bool
	Tags           Value
	Desired        ServiceSection
	Reported       ServiceSection
	X509Thumbprint Value
}

// ServiceSection is a section of properties as a client of the service reads it.
type ServiceSection struct {
	Value    Value // The properties alone.
	Metadata Value // $metadata as it came.
	Version  int64 // $version.
}

// LastUpdated returns when the property at a path was last written, or the whole section
// for no path; false when the metadata does not say.
func (s ServiceSection) LastUpdated(path ...string) (time.Time, bool) {
	stamp := s.Metadata.Path(path...).Get(keyLastUpdated)
	if stamp.Kind() != String {
		return time.Time{}, false
	}
	t, err := parseTime(stamp.Str())
	return t, err == nil
}

// DecodeService reads a twin from an answer of the service.
func DecodeService(b []byte) (ServiceTwin, error) {
	doc, err := Parse(b)
	if err != nil {
		return ServiceTwin{}, fmt.Errorf("reading a twin: %w", err)
	}
	if doc.Kind() != Object {
		return ServiceTwin{}, fmt.Errorf("reading a twin: it is not an object but %s", doc.Kind())
	}
	t := ServiceTwin{
		DeviceID: doc.Get("deviceId").Str(), ModuleID: doc.Get("moduleId").Str(),
		ETag: doc.Get("etag").Str(), DeviceETag: doc.Get("deviceEtag").Str(),
		Status: doc.Get("status").Str(), StatusReason: doc.Get("statusReason").Str(),
		Connected: doc.Get("connectionState").Str() == "Connected",
		C2DCount:  int(doc.Get("cloudToDeviceMessageCount").Num()),
		AuthType:  doc.Get("authenticationType").Str(), ModelID: doc.Get("modelId").Str(),
		Version: int64(doc.Get("version").Num()), IoTEdge: doc.Path("capabilities", "iotEdge").Bool(),
		Tags:           doc.Get("tags"),
		Desired:        serviceSection(doc.Path("properties", "desired")),
		Reported:       serviceSection(doc.Path("properties", "reported")),
		X509Thumbprint: doc.Get("x509Thumbprint"),
	}
	for name, field := range map[string]*time.Time{"statusUpdateTime": &t.StatusUpdated, "lastActivityTime": &t.LastActivity} {
		if text := doc.Get(name).Str(); text != "" {
			if *field, err = parseTime(text); err != nil {
				return ServiceTwin{}, fmt.Errorf("reading %s of a twin: %w", name, err)
			}
		}
	}
	return t, nil
}

// serviceSection parts the properties from what is said about them.
func serviceSection(v Value) ServiceSection {
	s := ServiceSection{Metadata: v.Get(keyMetadata), Version: int64(v.Get(keyVersion).Num()), Value: v}
	if v.Kind() == Object {
		s.Value = withoutMetadata(v)
	}
	return s
}

// parseTime reads a time of the service, which may lack its zone: it is UTC then.
func parseTime(s string) (time.Time, error) {
	if clock := strings.IndexByte(s, 'T'); clock > 0 && !strings.ContainsAny(s[clock:], "Z+-") {
		s += "Z"
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err
}
