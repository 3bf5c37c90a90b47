package certfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/identity/certfile"
)

// A chain is as long as agents take it: one that is longer is refused where it is read, and not after the run has begun.
func TestChainsAreBounded(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for n, ok := range map[int]bool{1: true, 17: true, 18: false} {
		files := map[string][]byte{
			"a.pem": bytes.Repeat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), n),
			"a.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		}
		c, err := certfile.Load(func(name string) ([]byte, error) { return files[name], nil }, "a.pem", "a.key", "")
		if ok && (err != nil || len(c.Certificate) != n) {
			t.Errorf("%d certificates: %v", n, err)
		}
		if !ok && (!errors.Is(err, certfile.ErrFiles) || !strings.Contains(err.Error(), "a.pem: it has 18 certificates")) {
			t.Errorf("%d certificates: %v", n, err)
		}
	}
}
