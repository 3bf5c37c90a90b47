package scenario

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/internal/identity/certfile"
	"github.com/twinfleet/twinfleet/internal/identity/keyfile"
	"github.com/twinfleet/twinfleet/internal/identity/pemfile"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/internal/regular"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// Identity is how a group's devices get to be known by the target, and prove who they are. Of a hub, at most one of File,
// Key, X509 and DPS is set; with none the run makes identities with symmetric keys of their own. Of a broker, Credentials and X509 may be.
type Identity struct {
	File    string      // of connection strings; empty for none
	Devices []DeviceKey // of that file, or of DPS, as many as the group has devices
	Key     Secret      // of an enrollment group, in base64: keys of devices are derived from it
	X509    *X509       // nil for devices with keys
	DPS     *DPS        // nil for devices that are not assigned by a provisioning service

	Credentials string          // broker only: file of what devices say of themselves, a row each; empty for none
	Rows        []Credential    // of that file, as many as the group has devices; nil where another process has read it (Options.Handed)
	Counted     int             // devices of that file, when it says how many the group has; 0 when the group says so itself
	lines       []int           // of the file, where Rows stand
	files       *certfile.Store // of devices that have certificates in files; nil for none
}

// DeviceKey is a device that a hub knows already.
type DeviceKey struct {
	HostName string // of its hub
	DeviceID string // as the hub has it, small and capital letters differ
	Key      Secret // in base64
}

// X509 is devices with certificates.
type X509 struct {
	CA, Key     string           // files of the authority, in PEM
	KeyPassword Secret           // of Key, when it is encrypted; zero for none
	Authority   *tls.Certificate // certificate, those above it but for the root, and key, of these files; nil when the run makes one in memory, or with Thumbprint
	Certificate string           // broker only: template of the files with a certificate for each device, whose keys are in Key then; empty for an authority
	CommonName  string           // broker only: template of that of certificates that the authority signs; {device} when empty
	Thumbprint  bool             // devices sign their certificates themselves, and the hub knows their thumbprints
}

// Made reports whether a run makes the group's identities.
func (d *Identity) Made() bool { return d.File == "" && d.DPS == nil }

// Creates reports whether the identities of a group's devices have to be made before the run. The embedded hub starts empty: it
// is given also those that exist elsewhere, but for those that its provisioning service makes.
func (s *Scenario) Creates(g *Group) bool {
	return g.Identity.Made() || (s.Target.Can().InProcess || s.Target.Kind == target.Apart) && g.Identity.DPS == nil
}

// listed is the file that the group's devices are read from, and how many it has; "" for none.
func (d *Identity) listed() (file string, devices int) {
	switch {
	case d.DPS != nil:
		return d.DPS.File, len(d.Devices)
	case d.Credentials != "":
		return d.Credentials, len(d.Rows)
	}
	return d.File, len(d.Devices)
}

// Certificates are those of the devices, for whichever purpose; nil for devices with keys.
func (d *Identity) Certificates() *X509 {
	if d.DPS != nil {
		return d.DPS.X509
	}
	return d.X509
}

// authorityKeys are who signs the certificates of devices; embedded is what the embedded hub does about it.
func authorityKeys(x *X509, embedded string) []language.Key {
	return []language.Key{
		key("ca", value.Text(&x.CA), means("made in memory"),
			"File with the certificate of the authority that signs the devices' certificates, in PEM; the hub must know it, or one "+
				"of those above it, which follow in the file and are sent with the devices' own. "+embedded+" Its path is "+
				"relative to the scenario."),
		key("key", value.Text(&x.Key), none, "File with the authority's key, in PEM: PKCS #8, PKCS #1 or SEC 1, encrypted or not."),
		key("key_password", readSecret(&x.KeyPassword), means("the key is not encrypted"), "Password of an encrypted key, best as ${KEY_PASSWORD}."),
	}
}

func identityKeys(d *Identity) []language.Key {
	certificates := func(x *X509) []language.Key {
		return append(authorityKeys(x, "The embedded hub is told."),
			key("certificate", value.Text(&x.Certificate), none,
				"Broker: files with a certificate for each device instead of ca, certs/{device}.pem, in PEM with those above it, which are sent too; key names the "+
					"files of their keys then, certs/{device}.key. {device}, {group} and {index} are replaced."),
			key("common_name", value.Text(&x.CommonName), means("{device}"),
				"Broker: common name of the certificates that the authority signs; {device}, {group} and {index} are replaced."),
			key("thumbprint", value.Bool(&x.Thumbprint), is("false"),
				"Devices sign their certificates themselves, and the hub knows them by their thumbprints."))
	}
	return []language.Key{
		key("file", value.Text(&d.File), none,
			"File of device connection strings: CSV with a column connection_string, separated by commas, semicolons or tabs, or a "+
				"single column, or JSON lines {\"connectionString\": …}. Such devices are neither made nor removed; count is how many of "+
				"them to use."),
		key("credentials", value.Text(&d.Credentials), none,
			"Broker: file of what devices say of themselves, a row each: CSV with a header of some of client_id, username, password, certificate, key and "+
				"key_password, or JSON lines with these names. What a row leaves out follows from the keys of the group. count is how many of them to use."),
		key("key", readKey(&d.Key), none,
			"Key of an enrollment group, best as ${GROUP_KEY}: the key of each device is derived from it, as device provisioning "+
				"does."),
		key("x509", value.Optional(&d.X509, value.Empty, certificates), none,
			"Certificates instead of keys, one a device with the device id as common name."),
		key("dps", value.Optional(&d.DPS, freshDPS, dpsKeys), none,
			"Devices are assigned to the hub by a provisioning service (DPS) before they connect: they register there, poll, and connect with the "+
				"identity that it made. The embedded hub has such a service, and needs no more than {}. Such devices are neither made nor removed by the run."),
	}
}

func readKey(into *Secret) language.Value {
	return language.Value{Form: form.Text, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a key", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		key, err := sas.ParseKey(s)
		if err != nil {
			r.Fail(path, n, "%v; take the primary key of the enrollment group", err)
			return
		}
		*into = NewSecret(key.Base64())
	}}
}

// readSecret reads a text that is shown to nobody.
func readSecret(into *Secret) language.Value {
	return language.Value{Form: form.Text, Read: func(r *language.Reader, path string, n *yaml.Node) {
		var s string
		value.Text(&s).Read(r, path, n)
		*into = NewSecret(s)
	}}
}

// finishTrust reads the certificates that target.ca names.
func (r *reader) finishTrust(t *target.Target) {
	const path = "target.ca"
	if t.CA == "" {
		return
	}
	b, err := r.readFile(t.CA)
	switch here, statErr := filepath.Abs(t.CA); {
	case err != nil && r.ReadFile == nil && errors.Is(err, fs.ErrNotExist) && statErr == nil && isFile(here):
		r.FailAt(path, problem.Place{},
			"there is no %s beside the scenario, where files are looked for; there is one in the working directory: write %s, or the path from the scenario", t.CA, here)
		return
	case err != nil:
		r.FailAt(path, problem.Place{}, "the file cannot be read: %v", err)
		return
	}
	if t.Trusted, err = pemfile.Certificates(b); err != nil {
		r.FailAt(path, problem.Place{}, "%s: %v", t.CA, err)
	}
}

func isFile(name string) bool {
	return regular.Check(name, 0) == nil
}

// largestVariable bounds a file that has the value of a variable.
const largestVariable = 1 << 20

// ReadVariable is the text of a file that NAME_FILE in the environment names, relative to the working directory, without the end of its last
// line. One that is empty, larger than 1 MiB, or no regular file is an error.
func ReadVariable(name string) (string, error) {
	b, err := regular.Read(name, largestVariable)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", fmt.Errorf("%s is empty", name)
	}
	return text, nil
}

// largestFile bounds a file that a scenario names; it holds millions of devices.
const largestFile = 1 << 30

// readFile reads a file that the scenario names, relative to its own directory.
func (r *reader) readFile(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(r.File), name)
	}
	if r.ReadFile != nil {
		return r.ReadFile(name)
	}
	return ReadNamed(name)
}

// readSecretFile is readFile for what devices of a broker prove themselves with, and names such.
func (r *reader) readSecretFile(name string) ([]byte, error) {
	if r.readSecret == nil {
		return r.readFile(name)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(r.File), name)
	}
	return r.readSecret(name)
}

// ReadNamed reads a file that a scenario names, as Options.ReadFile does when it is nil.
func ReadNamed(name string) ([]byte, error) { return regular.Read(name, largestFile) }

// readNamed is the value in a file that the environment names.
func (r *reader) readNamed(name string) (string, error) {
	if r.ReadFile != nil {
		b, err := r.ReadFile(name)
		return strings.TrimRight(string(b), "\r\n"), err
	}
	return ReadVariable(name)
}

// finishIdentity reads the files that a group's identity names.
func (r *reader) finishIdentity(path string, g *Group, t *target.Target) {
	d := &g.Identity
	if d.File != "" {
		r.readDevices(path, g, path+".identity.file", d.File)
	}
	if t.Kind != target.Broker {
		r.readAuthority(path+".identity.x509", g, d.X509, r.readFile)
		return
	}
	r.finishLogin(path, g, t)
	r.readCredentials(path, g)
	if !r.handed && (d.X509 == nil || d.X509.Certificate == "") {
		r.readAuthority(path+".identity.x509", g, d.X509, r.readSecretFile)
	}
}

// readAuthority reads the files of who signs the certificates of a group's devices, where they are named.
func (r *reader) readAuthority(path string, g *Group, x *X509, read func(name string) ([]byte, error)) {
	if x == nil || x.Thumbprint || x.CA == "" || x.Key == "" {
		return
	}
	cert, err := read(x.CA)
	if err != nil {
		r.FailAt(path+".ca", g.place, "the file cannot be read: %v", err)
		return
	}
	key, err := read(x.Key)
	if err != nil {
		r.FailAt(path+".key", g.place, "the file cannot be read: %v", err)
		return
	}
	authority, err := authority.Parse(cert, key, x.KeyPassword.Reveal())
	if err != nil {
		r.FailAt(path, g.place, "%v", err)
		return
	}
	x.Authority = authority.TLS()
}

// readDevices reads the group's devices from a file, which the key at a path names, and counts them.
func (r *reader) readDevices(path string, g *Group, at, file string) {
	d := &g.Identity
	b, err := r.readFile(file)
	if err != nil {
		r.FailAt(at, g.place, "the file cannot be read: %v", err)
		return
	}
	all, err := keyfile.Parse(b)
	if err != nil {
		for _, one := range unjoin(err) {
			r.FailAt(at, g.place, "%s: %s", file, strings.TrimPrefix(one.Error(), keyfile.ErrFile.Error()+": "))
		}
		return
	}
	if !r.Given(path + ".count") {
		g.Count = len(all)
	} else if g.Count > len(all) {
		r.FailAt(path+".count", g.place, "%d devices, but %s has %d", g.Count, file, len(all))
		return
	}
	for _, x := range all { // finishSizes takes as many as there are to be
		d.Devices = append(d.Devices, DeviceKey{x.HostName, x.DeviceID, NewSecret(x.Key.Base64())})
	}
}

// unjoin takes errors.Join apart.
func unjoin(err error) []error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) && strings.Contains(err.Error(), "\n") {
		return many.Unwrap()
	}
	return []error{err}
}

// validateIdentity holds the rules of one group's identity; first is the index of the group's first device.
func (r *reader) validateIdentity(path string, g *Group, s *Scenario, first int) {
	d, t := &g.Identity, &s.Target
	at := path + ".identity"
	if t.Kind == target.Broker {
		r.validateBrokerIdentity(at, g, t)
		return
	}
	if d.Credentials != "" {
		r.FailAt(at+".credentials", g.place, "only devices of a plain broker have credentials; those of a hub are in identity.file, with their connection strings")
		return
	}
	if x := d.X509; x != nil {
		for name, text := range map[string]string{"certificate": x.Certificate, "common_name": x.CommonName} {
			if text != "" {
				r.FailAt(at+".x509."+name, g.place, "only devices of a plain broker have it; a hub takes certificates with the device id as common name, that ca signs: remove it")
				return
			}
		}
	}
	parts := 0
	for _, set := range []bool{d.File != "", !d.Key.IsZero(), d.X509 != nil, d.DPS != nil} {
		if set {
			parts++
		}
	}
	if parts == 0 {
		if r.Given(at) {
			r.FailAt(at, g.place, "give one of file, key, x509, dps; without identity the run makes devices with keys of their own")
		}
		return
	}
	if parts > 1 {
		r.FailAt(at, g.place, "give one of file, key, x509, dps, not %d of them", parts)
		return
	}
	if d.File != "" {
		r.validateFileDevices(path, g, s, first)
	}
	if d.X509 != nil {
		r.validateX509(at+".x509", g, t, d.X509)
	}
	if d.DPS != nil {
		r.validateDPS(at+".dps", g, t)
	}
}

// validateFileDevices holds the devices of a file to the hubs that they belong to; first is the index of the group's first device.
func (r *reader) validateFileDevices(path string, g *Group, s *Scenario, first int) {
	if r.Given(path + ".id") {
		r.FailAt(path+".id", g.place, "device ids are those of the file; remove id")
	}
	if !s.Target.Can().Registry {
		return // the embedded hub takes devices of any hub
	}
	var hosts []string
	for _, t := range s.Target.Each() {
		c, err := connstring.ParseService(t.Hub)
		if err != nil {
			return // was said of the target
		}
		hosts = append(hosts, c.HostName)
	}
	for i, dev := range g.Identity.Devices {
		host := hosts[s.HubOf(first+i)]
		switch {
		case strings.EqualFold(dev.HostName, host):
			continue
		case len(hosts) > 1:
			r.FailAt(path+".identity.file", g.place, "%s: device %s belongs to %s, and %s is the hub of target.hubs whose turn it is: devices are dealt to them in the order of the file",
				g.Identity.File, dev.DeviceID, dev.HostName, host)
		default:
			r.FailAt(path+".identity.file", g.place, "%s: device %s belongs to %s, the target is %s", g.Identity.File, dev.DeviceID, dev.HostName, host)
		}
		return
	}
}

func (r *reader) validateX509(at string, g *Group, t *target.Target, x *X509) {
	switch {
	case x.Thumbprint && x.CA+x.Key != "":
		r.FailAt(at, g.place, "with thumbprint devices sign their certificates themselves; remove ca and key")
	case x.Key == "" && !x.KeyPassword.IsZero():
		r.FailAt(at+".key_password", g.place, "there is no key to open with it; give ca and key too, or remove key_password")
	case (x.CA == "") != (x.Key == ""):
		r.FailAt(at, g.place, "an authority needs both ca and key")
	case !x.Thumbprint && x.CA == "" && !t.Can().InProcess && g.Identity.DPS != nil:
		r.FailAt(at, g.place, "a provisioning service trusts only authorities that it knows; give ca and key")
	case !x.Thumbprint && x.CA == "" && !t.Can().InProcess:
		r.FailAt(at, g.place, "a hub elsewhere trusts only authorities that it knows; give ca and key, or thumbprint: true")
	}
	if t.Plain {
		r.FailAt(at, g.place, "certificates need TLS; remove target.plain")
	}
	if g.Tokens.Present {
		r.FailAt(at, g.place, "devices with certificates have no tokens; remove tokens")
	}
}

// validateDeviceIDs holds the ids of a group to the registry's rules and to those of topics, in which they stand.
func (r *reader) validateDeviceIDs(path string, g *Group) {
	check, file, at := usableID, g.Identity.File, path+".identity.file"
	if d := g.Identity.DPS; d != nil {
		check = func(id string) error { return cmp.Or(usableID(id), registrationID(d, id)) }
		file, at = d.File, path+".identity.dps.file"
	}
	if file != "" {
		for n := range g.Identity.Devices {
			if err := check(g.DeviceID(n)); err != nil {
				r.FailAt(at, g.place, "%s: %v", file, err)
				return
			}
		}
		return
	}
	filled := g.DeviceID(g.Count - 1)
	_, rest, found := strings.Cut(filled, "{")
	name, _, closed := strings.Cut(rest, "}")
	switch err := check(filled); {
	case g.Count > 1 && !strings.Contains(g.ID, "{index}"):
		r.FailAt(path+".id", g.place, "%q gives all %d devices one id; put {index} into it", g.ID, g.Count)
	case found && closed:
		r.FailAt(path+".id", g.place, "nothing is known to put in for {%s}; there are {group}, {index}", name)
	case err != nil:
		r.FailAt(path+".id", g.place, "%v", err)
	}
}

// usableID says why no device can have an id: it is the registry's refusal, or a wildcard of MQTT. Ids stand in
// topics as they are, and a topic with a wildcard ends the connection (MQTT 3.1.1 section 3.3.2.1).
func usableID(id string) error {
	if err := deviceid.Check(id); err != nil {
		return err
	}
	if strings.ContainsAny(id, "+#") {
		return fmt.Errorf("%w: %q holds + or #, which MQTT takes for wildcards, and device ids stand in topics", deviceid.ErrRefused, id)
	}
	return nil
}

// mostIDs bounds the comparison of ids of different groups.
const mostIDs = 2_000_000

// validateIDs finds a device that is in two groups.
func (r *reader) validateIDs(s *Scenario) {
	if len(s.Fleet.Groups) < 2 || s.Devices() > mostIDs {
		return
	}
	groupOf := make(map[string]int, s.Devices())
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		for n := range g.Count {
			if g.Name == "" {
				break // was said
			}
			id := g.DeviceID(n)
			if first, twice := groupOf[id]; twice && s.Fleet.Groups[first].Name != g.Name {
				r.FailAt(fmt.Sprintf("fleet.groups[%d].id", i), g.place, "device %s is in group %s too; ids must differ", id, s.Fleet.Groups[first].Name)
				break
			}
			groupOf[id] = i
		}
	}
}
