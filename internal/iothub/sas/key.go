package sas

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
)

// Redacted stands wherever a secret would have been printed.
const Redacted = "[redacted]"

// ErrKey is returned for a key that is not base64 or is empty. Its text never holds the key.
var ErrKey = errors.New("the key is not base64 text")

// Key is a symmetric key. It prints as "[redacted]" in every format; Base64 reveals it.
type Key struct{ raw string }

// ParseKey decodes a key from base64 text. It returns ErrKey for anything else.
func ParseKey(text string) (Key, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 {
		return Key{}, ErrKey
	}
	return Key{string(raw)}, nil
}

// NewKey makes a random key of 32 bytes.
func NewKey() Key {
	var raw [32]byte
	rand.Read(raw[:]) // never fails, by its own documentation
	return Key{string(raw[:])}
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.raw == "" }

// Len is how many bytes the key has.
func (k Key) Len() int { return len(k.raw) }

// Base64 reveals the key as the text that connection strings hold.
func (k Key) Base64() string { return base64.StdEncoding.EncodeToString([]byte(k.raw)) }

// OfText is the key whose bytes are the text of this one: clients of Event Hubs sign with that, also those of a hub's
// Event-Hubs-compatible endpoint, which has the hub's keys.
func (k Key) OfText() Key { return Key{k.Base64()} }

// Sign is the HMAC-SHA256 of data under the key.
func (k Key) Sign(data string) []byte {
	mac := hmac.New(sha256.New, []byte(k.raw))
	mac.Write([]byte(data))
	return mac.Sum(nil)
}

// Derive makes the key of one device from the key of its enrollment group
// (iot-dps: concepts-symmetric-key-attestation, group enrollments).
func (k Key) Derive(deviceID string) Key { return Key{string(k.Sign(deviceID))} }

// String hides the key.
func (k Key) String() string { return Redacted }

// GoString hides the key.
func (k Key) GoString() string { return Redacted }

// Format hides the key, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// LogValue hides the key in log lines.
func (k Key) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText reveals the key: identity documents carry keys. An empty key is empty text.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.Base64()), nil }

// UnmarshalText reads a key from an identity document; empty text is no key.
func (k *Key) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = Key{}
		return nil
	}
	parsed, err := ParseKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}
