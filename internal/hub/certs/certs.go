// Package certs makes the certificate authority and the server certificate of the embedded hub, and
// client certificates for devices. They are for tests on one machine: nothing else should trust them.
package certs

import (
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
)

// The files in the directory of an Authority.
const (
	CAFile        = "ca.pem"     // the authority's certificate, for clients to trust
	caKeyFile     = "ca.key"     // its key; readable by its owner alone
	serverFile    = "server.pem" // the server's certificate
	serverKeyFile = "server.key" // its key; readable by its owner alone
	caLife        = 3650 * 24 * time.Hour
	leafLife      = 397 * 24 * time.Hour // the longest that common clients accept
	renewBefore   = 30 * 24 * time.Hour
)

// Authority is a certificate authority with a server certificate.
type Authority struct {
	dir    string
	cert   *x509.Certificate
	key    crypto.Signer
	server tls.Certificate
}

// Open reads the authority kept in a directory, or makes one there; with an empty directory name it
// lives in memory. The server certificate is for loopback, testhub.local and the given host names;
// it is made anew when it lacks one of them or expires within a month.
func Open(dir string, hosts ...string) (*Authority, error) {
	a := &Authority{dir: dir}
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
	pair, err := a.load(CAFile, caKeyFile)
	if err == nil && time.Until(pair.Leaf.NotAfter) > renewBefore {
		a.cert, a.key = pair.Leaf, pair.PrivateKey.(crypto.Signer)
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "twinfleet embedded hub CA"}, NotAfter: time.Now().Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	made, err := a.issue(template)
	if err != nil {
		return err
	}
	a.cert, a.key = made.Leaf, made.PrivateKey.(crypto.Signer)
	return a.save(made, CAFile, caKeyFile)
}

func (a *Authority) openServer(hosts []string) error {
	pair, err := a.load(serverFile, serverKeyFile)
	if err == nil && time.Until(pair.Leaf.NotAfter) > renewBefore && pair.Leaf.CheckSignatureFrom(a.cert) == nil && covers(pair.Leaf, hosts) {
		a.server = pair
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, NotAfter: time.Now().Add(leafLife),
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
	return a.save(a.server, serverFile, serverKeyFile)
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
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return tls.Certificate{}, err
	}
	template.NotBefore = time.Now().Add(-time.Hour) // clocks differ
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// Device makes a client certificate for a device id, signed by the authority.
func (a *Authority) Device(id string) (tls.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: id}, NotAfter: time.Now().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

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

func (a *Authority) load(certFile, keyFile string) (tls.Certificate, error) {
	if a.dir == "" {
		return tls.Certificate{}, os.ErrNotExist
	}
	return tls.LoadX509KeyPair(filepath.Join(a.dir, certFile), filepath.Join(a.dir, keyFile))
}

func (a *Authority) save(pair tls.Certificate, certFile, keyFile string) error {
	if a.dir == "" {
		return nil
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return err
	}
	// The key goes first: a certificate without its key would not be made again.
	if err := os.WriteFile(filepath.Join(a.dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600); err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	return os.WriteFile(filepath.Join(a.dir, certFile), cert, 0o644)
}
