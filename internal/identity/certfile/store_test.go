package certfile_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/internal/identity/certfile"
)

// signed are a certificate, with its authority's above it, and its key, in PEM.
func signed(t *testing.T) (certificate, key []byte) {
	t.Helper()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	made, err := a.Device("d")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][]byte{made.Certificate[0], a.Certificate().Raw} {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x})...)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// disk counts what is read of it.
type disk struct {
	certificate, key []byte
	mu               sync.Mutex
	reads            int
	empty            bool
}

func (d *disk) read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	switch {
	case d.empty:
		return nil, fs.ErrNotExist
	case strings.HasSuffix(name, ".key"):
		return d.key, nil
	}
	return d.certificate, nil
}

// A Store keeps what it has room for, and what was asked for last; all else is read when it is asked for.
func TestStore(t *testing.T) {
	d := &disk{}
	d.certificate, d.key = signed(t)
	const n = 3000
	s := certfile.NewStore(d.read, n/2*1200)
	name := func(i int) (certificate, key string) { return fmt.Sprintf("%d.pem", i), fmt.Sprintf("%d.key", i) }
	for i := range n {
		c, k := name(i)
		x, err := s.Keep(c, k, "")
		if err != nil || x.Leaf == nil {
			t.Fatalf("certificate %d: %+v, %v", i, x, err)
		}
	}
	load := func(i int) (*tls.Certificate, int) {
		t.Helper()
		before := d.reads
		c, k := name(i)
		x, err := s.Load(c, k, "")
		if err != nil || len(x.Certificate) != 2 || x.PrivateKey == nil || x.Leaf != nil {
			t.Fatalf("certificate %d: %+v, %v", i, x, err)
		}
		return x, d.reads - before
	}
	kept := 0
	for i := range n {
		x, reads := load(i)
		if reads == 0 {
			if kept++; kept != i+1 {
				t.Fatalf("certificate %d is kept, and one before it is not", i)
			}
		}
		if first, _ := load(0); kept == i+1 && &x.Certificate[1][0] != &first.Certificate[1][0] {
			t.Fatal("that of the authority is kept twice")
		}
	}
	if kept < n/3 || kept > n*2/3 {
		t.Errorf("%d of %d are kept; want about a half", kept, n)
	}
	for _, x := range []struct{ i, want int }{{n - 1, 0}, {n - 1000, 0}, {n - 1001, 2}, {n - 1000, 2}} { // the latest
		if _, reads := load(x.i); reads != x.want {
			t.Errorf("certificate %d: %d files were read; want %d", x.i, reads, x.want)
		}
	}
	d.empty = true
	load(0)
	load(n - 1)
	if _, err := s.Load("x.pem", "x.key", ""); !errors.Is(err, certfile.ErrFiles) {
		t.Error(err)
	}
}

// Devices ask at once.
func TestStoreAtOnce(t *testing.T) {
	d := &disk{}
	d.certificate, d.key = signed(t)
	s := certfile.NewStore(d.read, 2000)
	if _, err := s.Keep("0.pem", "0.key", ""); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 100 {
				if _, err := s.Load(fmt.Sprintf("%d.pem", i%20), fmt.Sprintf("%d.key", i%20), ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
