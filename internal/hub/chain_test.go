package hub_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// signed makes a certificate below another.
func signed(t *testing.T, parent tls.Certificate, template x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, parent.Leaf, key.Public(), parent.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, parent.Certificate...), PrivateKey: key, Leaf: leaf}
}

// A device whose certificate was signed by an authority below the hub's own is let in, and one of a stranger's is not.
func TestDeviceChain(t *testing.T) {
	dir := t.TempDir()
	h, service := open(t, hub.Options{CertDir: dir})
	if _, err := service.CreateDevice(t.Context(), registry.Identity{
		DeviceID: "dev-1", Authentication: registry.Authentication{Type: registry.AuthCertificateAuthority},
	}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := tls.X509KeyPair(text, text)
	if err != nil {
		t.Fatal(err)
	}
	authority := x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	authority.Subject = pkix.Name{CommonName: "a manufacturer"}
	maker := signed(t, root, authority)
	authority.Subject = pkix.Name{CommonName: "a plant of it"}
	plant := signed(t, maker, authority)
	device := x509.Certificate{Subject: pkix.Name{CommonName: "dev-1"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	short := signed(t, plant, device)
	short.Certificate = short.Certificate[:1]
	other := device
	other.Subject = pkix.Name{CommonName: "dev-2"}
	for name, tt := range map[string]struct {
		cert tls.Certificate
		code byte
	}{
		"signed by the hub's authority":          {signed(t, root, device), mqtt.Accepted},
		"by one below it":                        {signed(t, maker, device), mqtt.Accepted},
		"by one below that":                      {signed(t, plant, device), mqtt.Accepted},
		"without the authorities between":        {short, mqtt.NotAuthorized},
		"of another device":                      {signed(t, plant, other), mqtt.NotAuthorized},
		"of a device that plays at an authority": {signed(t, signed(t, root, device), device), mqtt.NotAuthorized},
	} {
		w, err := dialTLS(t, h, &tls.Config{Certificates: []tls.Certificate{tt.cert}})
		if err != nil {
			t.Fatal(err)
		}
		login := wiretest.Login("dev-1", sas.NewKey())
		login.Password = nil
		if _, code := w.Connect(login); code != tt.code {
			t.Errorf("%s: CONNACK %d; want %d", name, code, tt.code)
		}
	}
}
