package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"
)

// authorityBelow makes an authority whose certificate another signed; nil makes a root.
func authorityBelow(t *testing.T, name string, above *Authority) *Authority {
	t.Helper()
	made, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, above)
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{cert: made.Leaf, key: made.PrivateKey.(crypto.Signer)}
}

func certPEM(all ...*Authority) []byte {
	var b []byte
	for _, a := range all {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...)
	}
	return b
}

func keyPEM(t *testing.T, key any, kind string) []byte {
	t.Helper()
	var der []byte
	var err error
	switch kind {
	case "RSA PRIVATE KEY":
		der = x509.MarshalPKCS1PrivateKey(key.(*rsa.PrivateKey))
	case "EC PRIVATE KEY":
		der, err = x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	default:
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Devices send the authorities between their own certificates and a root that the hub knows, in order, whatever the
// order of the file.
func TestDevicesSendIntermediates(t *testing.T) {
	root := authorityBelow(t, "root", nil)
	middle := authorityBelow(t, "middle", root)
	low := authorityBelow(t, "low", middle)
	stranger := authorityBelow(t, "stranger", nil)
	roots := x509.NewCertPool()
	roots.AddCert(root.cert)
	for name, tt := range map[string]struct {
		files []*Authority
		by    *Authority
		want  []*Authority // after the device's own
	}{
		"a root alone":       {[]*Authority{root}, root, nil},
		"a chain":            {[]*Authority{low, middle, root}, low, []*Authority{low, middle}},
		"without the root":   {[]*Authority{low, middle}, low, []*Authority{low, middle}},
		"in another order":   {[]*Authority{root, stranger, middle, low}, low, []*Authority{low, middle}},
		"signed by a middle": {[]*Authority{middle, low}, middle, []*Authority{middle}},
	} {
		a, err := Parse(certPEM(tt.files...), keyPEM(t, tt.by.key, "PRIVATE KEY"), "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		made, err := a.Device("robot-1")
		if err != nil {
			t.Fatal(err)
		}
		sent := made.Certificate[1:]
		if len(sent) != len(tt.want) {
			t.Errorf("%s: %d certificates follow; want %d", name, len(sent), len(tt.want))
			continue
		}
		between := x509.NewCertPool()
		for i, want := range tt.want {
			if !bytes.Equal(sent[i], want.cert.Raw) {
				t.Errorf("%s: certificate %d is not that of %s", name, i+1, want.cert.Subject.CommonName)
			}
			between.AddCert(want.cert)
		}
		if _, err := made.Leaf.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: between,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}); err != nil {
			t.Errorf("%s: who knows the root refuses it: %v", name, err)
		}
		if _, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]}),
			keyPEM(t, made.PrivateKey, "PRIVATE KEY")); err != nil {
			t.Errorf("%s: certificate and key differ: %v", name, err)
		}
	}
}

// Keys and certificates are read in the forms in which tools write them.
func TestFormsOfAuthorities(t *testing.T) {
	ec := authorityBelow(t, "ec", nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: ec.cert.SerialNumber, Subject: pkix.Name{CommonName: "rsa"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &rsaKey.PublicKey, rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	cert, key := certPEM(ec), keyPEM(t, ec.key, "PRIVATE KEY")
	mark := []byte("\ufeff")
	utf16 := append([]byte("\xff\xfe"), bytes.Join(bytes.Split(cert, nil), []byte{0})...)
	for name, pair := range map[string][2][]byte{
		"PKCS #8": {cert, key}, "SEC 1": {
			cert,
			append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), keyPEM(t, ec.key, "EC PRIVATE KEY")...),
		},
		"PKCS #1": {rsaPEM, keyPEM(t, rsaKey, "RSA PRIVATE KEY")}, "byte-order marks": {append(mark, cert...), append(mark, key...)},
		"UTF-16": {append(utf16, 0), key}, "text before": {append([]byte("subject=CN = ec\n"), cert...), key},
		"key and certificate in one": {append(key, cert...), append(cert, key...)},
	} {
		if _, err := Parse(pair[0], pair[1], ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	old := append([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00000000000000000000000000000000\n\n"),
		[]byte("aHVzaA==\n-----END RSA PRIVATE KEY-----\n")...)
	for name, tt := range map[string]struct {
		cert, key []byte
		want      string
	}{
		"encrypted":           {cert, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("hush")}), "give its password in key_password"},
		"encrypted, old form": {cert, old, "give its password in key_password"},
		"DER":                 {ec.cert.Raw, key, "openssl x509 -inform DER"},
		"a key for a ca":      {key, key, "no certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----, but private key"},
		"a ca for a key":      {cert, cert, "key: there is no key in PEM form"},
		"another's key":       {cert, keyPEM(t, rsaKey, "PRIVATE KEY"), "the key is of none of the certificates"},
		"a broken key":        {cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hush")}), "the private key cannot be read"},
		"a broken ca":         {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hush")}), key, "certificate 1:"},
	} {
		_, err := Parse(tt.cert, tt.key, "")
		if !errors.Is(err, ErrAuthority) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
}

func TestAuthority(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	cert, key := asPEM("CERTIFICATE", a.cert.Raw), asPEM("PRIVATE KEY", keyDER)
	second, err := Parse(cert, key, "")
	if err != nil {
		t.Fatal(err)
	}
	made, err := second.Device("robot-1")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	if _, err := made.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil ||
		made.Leaf.Subject.CommonName != "robot-1" {
		t.Errorf("certificate of %q: %v", made.Leaf.Subject.CommonName, err)
	}
	own, thumbprint, err := SelfSigned("robot-2")
	if err != nil || len(thumbprint) != 64 || own.Leaf.CheckSignature(own.Leaf.SignatureAlgorithm, own.Leaf.RawTBSCertificate, own.Leaf.Signature) != nil {
		t.Errorf("self-signed: %v, thumbprint %q", err, thumbprint)
	}
	leafKey, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{
		"no PEM":           {[]byte("x"), []byte("y")},
		"another's key":    {cert, asPEM("PRIVATE KEY", leafKey)},
		"not an authority": {asPEM("CERTIFICATE", made.Certificate[0]), asPEM("PRIVATE KEY", leafKey)},
	} {
		if _, err := Parse(pair[0], pair[1], ""); !errors.Is(err, ErrAuthority) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var _ tls.Certificate = made
}
