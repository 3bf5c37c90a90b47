package scenario

import (
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// DPS is devices that a provisioning service (DPS) assigns to their hub before they connect to it. They prove who they are with
// Identity.DPS.Key, Devices of a file, or X509, of which one is set but at the embedded hub, which needs none.
type DPS struct {
	Endpoint string        // host, or host:port, of the service; empty for that of the embedded hub
	Scope    string        // which service is meant: its id scope; likewise
	Key      Secret        // of an enrollment group, in base64
	File     string        // of devices with individual enrollments; empty for none
	X509     *X509         // nil for devices with keys; never with Thumbprint
	Timeout  time.Duration // of one registration
	scope    string        // as the key of that name says
}

// registrationRate is how many registrations a second Azure's service takes: 1,000 a minute (azure-docs: iot-dps-limits), less a little.
const registrationRate = 15.0

func dpsKeys(d *DPS) []language.Key {
	certificates := func(x *X509) []language.Key {
		return authorityKeys(x, "The embedded hub's service has a group enrolled for it.")
	}
	return []language.Key{
		key("endpoint", value.Text(&d.Endpoint), means(dps.GlobalEndpoint+", or the embedded hub's own"),
			"Host of the provisioning service, with a port when that is not 8883. target.ca and target.plain hold for it, too."),
		key("id_scope", value.Text(&d.Scope), none, "Which provisioning service is meant: its id scope, 0ne and eight digits. The embedded hub's is found without."),
		key("scope", value.Text(&d.scope), none, "The same as id_scope."),
		key("group_key", readKey(&d.Key), none,
			"Key of an enrollment group, best as ${TWINFLEET_DPS_KEY}: the key of each device is derived from it. The embedded hub gets such a group; it "+
				"has one without it."),
		key("file", value.Text(&d.File), none,
			"File of devices with individual enrollments, as identity.file has it: the device ids are registration ids, host names are not looked at. The "+
				"embedded hub gets such enrollments."),
		key("x509", value.Optional(&d.X509, value.Empty, certificates), none, "Certificates instead of keys, one a device with the registration id as common name."),
		key("timeout", timing.Duration(&d.Timeout, time.Second), is("15m"),
			"How long a device tries to be assigned, refusals for load among it, before the registration has failed and it begins another."),
	}
}

func freshDPS() DPS { return DPS{} }

// finishDPS fills in what follows from other values, and reads the files that are named.
func (r *reader) finishDPS(path string, g *Group, t *target.Target) {
	d := g.Identity.DPS
	if d == nil {
		return
	}
	if d.Scope == "" {
		d.Scope = d.scope
	}
	if d.Endpoint == "" && !t.Can().InProcess {
		d.Endpoint = dps.GlobalEndpoint
	}
	if d.Timeout == 0 {
		d.Timeout = 15 * time.Minute
	}
	if d.File != "" {
		r.readDevices(path, g, path+".identity.dps.file", d.File)
	}
	r.readAuthority(path+".identity.dps.x509", g, d.X509, r.readFile)
}

// Azure reports whether devices go to Azure's own service, which takes so many registrations a minute and no more.
func (d *DPS) Azure() bool {
	host := strings.ToLower(d.Host())
	for _, suffix := range []string{"net", "cn", "us"} {
		if strings.HasSuffix(host, ".azure-devices-provisioning."+suffix) {
			return true
		}
	}
	return false
}

// Host is the name or address of Endpoint.
func (d *DPS) Host() string {
	if host, _, err := net.SplitHostPort(d.Endpoint); err == nil {
		return host
	}
	return d.Endpoint
}

// Address is host:port of Endpoint.
func (d *DPS) Address() string {
	if _, _, err := net.SplitHostPort(d.Endpoint); err == nil {
		return d.Endpoint
	}
	return net.JoinHostPort(strings.Trim(d.Endpoint, "[]"), "8883") // iot-mqtt-connect-to-iot-dps
}

// Provisions reports whether a group has its devices assigned by a provisioning service.
func (s *Scenario) Provisions() bool {
	for i := range s.Fleet.Groups {
		if s.Fleet.Groups[i].Identity.DPS != nil {
			return true
		}
	}
	return false
}

// finishPace has devices that provision at Azure come no faster than its service takes them, unless the stage says how fast.
func (r *reader) finishPace(s *Scenario) {
	azure := false
	for i := range s.Fleet.Groups {
		d := s.Fleet.Groups[i].Identity.DPS
		azure = azure || d != nil && d.Azure()
	}
	if !azure {
		return
	}
	before := 0
	for i := range s.Stages {
		t := &s.Stages[i]
		if t.Devices < 0 {
			continue
		}
		come := float64(t.Devices - before)
		before = t.Devices
		if come > 0 && t.ConnectRate == nil && t.Course == nil && t.goals == nil && (t.Duration == 0 || come/t.Duration.Seconds() > registrationRate) {
			t.ConnectRate, t.slowed = &Range{From: registrationRate, To: registrationRate}, true
		}
	}
}

// validateDPS holds the rules of devices that provision.
func (r *reader) validateDPS(at string, g *Group, t *target.Target) {
	d := g.Identity.DPS
	ways := 0
	for _, set := range []bool{!d.Key.IsZero(), d.File != "", d.X509 != nil} {
		if set {
			ways++
		}
	}
	inProcess := t.Can().InProcess
	switch {
	case ways > 1:
		r.FailAt(at, g.place, "give one of group_key, file, x509, not %d of them", ways)
	case ways == 0 && !inProcess:
		r.FailAt(at, g.place, "give one of group_key, file, x509: how devices prove to the provisioning service who they are")
	}
	if n := d.keyBytes(); n > 0 && (n < 16 || n > 64) {
		r.FailAt(at+".group_key", g.place, "the key has %d bytes; those of enrollment groups have 16 to 64: take the primary key of the group", n)
	}
	if d.scope != "" && d.Scope != d.scope {
		r.FailAt(at+".scope", g.place, "scope and id_scope are the same, and differ; remove one of them")
	}
	switch {
	case inProcess && !t.Can().Registry: // not of a target that cannot be read
		for _, key := range []string{"endpoint", "id_scope", "scope"} {
			if r.Given(at + "." + key) {
				r.FailAt(at+"."+key, g.place, "the embedded hub's own provisioning service is found without; remove it, or give target.hub the hub to be assigned to")
			}
		}
	case inProcess:
	case d.Scope == "":
		r.FailAt(at, g.place, "which provisioning service is meant is missing; write id_scope: 0ne00000000, as its overview page says it")
	case !scopePattern().MatchString(d.Scope):
		r.FailAt(at+".id_scope", g.place, "%q is no id scope; it is letters and digits, such as 0ne00000000", d.Scope)
	}
	if !inProcess {
		r.validateEndpoint(at+".endpoint", g, d)
	}
	if d.File != "" && r.Given(strings.TrimSuffix(at, ".identity.dps")+".id") {
		r.FailAt(strings.TrimSuffix(at, ".identity.dps")+".id", g.place, "registration ids are those of the file; remove id")
	}
	if d.X509 != nil {
		r.validateX509(at+".x509", g, t, d.X509)
	}
}

// keyBytes is how long the group's key is, 0 for none: (iot-dps: concepts-symmetric-key-attestation) says how long it may be.
func (d *DPS) keyBytes() int {
	b, err := base64.StdEncoding.DecodeString(d.Key.Reveal())
	if err != nil {
		return 0
	}
	return len(b)
}

func scopePattern() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9]+$`) }

// validateEndpoint holds the address of a provisioning service.
func (r *reader) validateEndpoint(at string, g *Group, d *DPS) {
	host, port := d.Endpoint, ""
	if strings.Contains(host, "://") || strings.ContainsAny(host, "/ ;=") {
		r.FailAt(at, g.place, "the provisioning service is a host, or host:port, such as %s", dps.GlobalEndpoint)
		return
	}
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	}
	n, err := strconv.Atoi(port)
	switch {
	case host == "":
		r.FailAt(at, g.place, "the provisioning service is a host, or host:port, such as %s", dps.GlobalEndpoint)
	case port != "" && (err != nil || n < 1 || n > math.MaxUint16):
		r.FailAt(at, g.place, "there is no port %s; ports are 1 to 65535", port)
	}
}

// mostCommonName is how many characters the common name of a certificate may have (RFC 5280, appendix A.1).
const mostCommonName = 64

// registrationID says why no device can register under an id.
func registrationID(d *DPS, id string) error {
	if err := dps.CheckRegistrationID(id); err != nil {
		return fmt.Errorf("%q cannot be registered: %w", id, err)
	}
	if d.X509 != nil && len(id) > mostCommonName {
		return fmt.Errorf("%q cannot be registered with a certificate: it has more than %d characters", id, mostCommonName)
	}
	return nil
}
