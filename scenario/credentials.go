package scenario

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/identity/certfile"
	"github.com/twinfleet/twinfleet/internal/identity/credentials"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/topic"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// Credential is what Identity.Credentials says of one device of a broker. What it does not say is empty, and follows from the group's templates.
type Credential struct {
	ClientID, Username string
	Password           Secret
	Certificate, Key   string // files in PEM, relative to the scenario; both or neither
	KeyPassword        Secret // of an encrypted Key
}

// Login is what a device of a broker names itself by, and its password.
type Login struct {
	ClientID string // empty for one that the server gives
	Username string // empty for none
	Password Secret // zero for none
}

// everyDevice is the client id of a group that says none.
const everyDevice = "{device}"

// Login is what the group's i-th device, counted from 0, says to a broker.
func (g *Group) Login(i int) Login {
	var row Credential
	if i >= 0 && i < len(g.Identity.Rows) {
		row = g.Identity.Rows[i]
	}
	id := g.DeviceID(i)
	l := Login{ClientID: row.ClientID, Username: row.Username, Password: row.Password}
	if l.ClientID == "" && !g.Unnamed {
		l.ClientID = g.Fill(cmp.Or(g.ClientID, everyDevice), id, i)
	}
	if l.Username == "" {
		l.Username = g.Fill(g.Username, id, i)
	}
	if l.Password.IsZero() && !g.Password.IsZero() {
		l.Password = NewSecret(g.Fill(g.Password.Reveal(), id, i))
	}
	return l
}

// CommonName is what the certificate of the group's i-th device is made for, where an authority signs it: the device id unless X509.CommonName
// says otherwise.
func (g *Group) CommonName(i int) string {
	name := everyDevice
	if x := g.Identity.Certificates(); x != nil {
		name = cmp.Or(x.CommonName, name)
	}
	return g.Fill(name, g.DeviceID(i), i)
}

// Certificate is what the group's i-th device proves itself with to a broker, where files have it, without its Leaf; nil for one that has none.
// It may have to read them: of a fleet that is very large they do not all stay in memory.
func (g *Group) Certificate(i int) (*tls.Certificate, error) {
	cert, key, password := g.pair(i)
	if cert == "" || g.Identity.files == nil {
		return nil, nil
	}
	return g.Identity.files.Load(cert, key, password.Reveal())
}

// Certified reports whether the certificate of the group's i-th device is in a file.
func (g *Group) Certified(i int) bool {
	cert, _, _ := g.pair(i)
	return cert != ""
}

// pair are the files of the i-th device's certificate and key, and the password of the key; empty for none.
func (g *Group) pair(i int) (cert, key string, password Secret) {
	if rows := g.Identity.Rows; i < len(rows) && rows[i].Certificate != "" {
		password = rows[i].KeyPassword
		if x := g.Identity.X509; password.IsZero() && x != nil {
			password = x.KeyPassword
		}
		return rows[i].Certificate, rows[i].Key, password
	}
	x := g.Identity.X509
	if x == nil || x.Certificate == "" {
		return "", "", password
	}
	id := g.DeviceID(i)
	return g.Fill(x.Certificate, id, i), g.Fill(x.Key, id, i), x.KeyPassword
}

// HasFiles reports whether certificates of the group's devices are in files.
func (g *Group) HasFiles() bool {
	if g.Identity.X509 != nil && g.Identity.X509.Certificate != "" {
		return true
	}
	for i := range g.Identity.Rows {
		if g.Identity.Rows[i].Certificate != "" {
			return true
		}
	}
	return false
}

// mostKept bounds what certificates from files take in memory, in bytes: those of some 230,000 devices whose keys are of elliptic curves, or 45,000 with
// RSA. The files of others are read when a device is about to connect.
const mostKept = 256 << 20

// loginKeys are the keys of a group that say what its devices tell a broker of themselves.
func loginKeys(g *Group) []language.Key {
	return []language.Key{
		key("client_id", readClientID(g), is(everyDevice),
			"Broker: client id of each device; {device}, {group} and {index} are replaced, and no two of a run are the same. \"\" has the server give one to each."),
		key("username", value.Text(&g.Username), means("that of target"), "Broker: user name, instead of target.username; {device}, {group} and {index} are replaced."),
		key("password", readSecret(&g.Password), means("that of target"),
			"Broker: password, instead of target.password, best from the environment; {device}, {group} and {index} are replaced."),
	}
}

func readClientID(g *Group) language.Value {
	return language.Value{Form: form.Text, Read: func(r *language.Reader, path string, n *yaml.Node) {
		value.Text(&g.ClientID).Read(r, path, n)
		g.Unnamed = g.ClientID == ""
	}}
}

// finishLogin has a group's devices say what the target says of all, where the group says nothing of its own.
func (r *reader) finishLogin(path string, g *Group, t *target.Target) {
	if !r.Given(path + ".username") {
		g.Username = t.Username
	}
	if !r.Given(path+".password") && t.Password != "" {
		g.Password = NewSecret(t.Password)
	}
}

// readCredentials reads the file of a group's credentials, and counts its rows.
func (r *reader) readCredentials(path string, g *Group) {
	d, at := &g.Identity, path+".identity.credentials"
	if d.Credentials == "" || r.handed {
		return
	}
	b, err := r.readSecretFile(d.Credentials)
	if err != nil {
		r.FailAt(at, g.place, "the file cannot be read: %v", err)
		return
	}
	rows, err := credentials.Parse(b)
	if err != nil {
		for _, one := range unjoin(err) {
			text := strings.TrimPrefix(one.Error(), credentials.ErrFile.Error()+": ")
			if line, rest, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok && strings.HasPrefix(text, "line ") {
				r.FailAt(at, g.place, "%s:%s: %s", d.Credentials, line, rest)
				continue
			}
			r.FailAt(at, g.place, "%s: %s", d.Credentials, text)
		}
		return
	}
	if !r.Given(path + ".count") {
		g.Count, d.Counted = len(rows), len(rows)
	} else if g.Count > len(rows) {
		r.FailAt(path+".count", g.place, "%d devices, but %s has %d rows; write a smaller count, or put more into the file", g.Count, d.Credentials, len(rows))
		return
	}
	d.Rows = make([]Credential, len(rows)) // finishSizes takes as many as there are to be
	d.lines = make([]int, len(rows))
	for i := range rows {
		x := &rows[i]
		d.Rows[i] = Credential{x.ClientID, x.Username, NewSecret(x.Password), x.Certificate, x.Key, NewSecret(x.KeyPassword)}
		d.lines[i] = x.Line
	}
}

// mostMissing is how many devices of a group are named whose certificates are not there.
const mostMissing = 5

// checkCertificates reads the certificates and keys of a group's devices, so that none is missing when the run has begun.
func (r *reader) checkCertificates(path string, g *Group, t *target.Target) {
	if t.Kind != target.Broker || r.handed || !g.HasFiles() || g.Identity.DPS != nil {
		return
	}
	x, at := g.Identity.X509, path+".identity.x509"
	if x == nil || x.Certificate == "" {
		at = path + ".identity.credentials"
	} else if x.Key == "" || x.CA != "" || topic.Unknown(x.Certificate) != "" || topic.Unknown(x.Key) != "" {
		return // is said by validation
	}
	if to, err := t.Endpoint(); err != nil || !to.TLS {
		return // likewise
	}
	if r.certificates == nil {
		r.certificates = certfile.NewStore(r.readSecretFile, mostKept)
	}
	g.Identity.files = r.certificates
	bad, old, first, now := 0, 0, "", time.Now()
	seen := make(map[[2]string]bool)
	for i := range g.Count {
		cert, key, password := g.pair(i)
		if cert == "" || seen[[2]string{cert, key}] {
			continue
		}
		seen[[2]string{cert, key}] = true
		c, err := r.certificates.Keep(cert, key, password.Reveal())
		if err != nil {
			if bad++; bad <= mostMissing {
				r.FailAt(at, g.place, "%sdevice %s: %s", g.Identity.row(i), g.DeviceID(i), strings.TrimPrefix(err.Error(), certfile.ErrFiles.Error()+": "))
			}
			continue
		}
		if why := certfile.Holds(c, now); why != "" {
			if old++; old == 1 {
				first = fmt.Sprintf("the certificate of device %s (%s) %s", g.DeviceID(i), cert, why)
			}
		}
	}
	if bad > mostMissing {
		r.FailAt(at, g.place, "%d more devices of group %s have no certificate that can be used", bad-mostMissing, g.Name)
	}
	if old == 1 {
		r.WarnAt(at, g.place, "%s; brokers refuse it: renew it", first)
	} else if old > 1 {
		r.WarnAt(at, g.place, "%s, and those of %d others do not hold now either; brokers refuse them: renew them", first, old-1)
	}
}

// row says where the credentials of the i-th device stand: "file:line: "; "" for one without a row.
func (d *Identity) row(i int) string {
	if i >= len(d.lines) {
		return ""
	}
	return fmt.Sprintf("%s:%d: ", d.Credentials, d.lines[i])
}

// validateLogins holds what a group's devices say to a broker of themselves to MQTT.
func (r *reader) validateLogins(path string, g *Group, t *target.Target) {
	if !t.Can().Topics {
		for _, name := range []string{"client_id", "username", "password"} {
			if r.Given(path + "." + name) {
				r.FailAt(path+"."+name, g.place, "only devices of a plain broker have a %s; those of a hub go by id and identity: remove it", name)
			}
		}
		return
	}
	if t.Can().Twins {
		return // nobody knows what it is
	}
	for name, text := range map[string]string{"client_id": g.ClientID, "username": g.Username} {
		if !r.Given(path + "." + name) {
			continue
		}
		if x := cmp.Or(topic.Unknown(text), topic.Character(text)); x != "" {
			r.FailAt(path+"."+name, g.place, "%s", x)
		}
	}
	if topic.Unknown(g.Password.Reveal()) != "" && r.Given(path+".password") { // what stands there is secret
		r.FailAt(path+".password", g.place, "nothing is known to put in for a name in braces; there are {device}, {group}, {index}")
	}
	last := g.Login(g.Count - 1)
	for name, text := range map[string]string{"client_id": last.ClientID, "username": last.Username, "password": last.Password.Reveal()} {
		if len(text) > mostText {
			r.FailAt(path+"."+name, g.place, "it has %d bytes; MQTT takes %d", len(text), mostText)
		}
	}
	for i := range max(1, len(g.Identity.Rows)) { // the same for all without rows
		if g.Kept && g.Login(i).ClientID == "" {
			r.FailAt(path+".client_id", g.place,
				"%sa broker keeps a session by its client id, and a device with \"\" has another with each connection; give one, such as \"{device}\", or write session: {clean: true}",
				g.Identity.row(i))
			break
		}
	}
	if t.V5() {
		return
	}
	for i := range max(1, len(g.Identity.Rows)) {
		if l := g.Login(i); l.Username == "" && !l.Password.IsZero() && (len(g.Identity.Rows) > 0 || r.Given(path+".password")) {
			r.FailAt(path+".password", g.place, "%s"+noUser, g.Identity.row(i))
			return
		}
	}
}

// noUser is what is wrong with a password alone (MQTT 3.1.1 section 3.1.2.9).
const noUser = "a password without a user name is none in MQTT 3.1.1; give username too, or write target.mqtt: 5"

// validateTargetLogin finds a password of the target that a group has without a user name.
func (r *reader) validateTargetLogin(s *Scenario) {
	if !r.Given("target.password") || s.Target.Kind != target.Broker || s.Target.V5() {
		return
	}
	for n := range s.Fleet.Groups {
		g := &s.Fleet.Groups[n]
		if l := g.Login(0); l.Username == "" && !l.Password.IsZero() && len(g.Identity.Rows) == 0 && !r.Given(fmt.Sprintf("fleet.groups[%d].password", n)) {
			r.FailAt("target.password", g.place, noUser)
			return
		}
	}
}

// mostText is how many bytes a text of MQTT has (MQTT 3.1.1 section 1.5.3).
const mostText = 65535

// validateClientIDs finds devices of a broker with one client id: the server ends the older of their connections (MQTT 3.1.1 section 3.1.4).
func (r *reader) validateClientIDs(s *Scenario) {
	if s.Target.Kind != target.Broker || r.handed {
		return
	}
	known := s.Devices() <= mostIDs
	of := make(map[string]*Group)
	for n := range s.Fleet.Groups {
		g := &s.Fleet.Groups[n]
		path := fmt.Sprintf("fleet.groups[%d]", n)
		own := r.Given(path+".client_id") || len(g.Identity.Rows) > 0
		if template := cmp.Or(g.ClientID, everyDevice); g.Count > 1 && !g.Unnamed && len(g.Identity.Rows) == 0 &&
			!strings.Contains(template, everyDevice) && !strings.Contains(template, "{index}") {
			if topic.Unknown(template) == "" {
				r.FailAt(path+".client_id", g.place, "%q gives all %d devices one client id; put {device} or {index} into it", template, g.Count)
			}
			continue
		}
		for i := range g.Count {
			if !known {
				break
			}
			id := g.Login(i).ClientID
			other := of[id]
			if of[id] = g; id == "" || other == nil || other == g && len(g.Identity.Rows) == 0 || !own && other.ClientID == everyDevice && len(other.Identity.Rows) == 0 {
				continue // one id of several devices is said of the ids
			}
			r.FailAt(path+".client_id", g.place, "%sclient id %q is one of group %s already; a broker ends the older of two connections with one client id",
				g.Identity.row(i), id, other.Name)
			break
		}
	}
}

// validateBrokerIdentity holds the identity of a group to what a plain broker knows.
func (r *reader) validateBrokerIdentity(at string, g *Group, t *target.Target) {
	d := &g.Identity
	for name, set := range map[string]bool{"file": d.File != "", "key": !d.Key.IsZero(), "dps": d.DPS != nil} {
		if set {
			r.FailAt(at+"."+name, g.place, "only a hub knows devices by identity.%s; write identity: {credentials: devices.csv}, identity: {x509: …}, or username and password", name)
		}
	}
	if d.Credentials == "" && d.X509 == nil && d.File == "" && d.Key.IsZero() && d.DPS == nil && r.Given(at) {
		r.FailAt(at, g.place, "give credentials, x509 or both; without identity devices have username and password, of the group or of target")
	}
	if d.DPS != nil {
		return
	}
	if d.X509 != nil || g.HasFiles() {
		if x, err := t.Endpoint(); err == nil && !x.TLS {
			where := at + ".x509"
			if d.X509 == nil {
				where = at + ".credentials"
			}
			r.FailAt(where, g.place, "certificates need TLS; write mqtts:// or wss:// in target.hub")
		}
	}
	if x := d.X509; x != nil {
		r.validateBrokerX509(at+".x509", g, x)
	}
}

func (r *reader) validateBrokerX509(at string, g *Group, x *X509) {
	switch {
	case x.Thumbprint:
		r.FailAt(at+".thumbprint", g.place, "a broker knows no thumbprints of devices; give ca and key of an authority, or certificate and key")
	case x.Certificate != "" && x.CA != "":
		r.FailAt(at, g.place, "give ca, whose authority signs a certificate for each device, or certificate, which names files of them; not both")
	case x.CA+x.Certificate == "" && x.Key != "":
		r.FailAt(at, g.place, "a key proves nothing alone; give ca, or certificate, too")
	case x.CA+x.Certificate == "":
		r.FailAt(at, g.place, "a broker trusts only authorities that it knows; give ca and key, or certificate and key")
	case x.Key == "":
		r.FailAt(at, g.place, "the key is missing; give key, the file with the key of %s", map[bool]string{true: "the authority", false: "each certificate"}[x.CA != ""])
	case x.Certificate != "" && x.CommonName != "":
		r.FailAt(at+".common_name", g.place, "certificates in files have their names; remove common_name")
	}
	for name, text := range map[string]string{"certificate": x.Certificate, "key": x.Key, "common_name": x.CommonName} {
		if name == "key" && x.Certificate == "" {
			continue
		}
		if wrong := topic.Unknown(text); wrong != "" {
			r.FailAt(at+"."+name, g.place, "%s", wrong)
		}
	}
	if g.HasFiles() && x.Certificate == "" {
		r.FailAt(at, g.place, "%s has certificates of devices; remove x509, or the columns certificate and key", g.Identity.Credentials)
	}
	if n := len(g.CommonName(g.Count - 1)); n > mostCommonName && x.Certificate == "" {
		r.FailAt(at+".common_name", g.place, "a common name has %d characters at most (RFC 5280), and this makes %d", mostCommonName, n)
	}
}
