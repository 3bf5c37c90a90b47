// Package bearer is the bearer tokens that a hub accepts from services which know it by Microsoft Entra ID and
// not by a shared access policy (iot-hub-dev-guide-azure-ad-rbac). A local hub has no directory to ask: it takes
// tokens of one test issuer, or any.
package bearer

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/twinfleet/twinfleet/internal/regular"
)

// Switch is the switch of the hub's command that lets it accept bearer tokens.
const Switch = "--accept-bearer"

// Any, given to Parse, accepts whatever token there is.
const Any = "any"

// ErrNotAccepted is returned by [Verifier.Check] where no bearer token is accepted.
var ErrNotAccepted = errors.New("this hub takes shared access signatures; start it with " + Switch +
	" any, or with the issuer and key of your tokens, to let bearer tokens in")

// ErrOption is returned by Parse for text that is no option.
var ErrOption = errors.New("write any, or issuer=NAME,key=FILE")

// ErrToken is returned for a token that is not accepted. Its text holds no part of the token.
var ErrToken = errors.New("the bearer token is not accepted")

// Verifier says which bearer tokens are accepted: the zero value none. It is safe for concurrent use.
type Verifier struct {
	any    bool
	issuer string
	key    any    // []byte for HS256, *rsa.PublicKey for RS256
	method string // the only algorithm that is accepted
}

// Parse reads the value of the switch: empty for no tokens, any for all, or issuer=NAME,key=FILE for those that
// an issuer signed. The file holds a public RSA key in PEM for RS256, else it is the secret of HS256 of at least
// 32 bytes (RFC 7518 section 3.2). Errors: ErrOption, or one of reading the file.
func Parse(text string) (Verifier, error) {
	switch text {
	case "":
		return Verifier{}, nil
	case Any:
		return Verifier{any: true}, nil
	}
	var v Verifier
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		switch {
		case !ok || value == "":
			return Verifier{}, ErrOption
		case name == "issuer":
			v.issuer = value
		case name == "key":
			if err := v.read(value); err != nil {
				return Verifier{}, err
			}
		default:
			return Verifier{}, ErrOption
		}
	}
	if v.issuer == "" || v.key == nil {
		return Verifier{}, ErrOption
	}
	return v, nil
}

const (
	minSecret = 32      // bytes
	maxKey    = 1 << 20 // likewise, of a file
)

func (v *Verifier) read(file string) error {
	b, err := regular.ReadGiven(file, maxKey)
	if err != nil {
		return fmt.Errorf("reading the key of bearer tokens: %w", err)
	}
	if strings.Contains(string(b), "-----BEGIN") {
		var public *rsa.PublicKey
		if public, err = jwt.ParseRSAPublicKeyFromPEM(b); err != nil {
			return fmt.Errorf("reading the key of bearer tokens from %s: %w", file, err)
		}
		v.key, v.method = public, jwt.SigningMethodRS256.Alg()
		return nil
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) < minSecret {
		return fmt.Errorf("the key of bearer tokens in %s has %d bytes: HS256 needs at least %d, RS256 a public key in PEM", file, len(secret), minSecret)
	}
	v.key, v.method = []byte(secret), jwt.SigningMethodHS256.Alg()
	return nil
}

// Token is the token of a header Authorization; false for a header that has none. The scheme matches in any case
// (RFC 9110 section 11.1).
func Token(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// Check accepts a token, or returns ErrNotAccepted or an error that wraps ErrToken.
func (v Verifier) Check(token string, now time.Time) error {
	switch {
	case v.any && token != "":
		return nil
	case v.any:
		return fmt.Errorf("%w: it is empty", ErrToken)
	case v.key == nil:
		return ErrNotAccepted
	}
	_, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return v.key, nil },
		jwt.WithValidMethods([]string{v.method}), jwt.WithIssuer(v.issuer), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenExpired):
		return fmt.Errorf("%w: it has expired", ErrToken)
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return fmt.Errorf("%w: it is of another issuer", ErrToken)
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return fmt.Errorf("%w: it was signed with another key, or not by %s", ErrToken, v.method)
	default:
		return fmt.Errorf("%w: it is no JSON web token of the kind that is expected", ErrToken)
	}
}
