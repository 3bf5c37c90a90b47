package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
)

// LeastToken is how many bytes a token has at the least: one can be guessed from a proof that somebody overhears.
const LeastToken = 16

// ErrToken is returned for a token that is too short, and for the zero Token.
var ErrToken = fmt.Errorf("a token has at least %d characters", LeastToken)

// Token is what agents and coordinator of a session know and nobody else. It prints as "redacted" wherever it stands. The zero value is none.
type Token struct {
	text *string // by its address, which is all that package fmt prints of it in a field that is not exported
}

// NewToken takes a token that somebody chose, or got from Reveal.
func NewToken(text string) (Token, error) {
	if len(text) < LeastToken {
		return Token{}, ErrToken
	}
	return Token{&text}, nil
}

// GenerateToken makes a token of 26 characters that nobody guesses.
func GenerateToken() Token {
	text := rand.Text()
	return Token{&text}
}

// Reveal is the token itself, for the environment of an agent that is started here; "" of the zero value.
func (t Token) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

const redacted = "redacted"

// Format writes "redacted", whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue is "redacted".
func (t Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText refuses: a token is not written.
func (t Token) MarshalText() ([]byte, error) { return nil, errors.New("a token is not written") }

func (t Token) usable() error {
	if t.text == nil {
		return ErrToken
	}
	return nil
}

// key is a key for one purpose that follows from the token, and from which neither the token nor another one follows.
func (t Token) key(purpose string) []byte {
	k, err := hkdf.Key(sha256.New, []byte(*t.text), nil, "twinfleet swarm 1 "+purpose, sha256.Size)
	if err != nil {
		panic(err) // only for keys that are too long
	}
	return k
}

// authenticate is the HMAC-SHA256 of fields, each with its length, so that no two lists of fields are one text.
func authenticate(key []byte, fields ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, f := range fields {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
		h.Write(f)
	}
	return h.Sum(nil)
}
