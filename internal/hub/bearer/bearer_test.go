package bearer_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/twinfleet/twinfleet/internal/hub/bearer"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func token(t *testing.T, method jwt.SigningMethod, key any, issuer string, expires time.Time) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": issuer}
	if !expires.IsZero() {
		claims["exp"] = expires.Unix()
	}
	text, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTokensOfAnIssuer(t *testing.T) {
	secret := strings.Repeat("s", 32)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	later := now.Add(time.Hour)
	for name, tt := range map[string]struct {
		key   string
		token string
		want  error
	}{
		"HS256":                   {secret, token(t, jwt.SigningMethodHS256, []byte(secret), "test", later), nil},
		"RS256":                   {public, token(t, jwt.SigningMethodRS256, private, "test", later), nil},
		"another secret":          {secret, token(t, jwt.SigningMethodHS256, []byte("another"), "test", later), bearer.ErrToken},
		"another issuer":          {secret, token(t, jwt.SigningMethodHS256, []byte(secret), "other", later), bearer.ErrToken},
		"expired":                 {secret, token(t, jwt.SigningMethodHS256, []byte(secret), "test", now), bearer.ErrToken},
		"without an end":          {secret, token(t, jwt.SigningMethodHS256, []byte(secret), "test", time.Time{}), bearer.ErrToken},
		"unsigned":                {secret, token(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "test", later), bearer.ErrToken},
		"the public key a secret": {public, token(t, jwt.SigningMethodHS256, []byte(public), "test", later), bearer.ErrToken},
		"no token":                {secret, "abc", bearer.ErrToken},
	} {
		v, err := bearer.Parse("issuer=test,key=" + file(t, tt.key))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Check(tt.token, now); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", name, err, tt.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []string{"all", "issuer=x", "key=" + file(t, strings.Repeat("s", 32)), "issuer=x,key=", "issuer=x,alg=none"} {
		if _, err := bearer.Parse(bad); !errors.Is(err, bearer.ErrOption) {
			t.Errorf("Parse(%q) = %v; want ErrOption", bad, err)
		}
	}
	for _, bad := range []string{"issuer=x,key=/nowhere", "issuer=x,key=" + file(t, "short"), "issuer=x,key=" + file(t, "-----BEGIN X-----")} {
		if _, err := bearer.Parse(bad); err == nil {
			t.Errorf("Parse(%q) accepts it", bad)
		}
	}
	if err := (bearer.Verifier{}).Check("x", now); !errors.Is(err, bearer.ErrNotAccepted) || !strings.Contains(err.Error(), bearer.Switch) {
		t.Errorf("without an option: %v", err)
	}
	v, err := bearer.Parse(bearer.Any)
	if err != nil || v.Check("x", now) != nil || v.Check("", now) == nil {
		t.Errorf("any: %v", err)
	}
	for header, want := range map[string]string{"Bearer abc": "abc", "bearer  abc ": "abc", "SharedAccessSignature sr=x": "", "Bearer": ""} {
		if got, is := bearer.Token(header); is != (want != "") || is && got != want {
			t.Errorf("Token(%q) = %q, %t", header, got, is)
		}
	}
}
