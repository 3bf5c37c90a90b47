package target

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/twinfleet/twinfleet/internal/identity/pemfile"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/scenario"
)

// Exported is what some devices prove themselves with, for a process that drives them and did not make them. It shows nothing of itself: who
// sends it seals what Reveal gives.
type Exported struct{ b []byte }

// redacted stands wherever keys would have been printed.
const redacted = "[redacted]"

// Reveal is the keys and certificates, as ImportIdentities takes them.
func (x Exported) Reveal() []byte { return x.b }

// String hides the keys.
func (x Exported) String() string { return redacted }

// GoString hides the keys.
func (x Exported) GoString() string { return redacted }

// Format hides the keys, whatever the verb.
func (x Exported) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue hides the keys in log lines.
func (x Exported) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the keys in JSON and YAML.
func (x Exported) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// String says how many devices there are, and nothing of what they prove themselves with.
func (all *Identities) String() string { return fmt.Sprintf("identities of %d devices", len(all.IDs)) }

// GoString is String.
func (all *Identities) GoString() string { return all.String() }

// Format is String, whatever the verb.
func (all *Identities) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(all.String())) }

// LogValue is String in log lines.
func (all *Identities) LogValue() slog.Value { return slog.StringValue(all.String()) }

// An export is: the four bytes of its form; how many devices the scenario has; the certificates that stand above those of devices, each once, as
// a list of texts; and a list of devices in the order of their indexes: the distance from the one before, the id, 1 with the client id, the user name
// and the password of a broker's device whose file this process alone has or else 0, the kind of proof, and the proof. That of a key is its bytes; that of a certificate its DER, the numbers of those above it, and the private key in PKCS #8. Numbers are
// varints, and the bytes of a text stand behind their number.
const exportForm = "TFI\x02"

// The kinds of proof.
const (
	proofNone = iota // of a broker's devices: the scenario names their passwords
	proofKey
	proofCertificate
)

// Bounds of what is read: an id is at most 128 bytes (iot-hub-devguide-identity-registry), and the others are far above what there is.
const (
	mostID   = 128
	mostText = 65535 // of MQTT
	mostKey  = 4 << 10
	mostDER  = 64 << 10
)

var (
	// ErrExport is the class of errors of an export that cannot be read, or that is another scenario's.
	ErrExport = errors.New("what devices prove themselves with cannot be read")
	// ErrUnproven is returned by Export for a device that has nothing to prove itself with, since it is not provisioned yet.
	ErrUnproven = errors.New("the device has nothing to prove itself with yet")
)

// Export is what the devices of some indexes prove themselves with, and their ids. They must be provisioned: ErrUnproven; certificates that are
// made when they are first needed are made now. It is safe beside others that read identities, but not beside Provision.
func (all *Identities) Export(indexes []int) (Exported, error) {
	indexes = slices.Clone(indexes)
	slices.Sort(indexes)
	indexes = slices.Compact(indexes)
	var above [][]byte
	var devices []byte
	last := -1
	for _, index := range indexes {
		if index < 0 || index >= len(all.IDs) {
			return Exported{}, fmt.Errorf("exporting identities: there is no device %d among %d", index, len(all.IDs))
		}
		id := all.IDs[index]
		if all.here == nil && all.authors[index] != nil && all.certs[index] == nil {
			if err := all.certify(index); err != nil {
				return Exported{}, fmt.Errorf("exporting identities: device %s: %w", id, err)
			}
		}
		devices = binary.AppendUvarint(devices, uint64(index-last-1))
		devices = appendText(devices, []byte(id))
		last = index
		p, err := all.exported(index)
		if err == nil {
			devices, above, err = p.append(devices, above)
		}
		if err != nil {
			return Exported{}, fmt.Errorf("exporting identities: device %s: %w", id, err)
		}
		if p == (proof{}) && all.sc.Target.Can().Twins {
			return Exported{}, fmt.Errorf("exporting identities: device %s: %w", id, ErrUnproven)
		}
	}
	b := binary.AppendUvarint([]byte(exportForm), uint64(len(all.IDs)))
	b = binary.AppendUvarint(b, uint64(len(above)))
	for _, der := range above {
		b = appendText(b, der)
	}
	b = binary.AppendUvarint(b, uint64(len(indexes)))
	return Exported{append(b, devices...)}, nil
}

// exported is what a device proves itself with, of a broker's device with what only this process has read of it.
func (all *Identities) exported(index int) (p proof, err error) {
	p = all.proof(index)
	if all.here != nil || !all.sc.Target.Can().Topics {
		return p, nil
	}
	g := all.groups[index]
	i := index - all.First(g)
	if i < len(g.Identity.Rows) {
		login := g.Login(i)
		p.login = &login
	}
	if p.cert == nil {
		p.cert, err = g.Certificate(i)
	}
	return p, err
}

func appendText(b, text []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// append writes the proof; above are the certificates above devices' that are there already.
func (p proof) append(b []byte, above [][]byte) (_ []byte, _ [][]byte, err error) {
	if l := p.login; l != nil {
		b = append(b, 1)
		for _, text := range []string{l.ClientID, l.Username, l.Password.Reveal()} {
			b = appendText(b, []byte(text))
		}
	} else {
		b = append(b, 0)
	}
	switch {
	case p.cert != nil:
		private, err := x509.MarshalPKCS8PrivateKey(p.cert.PrivateKey)
		if err != nil {
			return nil, nil, err
		}
		b = appendText(append(b, proofCertificate), p.cert.Certificate[0])
		b = binary.AppendUvarint(b, uint64(len(p.cert.Certificate)-1))
		for _, der := range p.cert.Certificate[1:] {
			n := slices.IndexFunc(above, func(x []byte) bool { return bytes.Equal(x, der) })
			if n < 0 {
				n, above = len(above), append(above, der)
			}
			b = binary.AppendUvarint(b, uint64(n))
		}
		return appendText(b, private), above, nil
	case p.key.IsZero():
		return append(b, proofNone), above, nil
	}
	raw, err := base64.StdEncoding.DecodeString(p.key.Base64())
	return appendText(append(b, proofKey), raw), above, err
}

// imported are the devices of which an Identities has the proofs.
type imported struct {
	mu sync.RWMutex // protects of
	of map[int]proof
}

func (x *imported) proof(index int) proof {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.of[index]
}

// ImportIdentities are the devices of a scenario in a process that has what some of them prove themselves with: those that others drive have no
// ids and no proofs. Errors match ErrExport.
func ImportIdentities(sc *scenario.Scenario, export []byte) (*Identities, error) {
	all := &Identities{sc: sc, IDs: make([]string, sc.Devices()), here: &imported{of: make(map[int]proof)}}
	_, err := all.Import(export)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// errMade is returned by Import for identities that were not imported.
var errMade = errors.New("identities of this process take none of another")

// Import adds the devices of a further export, and returns their indexes: they were another process's, which is gone. With an error it adds
// none. Devices that are there already may run meanwhile. Errors match ErrExport.
func (all *Identities) Import(export []byte) (indexes []int, err error) {
	if all.here == nil {
		return nil, errMade
	}
	devices, err := parseExport(export, len(all.IDs))
	if err != nil {
		return nil, err
	}
	all.here.mu.Lock()
	defer all.here.mu.Unlock()
	for i := range devices {
		d := &devices[i]
		if all.IDs[d.index] == "" { // what runs already reads it
			all.IDs[d.index] = d.id
		}
		all.here.of[d.index] = d.proof
		indexes = append(indexes, d.index)
	}
	return indexes, nil
}

// exportedDevice is one device of an export.
type exportedDevice struct {
	index int
	id    string
	proof proof
}

// parseExport reads an export of a scenario of n devices.
func parseExport(b []byte, n int) (devices []exportedDevice, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(exportForm))
	if !ok {
		return nil, fmt.Errorf("%w: it is of another version, or none", ErrExport)
	}
	r := &exportReader{rest: rest}
	if got := r.number("devices of the scenario", 1<<40); r.err == nil && got != n {
		return nil, fmt.Errorf("%w: it is of a scenario of %d devices, this has %d", ErrExport, got, n)
	}
	var above [][]byte
	for left := r.number("certificates", len(r.rest)); left > 0 && r.err == nil; left-- {
		above = append(above, r.text("certificate", mostDER))
	}
	index := -1
	for left := r.number("devices", min(n, len(r.rest))); left > 0 && r.err == nil; left-- {
		index += 1 + r.number("distance", n)
		if r.err == nil && index >= n {
			r.fail("there is no device %d", index)
		}
		d := exportedDevice{index: index, id: string(r.text("id", mostID))}
		if r.err == nil && d.id == "" {
			r.fail("device %d has no id", index)
		}
		d.proof = r.proof(above)
		devices = append(devices, d)
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes stand behind its end", len(r.rest))
	}
	if r.err != nil {
		return nil, r.err
	}
	return devices, nil
}

// exportReader reads the parts of an export. After an error it gives nothing.
type exportReader struct {
	rest []byte
	err  error
}

func (r *exportReader) fail(format string, a ...any) {
	if r.err == nil {
		r.err, r.rest = fmt.Errorf("%w: "+format, append([]any{ErrExport}, a...)...), nil
	}
}

// number is the next one, which is at most a bound.
func (r *exportReader) number(what string, most int) int {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.rest)
	switch {
	case n <= 0:
		r.fail("the number of %s is cut off", what)
	case v > uint64(max(0, most)):
		r.fail("%d as the number of %s", v, what)
	default:
		r.rest = r.rest[n:]
		return int(v)
	}
	return 0
}

// text is the next one, which has at most so many bytes. It is part of what is read.
func (r *exportReader) text(what string, most int) []byte {
	n := r.number("bytes of the "+what, most)
	if n > len(r.rest) {
		r.fail("the %s is cut off", what)
	}
	if r.err != nil {
		return nil
	}
	text := r.rest[:n:n]
	r.rest = r.rest[n:]
	return text
}

// proof is the next one.
func (r *exportReader) proof(above [][]byte) (p proof) {
	if r.number("its login", 1) == 1 {
		p.login = &scenario.Login{
			ClientID: string(r.text("client id", mostText)), Username: string(r.text("user name", mostText)), Password: scenario.NewSecret(string(r.text("password", mostText))),
		}
	}
	switch kind := r.number("its kind of proof", proofCertificate); kind {
	case proofKey:
		key, err := sas.ParseKey(base64.StdEncoding.EncodeToString(r.text("key", mostKey)))
		if err != nil {
			r.fail("a device's key is empty")
		}
		p.key = key
	case proofCertificate:
		cert := tls.Certificate{Certificate: [][]byte{bytes.Clone(r.text("certificate", mostDER))}}
		for left := r.number("certificates above", pemfile.MostAbove); left > 0 && r.err == nil; left-- {
			if n := r.number("a certificate above", len(above)-1); n < len(above) {
				cert.Certificate = append(cert.Certificate, above[n])
			} else {
				r.fail("there is no certificate %d", n)
			}
		}
		r.pair(&cert, r.text("private key", mostDER))
		p.cert = &cert
	}
	return p
}

// pair completes a certificate with its private key.
func (r *exportReader) pair(cert *tls.Certificate, private []byte) {
	if r.err != nil {
		return
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		r.fail("a device's certificate is none")
		return
	}
	key, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		r.fail("a device's private key is none") // the error may hold some of it
		return
	}
	cert.Leaf, cert.PrivateKey = leaf, key
}
