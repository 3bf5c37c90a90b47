// Package pemfile reads certificates and private keys from files in PEM.
package pemfile

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/internal/table"
)

// MostAbove is how many certificates above its own a device may send: far more than there are, and as many as is handed on to other machines.
const MostAbove = 16

// Certificates reads the certificates of a file in PEM: in UTF-8, or in UTF-16 with a byte-order mark.
func Certificates(b []byte) ([]*x509.Certificate, error) {
	text, err := table.Text(b)
	if err != nil {
		if _, der := x509.ParseCertificate(b); der == nil {
			return nil, errors.New("the certificate is in DER form; write it in PEM: openssl x509 -inform DER -in FILE")
		}
		return nil, err
	}
	var all []*x509.Certificate
	others := ""
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			others += ", but " + strings.ToLower(block.Type)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----%s", others)
	}
	return all, nil
}

// errNoKey is said of a file without a key.
var errNoKey = errors.New("there is no key in PEM form, which begins with -----BEGIN PRIVATE KEY-----")

// LoadKey reads a private key in PEM: PKCS #8, PKCS #1 or SEC 1, the first one that there is. The password, which may be empty, opens one that is
// encrypted, with PBES2 or in the older form of OpenSSL. Its errors say nothing of the key, nor of the password; ErrPassword and
// ErrWrongPassword are among them.
func LoadKey(b []byte, password string) (crypto.Signer, error) {
	text, err := table.Text(b)
	if err != nil {
		return nil, errNoKey
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"): // such as EC PARAMETERS
			continue
		case encrypted(block):
			return decrypt(block, password)
		default:
			return signerOf(block)
		}
	}
	return nil, errNoKey
}

// errNoSigner is said of a key of another purpose.
var errNoSigner = errors.New("it cannot sign")

func signerOf(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("the %s cannot be read: it is damaged, or of a kind that is not known; RSA, ECDSA with P-256, P-384 or P-521, and Ed25519 are",
			strings.ToLower(block.Type))
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errNoSigner
	}
	return signer, nil
}
