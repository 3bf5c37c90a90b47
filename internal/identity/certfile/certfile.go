// Package certfile reads what a device proves itself with from two files: its certificate, with those above it, and its key.
package certfile

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/twinfleet/twinfleet/internal/identity/pemfile"
)

// ErrFiles is the class of errors of Load. Their texts name the file and what to do, and hold nothing of the key.
var ErrFiles = errors.New("certificate of a device")

// Load reads a certificate and its key, in PEM; the password, which may be empty, is the key's. The certificate's file may have those above it
// after it: all are sent, in their order. Errors match ErrFiles.
func Load(read func(name string) ([]byte, error), certificate, key, password string) (*tls.Certificate, error) {
	b, err := readNamed(read, certificate)
	if err != nil {
		return nil, err
	}
	all, err := pemfile.Certificates(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFiles, certificate, err)
	}
	if len(all)-1 > pemfile.MostAbove {
		return nil, fmt.Errorf("%w: %s: it has %d certificates, and a device sends its own and %d above it at the most; leave out those that are not above it", ErrFiles,
			certificate, len(all), pemfile.MostAbove)
	}
	if b, err = readNamed(read, key); err != nil {
		return nil, err
	}
	signer, err := pemfile.LoadKey(b, password)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFiles, key, err)
	}
	c := &tls.Certificate{PrivateKey: signer, Leaf: all[0]}
	for i, x := range all {
		c.Certificate = append(c.Certificate, x.Raw)
		public, ok := x.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		fits := ok && public.Equal(signer.Public())
		switch {
		case i == 0 && fits:
			continue
		case fits && !all[0].Equal(x):
			return nil, fmt.Errorf("%w: %s: the key is of certificate %d in it, and the first is the one that is proved; put the device's own first", ErrFiles, certificate, i+1)
		}
	}
	if public, ok := all[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(signer.Public()) {
		return nil, fmt.Errorf("%w: %s is not the key of %s; give the key that the certificate was made for", ErrFiles, key, certificate)
	}
	return c, nil
}

func readNamed(read func(name string) ([]byte, error), name string) ([]byte, error) {
	b, err := read(name)
	var path *fs.PathError
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s: no such file; paths are relative to the scenario", ErrFiles, name)
	case errors.As(err, &path): // it names the whole path
		err = path.Err
	}
	return nil, fmt.Errorf("%w: %s: it cannot be read: %w", ErrFiles, name, err)
}

// Holds says why a certificate proves nothing at a time: it ended, or has not begun; "" for one that holds.
func Holds(c *tls.Certificate, now time.Time) string {
	switch x := c.Leaf; {
	case now.After(x.NotAfter):
		return "ended on " + x.NotAfter.UTC().Format(time.DateOnly)
	case now.Before(x.NotBefore):
		return "begins on " + x.NotBefore.UTC().Format(time.DateOnly)
	}
	return ""
}
