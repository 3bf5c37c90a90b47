//go:build integration

package brokers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pki is an authority that was made for a test, and the broker's certificate that it signed, in files.
type pki struct {
	ca, cert, key string // files
	caKey         string // file with the authority's key
	root          *x509.Certificate
	rootKey       *ecdsa.PrivateKey
	pair          tls.Certificate
	pool          *x509.CertPool
}

// newPKI makes an authority and a certificate for localhost and broker.test.
func newPKI(t *testing.T, dir string) *pki {
	t.Helper()
	now := time.Now()
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			BasicConstraintsValid: true,
		}
	}
	root, leaf := template("authority of a test"), template("broker")
	root.IsCA, root.KeyUsage = true, x509.KeyUsageCertSign
	leaf.DNSNames, leaf.IPAddresses = []string{"localhost", "broker.test"}, []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP("::1")}
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	var keys [2]*ecdsa.PrivateKey
	var ders [2][]byte
	for i, x := range []*x509.Certificate{root, leaf} {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		if ders[i], err = x509.CreateCertificate(rand.Reader, x, root, &keys[i].PublicKey, keys[0]); err != nil {
			t.Fatal(err)
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(keys[1])
	if err != nil {
		t.Fatal(err)
	}
	authorityKey, err := x509.MarshalPKCS8PrivateKey(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	p := &pki{rootKey: keys[0], pool: x509.NewCertPool(), pair: tls.Certificate{Certificate: [][]byte{ders[1]}, PrivateKey: keys[1]}}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	p.ca, p.cert, p.key = write("ca.pem", "CERTIFICATE", ders[0]), write("broker.pem", "CERTIFICATE", ders[1]), write("broker.key", "PRIVATE KEY", key)
	authority, err := x509.ParseCertificate(ders[0])
	if err != nil {
		t.Fatal(err)
	}
	p.root, p.caKey = authority, write("ca.key", "PRIVATE KEY", authorityKey)
	p.pool.AddCert(authority)
	return p
}
