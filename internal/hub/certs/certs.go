// Package certs makes the certificate authority and the server certificate of the embedded hub, and
// client certificates for devices. They are for tests on one machine: nothing else should trust them.
package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/wholefile"
)

// The files in the directory of an Authority. A key file holds the certificate too, so that the two
// cannot part; the certificate is beside it for others to read.
const (
	CAFile        = "ca.pem"     // the authority's certificate, for clients to trust
	caKeyFile     = "ca.key"     // with its key; readable by its owner alone
	serverFile    = "server.pem" // the server's certificate
	serverKeyFile = "server.key" // with its key; readable by its owner alone
	caLife        = 3650 * 24 * time.Hour
	leafLife      = 397 * 24 * time.Hour // the longest that common clients accept
	renewBefore   = 30 * 24 * time.Hour
)

// Authority is a certificate authority with a server certificate. It is safe for concurrent use.
type Authority struct {
	dir    string
	now    func() time.Time
	cert   *x509.Certificate
	key    crypto.Signer
	server tls.Certificate
}

// Open reads the authority kept in a directory, or makes one there; with an empty directory name it
// lives in memory. The server certificate is for loopback, testhub.local and the given host names;
// it is made anew when it lacks one of them, expires within a month, or cannot be read. An
// authority that cannot be read is an error: others may trust it. One of an earlier version, below which no authority of a
// manufacturer or a plant can stand, gets a new certificate for its old key: who trusts the old certificate goes on to trust what it signs.
func Open(dir string, hosts ...string) (*Authority, error) { return open(dir, time.Now, hosts) }

func open(dir string, now func() time.Time, hosts []string) (*Authority, error) {
	a := &Authority{dir: dir, now: now}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the certificate directory: %w", err)
		}
	}
	if err := a.openCA(); err != nil {
		return nil, fmt.Errorf("opening the certificate authority: %w", err)
	}
	hosts = append([]string{"localhost", "testhub.local", "127.0.0.1", "::1"}, hosts...)
	slices.Sort(hosts)
	if err := a.openServer(slices.Compact(hosts)); err != nil {
		return nil, fmt.Errorf("opening the server certificate: %w", err)
	}
	return a, nil
}

func (a *Authority) openCA() error {
	kept, err := a.load(caKeyFile)
	switch {
	case err == nil && a.lasts(kept) && kept.Leaf.MaxPathLenZero:
		signer, ok := kept.PrivateKey.(crypto.Signer)
		if !ok {
			break
		}
		renewed, err := a.issueFor(signer, authority(a.now()))
		if err != nil {
			return err
		}
		if err := a.save(renewed, caKeyFile, false); err != nil {
			return err
		}
		return a.adopt(renewed)
	case err == nil && a.lasts(kept):
		return a.adopt(kept)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w; remove %s to have a new one made", err, filepath.Join(a.dir, caKeyFile))
	}
	made, makeErr := a.issue(authority(a.now()))
	if makeErr != nil {
		return makeErr
	}
	first := errors.Is(err, os.ErrNotExist)
	if err := a.save(made, caKeyFile, first); errors.Is(err, os.ErrExist) {
		// Another hub that starts at the same time was faster: one authority serves both.
		if made, err = a.load(caKeyFile); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return a.adopt(made)
}

// authority is what the authority's certificate says. Others may stand below it, such as those of a manufacturer or a plant.
func authority(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: "twinfleet embedded hub CA"}, NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// adopt makes a pair the authority, and its certificate readable to others.
func (a *Authority) adopt(pair tls.Certificate) error {
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return errors.New("the certificate is no authority's")
	}
	a.cert, a.key = pair.Leaf, signer
	return a.publish(pair, CAFile)
}

// lasts reports whether a certificate need not be renewed yet.
func (a *Authority) lasts(pair tls.Certificate) bool {
	return pair.Leaf.NotAfter.Sub(a.now()) > renewBefore
}

func (a *Authority) openServer(hosts []string) error {
	kept, err := a.load(serverKeyFile)
	if err == nil && a.lasts(kept) && kept.Leaf.CheckSignatureFrom(a.cert) == nil && covers(kept.Leaf, hosts) {
		a.server = kept
		return a.publish(kept, serverFile)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "twinfleet embedded hub"}, NotAfter: a.now().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	if a.server, err = a.issue(template); err != nil {
		return err
	}
	if err := a.save(a.server, serverKeyFile, false); err != nil {
		return err
	}
	return a.publish(a.server, serverFile)
}

func covers(cert *x509.Certificate, hosts []string) bool {
	return !slices.ContainsFunc(hosts, func(h string) bool { return cert.VerifyHostname(h) != nil })
}

// issue signs a certificate with a new key; the authority itself when there is none yet.
func (a *Authority) issue(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	return a.issueFor(key, template)
}

// issueFor is issue for a key that there is already.
func (a *Authority) issueFor(key crypto.Signer, template *x509.Certificate) (_ tls.Certificate, err error) {
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return tls.Certificate{}, err
	}
	template.NotBefore = a.now().Add(-time.Hour) // clocks differ
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// Device makes a client certificate for a device id, signed by the authority.
func (a *Authority) Device(id string) (tls.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: id}, NotAfter: a.now().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Sign makes a client certificate of a device for the key of a request, whose other wishes do not count. It is returned with
// its chain as DER, leaf first.
func (a *Authority) Sign(request *x509.CertificateRequest, id string) ([][]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id}, NotBefore: a.now().Add(-time.Hour), NotAfter: a.now().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, request.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return [][]byte{leaf, a.cert.Raw}, nil
}

// Certificate is the authority's certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Pool holds the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// PEM is the authority's certificate as text.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Path is the file with the authority's certificate, or "" when it lives in memory.
func (a *Authority) Path() string {
	if a.dir == "" {
		return ""
	}
	return filepath.Join(a.dir, CAFile)
}

// ServerConfig is the TLS configuration of the hub: TLS 1.2 and up, because the Python SDK pins 1.2,
// and a client certificate that is asked for and not required (iot-hub-tls-support).
func (a *Authority) ServerConfig() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.server}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
}

func (a *Authority) load(name string) (tls.Certificate, error) {
	if a.dir == "" {
		return tls.Certificate{}, os.ErrNotExist
	}
	b, err := os.ReadFile(filepath.Join(a.dir, name))
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(b, b)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %w", name, err)
	}
	return pair, nil
}

// save keeps a pair with its key. As the first one it does not replace another: os.ErrExist.
func (a *Authority) save(pair tls.Certificate, name string, first bool) error {
	if a.dir == "" {
		return nil
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return a.write(name, append(text, certificatePEM(pair)...), 0o600, first)
}

// publish writes a certificate without its key, unless it is there already.
func (a *Authority) publish(pair tls.Certificate, name string) error {
	if a.dir == "" {
		return nil
	}
	text := certificatePEM(pair)
	if old, err := os.ReadFile(filepath.Join(a.dir, name)); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return a.write(name, text, 0o644, false)
}

func certificatePEM(pair tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
}

// write puts a file in its place as a whole or not at all. As the first one it does not replace
// another: os.ErrExist.
func (a *Authority) write(name string, text []byte, mode os.FileMode, first bool) error {
	path := filepath.Join(a.dir, name)
	if first {
		return wholefile.Create(path, text, mode)
	}
	return wholefile.Replace(path, text, mode)
}
