package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func mustOpen(t *testing.T, dir string, now func() time.Time, hosts ...string) *Authority {
	t.Helper()
	a, err := open(dir, now, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// shake does a handshake over a pipe and returns what each side made of the other.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	s, c := tls.Server(a, server), tls.Client(b, client)
	var wg sync.WaitGroup
	var serverErr error
	wg.Go(func() {
		if serverErr = s.HandshakeContext(t.Context()); serverErr == nil {
			_, serverErr = s.Write([]byte("x")) // in TLS 1.3 a client learns here that its certificate will not do
		}
		if serverErr != nil {
			a.Close()
		}
	})
	_, clientErr := io.ReadFull(c, make([]byte, 1))
	wg.Wait()
	a.Close()
	b.Close()
	return s.ConnectionState(), c.ConnectionState(), errors.Join(clientErr, serverErr)
}

func TestServerCertificate(t *testing.T) {
	a := mustOpen(t, "", time.Now, "hub.example", "10.1.2.3")
	for _, name := range []string{"localhost", "testhub.local", "127.0.0.1", "::1", "hub.example", "10.1.2.3"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			_, c, err := shake(t, a.ServerConfig(), &tls.Config{RootCAs: a.Pool(), ServerName: name, MinVersion: version, MaxVersion: version})
			if err != nil || c.Version != version {
				t.Errorf("%s with TLS %x: %v", name, version, err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		client *tls.Config
	}{
		{"another host", &tls.Config{RootCAs: a.Pool(), ServerName: "elsewhere.example"}},
		{"a client that does not trust the authority", &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}},
		{"TLS 1.1", &tls.Config{RootCAs: a.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}},
	} {
		if _, _, err := shake(t, a.ServerConfig(), tt.client); err == nil {
			t.Errorf("%s: the handshake succeeded", tt.name)
		}
	}
	leaf := a.server.Leaf
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		t.Errorf("the server's key is %T; want ECDSA P-256", leaf.PublicKey)
	}
	if leaf.IsCA || leaf.NotAfter.Sub(leaf.NotBefore) > 398*24*time.Hour {
		t.Errorf("the server certificate is valid for %v; clients refuse more than 398 days", leaf.NotAfter.Sub(leaf.NotBefore))
	}
}

func TestDeviceCertificate(t *testing.T) {
	a := mustOpen(t, "", time.Now)
	stranger := mustOpen(t, "", time.Now)
	for _, tt := range []struct {
		from *Authority
		ok   bool
	}{{a, true}, {stranger, false}} {
		cert, err := tt.from.Device("dev-1")
		if err != nil {
			t.Fatal(err)
		}
		// A certificate is asked for and not checked in the handshake: one of a thumbprint is nobody's.
		s, _, err := shake(t, a.ServerConfig(), &tls.Config{RootCAs: a.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{cert}})
		if err != nil || len(s.PeerCertificates) != 1 || s.PeerCertificates[0].Subject.CommonName != "dev-1" {
			t.Fatalf("the server saw %v, %v; want dev-1", s.PeerCertificates, err)
		}
		_, err = s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if (err == nil) != tt.ok {
			t.Errorf("verifying the certificate: %v; want ok = %v", err, tt.ok)
		}
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
			t.Error("a device's certificate may serve")
		}
	}
	if s, _, err := shake(t, a.ServerConfig(), &tls.Config{RootCAs: a.Pool(), ServerName: "localhost"}); err != nil || len(s.PeerCertificates) != 0 {
		t.Errorf("without a certificate: %v, %v; want a connection all the same", s.PeerCertificates, err)
	}
}

func TestKeptInADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "certs")
	first := mustOpen(t, dir, time.Now, "hub.example")
	for name, want := range map[string]os.FileMode{CAFile: 0o644, caKeyFile: 0o600, serverFile: 0o644, serverKeyFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Errorf("the directory holds %v, %v; want four files", entries, err)
	}
	onDisk, err := os.ReadFile(first.Path())
	if err != nil || string(onDisk) != string(first.PEM()) || strings.Contains(string(onDisk), "PRIVATE") {
		t.Errorf("%s is not the certificate alone: %v", first.Path(), err)
	}
	second := mustOpen(t, dir, time.Now, "hub.example")
	if !second.cert.Equal(first.cert) || !second.server.Leaf.Equal(first.server.Leaf) {
		t.Error("the second start made new certificates; want the old ones")
	}
	// A client that trusts the first start's file trusts the second start.
	if _, _, err := shake(t, second.ServerConfig(), &tls.Config{RootCAs: first.Pool(), ServerName: "hub.example"}); err != nil {
		t.Error(err)
	}
	if mustOpen(t, "", time.Now).Path() != "" {
		t.Error("an authority in memory has a path")
	}
}

// What makes which certificate anew.
func TestRenewal(t *testing.T) {
	day := 24 * time.Hour
	later := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	overwrite := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name            string
		change          func(t *testing.T, dir string)
		now             func() time.Time
		hosts           []string
		sameCA, sameOne bool
	}{
		{"nothing", nil, time.Now, nil, true, true},
		{"a month before the server certificate expires", nil, later(397*day - 30*day - time.Hour), nil, true, true},
		{"less than a month before", nil, later(397*day - 30*day + time.Hour), nil, true, false},
		{"long after", nil, later(3000 * day), nil, true, false},
		{"less than a month before the authority expires", nil, later(3650*day - 29*day), nil, false, false},
		{"a further host name", nil, time.Now, []string{"other.example"}, true, false},
		{"one host name less", nil, time.Now, []string{"localhost"}, true, true},
		{"the server's key is gone", remove(serverKeyFile), time.Now, nil, true, false},
		{"the server's key is damaged", overwrite(serverKeyFile, "?"), time.Now, nil, true, false},
		{"the server's certificate for others is gone", remove(serverFile), time.Now, nil, true, true},
		{"the authority's certificate for others is damaged", overwrite(CAFile, "?"), time.Now, nil, true, true},
		{"the authority's key is gone", remove(caKeyFile), time.Now, nil, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			old := mustOpen(t, dir, time.Now)
			if tt.change != nil {
				tt.change(t, dir)
			}
			got := mustOpen(t, dir, tt.now, tt.hosts...)
			if same := got.cert.Equal(old.cert); same != tt.sameCA {
				t.Errorf("same authority = %v; want %v", same, tt.sameCA)
			}
			if same := got.server.Leaf.Equal(old.server.Leaf); same != tt.sameOne {
				t.Errorf("same server certificate = %v; want %v", same, tt.sameOne)
			}
			if err := got.server.Leaf.CheckSignatureFrom(got.cert); err != nil {
				t.Errorf("the server certificate is not of the authority: %v", err)
			}
			for name, want := range map[string][]byte{CAFile: got.PEM(), serverFile: certificatePEM(got.server)} {
				if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != string(want) {
					t.Errorf("%s is not the certificate in use: %v", name, err)
				}
			}
			third := mustOpen(t, dir, tt.now, tt.hosts...)
			if !third.cert.Equal(got.cert) || !third.server.Leaf.Equal(got.server.Leaf) {
				t.Error("the next start made new ones")
			}
		})
	}
}

func TestDamagedAuthorityIsAnError(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, time.Now)
	server, err := os.ReadFile(filepath.Join(dir, serverKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"garbage": "?", "empty": "", "no authority": string(server)} {
		if err := os.WriteFile(filepath.Join(dir, caKeyFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil {
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: the error shows the file: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(dir, caKeyFile, "below")); err == nil {
		t.Error("a directory below a file was opened")
	}
}

// Hubs that start at once in one directory share one authority.
func TestConcurrentFirstStart(t *testing.T) {
	dir := t.TempDir()
	all := make([]*Authority, 8)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			var err error
			if all[i], err = Open(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if i := slices.IndexFunc(all, func(a *Authority) bool { return !a.cert.Equal(all[0].cert) }); i >= 0 {
		t.Errorf("start %d has an authority of its own", i)
	}
	if b, err := os.ReadFile(filepath.Join(dir, CAFile)); err != nil || string(b) != string(all[0].PEM()) {
		t.Errorf("%s is not the authority's certificate: %v", CAFile, err)
	}
}

// An authority of an earlier version allowed none below it. It keeps its key, so that what either certificate is trusted for holds on.
func TestAuthorityOfAnEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	old := &Authority{dir: dir, now: time.Now}
	template := authority(time.Now())
	template.MaxPathLenZero = true
	pair, err := old.issue(template)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(old.save(pair, caKeyFile, true), old.adopt(pair)); err != nil {
		t.Fatal(err)
	}
	device, err := old.Device("dev-1")
	if err != nil {
		t.Fatal(err)
	}
	a := mustOpen(t, dir, time.Now)
	if a.cert.MaxPathLenZero || a.cert.MaxPathLen != -1 || !a.cert.PublicKey.(*ecdsa.PublicKey).Equal(old.cert.PublicKey) {
		t.Errorf("path length %d, %t", a.cert.MaxPathLen, a.cert.MaxPathLenZero)
	}
	if b, err := os.ReadFile(filepath.Join(dir, CAFile)); err != nil || string(b) != string(a.PEM()) {
		t.Errorf("%s is not the new one: %v", CAFile, err)
	}
	if _, _, err := shake(t, a.ServerConfig(), &tls.Config{RootCAs: old.Pool(), ServerName: "localhost"}); err != nil {
		t.Errorf("a client that trusts the old certificate: %v", err)
	}
	if _, err := device.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("a device's certificate: %v", err)
	}
	if again := mustOpen(t, dir, time.Now); !again.cert.Equal(a.cert) {
		t.Error("it was made anew once more")
	}
}

// An authority's file that was left empty says what to do; a server's is made anew.
func TestEmptyFiles(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, time.Now)
	for _, name := range []string{serverFile, serverKeyFile, CAFile} {
		if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, dir, time.Now)
	if err := os.Truncate(filepath.Join(dir, caKeyFile), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir, time.Now, nil); err == nil || !strings.Contains(err.Error(), "remove ") {
		t.Errorf("an empty authority: %v", err)
	}
}
