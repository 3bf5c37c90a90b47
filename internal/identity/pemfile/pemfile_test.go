package pemfile_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/identity/pemfile"
)

const password = "pass wörd"

// openssl runs OpenSSL in a directory; the test is skipped without one.
func openssl(t *testing.T, dir, args string) error {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl here")
	}
	cmd := exec.CommandContext(t.Context(), path, strings.Fields(args)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "KEY_PASSWORD="+password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("openssl %s: %v\n%s", args, err, out)
	}
	return err
}

// Every form in which OpenSSL writes keys is read, the encrypted ones with their password alone.
func TestLoadKey(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{
		"genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem",
		"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem",
		"genpkey -algorithm ed25519 -out ed.pem",
		"genpkey -algorithm ed448 -out ed448.pem",
		"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out koblitz.pem",
	} {
		if err := openssl(t, dir, args); err != nil {
			t.Fatal(err)
		}
	}
	const out, pass = " -out made.pem", " -passout env:KEY_PASSWORD"
	for _, tt := range []struct {
		args    string
		locked  bool
		refused string // what is said of it even with its password
	}{
		{args: "pkey -in rsa.pem"},
		{args: "pkey -in rsa.pem -traditional"},
		{args: "pkey -in ec.pem"},
		{args: "pkey -in ec.pem -traditional"},
		{args: "pkey -in ed.pem"},
		{args: "pkcs8 -topk8 -in rsa.pem" + pass, locked: true},
		{args: "pkcs8 -topk8 -in ec.pem -v2 aes-256-cbc" + pass, locked: true},
		{args: "pkcs8 -topk8 -in ec.pem -v2 aes-192-cbc -v2prf hmacWithSHA512" + pass, locked: true},
		{args: "pkcs8 -topk8 -in ed.pem -v2 aes-128-cbc -v2prf hmacWithSHA1" + pass, locked: true},
		{args: "pkcs8 -topk8 -in ec.pem -v2 aes-128-cbc -v2prf hmacWithSHA384" + pass, locked: true},
		{args: "pkcs8 -topk8 -in ec.pem -v2 des3" + pass, locked: true},
		{args: "pkcs8 -topk8 -in ec.pem -scrypt" + pass, locked: true},
		{args: "rsa -in rsa.pem -traditional -aes256" + pass, locked: true},
		{args: "rsa -in rsa.pem -traditional -des3" + pass, locked: true},
		{args: "ec -in ec.pem -aes128" + pass, locked: true},
		{
			args: "pkcs8 -topk8 -in ec.pem -v1 PBE-SHA1-3DES" + pass, locked: true,
			refused: "it is encrypted with PBES1, which is not read; encrypt it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out OTHER",
		},
		{args: "pkcs8 -topk8 -in ec.pem -v2 camellia-128-cbc" + pass, locked: true, refused: "it is encrypted with the cipher 1.2.392."},
		{args: "pkey -in ed448.pem", refused: "the private key cannot be read: it is damaged, or of a kind that is not known"},
		{args: "pkcs8 -topk8 -in ed448.pem" + pass, locked: true, refused: "the private key cannot be read"}, // and its password is right
		{args: "ec -in koblitz.pem -aes128" + pass, locked: true, refused: "the ec private key cannot be read"},
		{args: "ec -in ec.pem -camellia128" + pass, locked: true, refused: `it is encrypted with "CAMELLIA-128-CBC", which is not read`},
	} {
		if err := openssl(t, dir, tt.args+out); err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		made := read(t, dir, "made.pem")
		got, err := pemfile.LoadKey(made, password)
		if tt.refused != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tt.refused) {
				t.Errorf("%s: %v; want %s", tt.args, err, tt.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		if want := plain(t, dir, tt.args); !want.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(got.Public()) {
			t.Errorf("%s: another key", tt.args)
		}
		switch _, err := pemfile.LoadKey(made, ""); {
		case tt.locked && !errors.Is(err, pemfile.ErrPassword), !tt.locked && err != nil:
			t.Errorf("%s, without a password: %v", tt.args, err)
		}
		if !tt.locked {
			continue
		}
		// Of 64 wrong passwords some have a padding that is right by chance.
		for i := range 64 {
			if strings.Contains(tt.args, "pkcs8") && i > 2 {
				break // made to be slow
			}
			if _, err := pemfile.LoadKey(made, strings.Repeat("x", i+1)); !errors.Is(err, pemfile.ErrWrongPassword) {
				t.Errorf("%s, with a wrong password: %v", tt.args, err)
			}
		}
	}
}

// plain is the key that openssl was given.
func plain(t *testing.T, dir, args string) crypto.Signer {
	_, name, _ := strings.Cut(args, "-in ")
	name, _, _ = strings.Cut(name, " ")
	key, err := pemfile.LoadKey(read(t, dir, name), "")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func read(t *testing.T, dir, name string) []byte {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is no key says so, and never how the file goes on.
func TestNoKey(t *testing.T) {
	block := func(kind, text string) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(text)}) }
	for _, tt := range []struct {
		b    []byte
		want string
	}{
		{nil, "there is no key in PEM form"},
		{[]byte("hunter2"), "there is no key in PEM form"},
		{block("CERTIFICATE", "hunter2"), "there is no key in PEM form"},
		{block("PRIVATE KEY", "hunter2"), "the private key cannot be read"},
		{block("ENCRYPTED PRIVATE KEY", "hunter2"), "the encrypted key cannot be read"},
		{[]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\naGk=\n-----END RSA PRIVATE KEY-----\n"), "the encrypted key cannot be read"},
	} {
		_, err := pemfile.LoadKey(tt.b, "x")
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v; want %s", tt.b, err, tt.want)
		}
	}
}

// Whatever a file holds, reading it ends with a key or an error.
func FuzzLoadKey(f *testing.F) {
	files, err := filepath.Glob("testdata/*.pem")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		block, _ := pem.Decode(b)
		f.Add(block.Type, block.Bytes, block.Headers["DEK-Info"])
	}
	f.Fuzz(func(t *testing.T, kind string, der []byte, info string) {
		block := &pem.Block{Type: kind, Bytes: der}
		if info != "" {
			block.Headers = map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": info}
		}
		// What asks for much work takes long, and is none of this test.
		if bytes.Contains(der, []byte{0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47}) || bytes.Contains(der, []byte{0x02, 0x04}) || bytes.Contains(der, []byte{0x02, 0x03}) {
			return
		}
		key, err := pemfile.LoadKey(pem.EncodeToMemory(block), "secret")
		if err == nil {
			if _, err := x509.MarshalPKCS8PrivateKey(key); err != nil {
				t.Errorf("a key that cannot be written: %v", err)
			}
		}
	})
}
