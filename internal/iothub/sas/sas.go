// Package sas is authentication by symmetric key: shared access signatures, which clients of IoT Hub show
// as their password or in the header Authorization (iot-hub-dev-guide-sas).
package sas

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What can be wrong with a shared access signature. Their texts hold no part of it.
var (
	ErrMalformed = errors.New("malformed shared access signature")
	ErrExpired   = errors.New("the shared access signature has expired")
	ErrSignature = errors.New("the shared access signature was made with another key")
)

const prefix = "SharedAccessSignature "

// Sign signs a resource until expiry, in whole seconds (iot-hub-dev-guide-sas).
// The policy is empty for a device's own key.
func Sign(resource string, key Key, policy string, expiry time.Time) string {
	sr := url.QueryEscape(resource)
	se := strconv.FormatInt(expiry.Unix(), 10)
	sig := base64.StdEncoding.EncodeToString(key.Sign(sr + "\n" + se))
	token := prefix + "sr=" + sr + "&sig=" + url.QueryEscape(sig) + "&se=" + se
	if policy != "" {
		token += "&skn=" + url.QueryEscape(policy)
	}
	return token
}

// Token is a parsed shared access signature. It prints without its signature.
type Token struct {
	Resource string    // decoded, for example myhub.azure-devices.net/devices/dev-1
	Policy   string    // skn; empty when a device's own key signed
	Expiry   time.Time // se
	signed   string    // the raw text under the signature
	sig      []byte
}

// Parse reads a token whose fields may come in any order. It returns ErrMalformed for anything else.
func Parse(token string) (Token, error) {
	fields, ok := strings.CutPrefix(token, prefix)
	if !ok {
		return Token{}, fmt.Errorf("%w: it does not begin with SharedAccessSignature", ErrMalformed)
	}
	raw := make(map[string]string, 4)
	for field := range strings.SplitSeq(fields, "&") {
		name, value, ok := strings.Cut(field, "=")
		if _, twice := raw[name]; !ok || twice {
			return Token{}, ErrMalformed
		}
		raw[name] = value
	}
	seconds, err := strconv.ParseInt(raw["se"], 10, 64)
	if err != nil || seconds < 0 {
		return Token{}, fmt.Errorf("%w: se is not a time in seconds", ErrMalformed)
	}
	// The signature covers sr as it is written: clients encode it in different ways, or not at all.
	s := Token{Expiry: time.Unix(seconds, 0), signed: raw["sr"] + "\n" + raw["se"]}
	sig, err := url.QueryUnescape(raw["sig"])
	if err != nil || sig == "" {
		return Token{}, fmt.Errorf("%w: sig is missing or wrongly encoded", ErrMalformed)
	}
	// An unencoded plus sign in base64 reads as a space.
	if s.sig, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(sig, " ", "+")); err != nil {
		return Token{}, fmt.Errorf("%w: sig is not base64", ErrMalformed)
	}
	if s.Resource, err = url.QueryUnescape(raw["sr"]); err != nil || s.Resource == "" {
		return Token{}, fmt.Errorf("%w: sr is missing or wrongly encoded", ErrMalformed)
	}
	if s.Policy, err = url.QueryUnescape(raw["skn"]); err != nil {
		return Token{}, ErrMalformed
	}
	return s, nil
}

// Verify checks expiry and signature against any of the keys. It returns ErrExpired or ErrSignature.
func (s Token) Verify(now time.Time, keys ...Key) error {
	if !now.Before(s.Expiry) {
		return ErrExpired
	}
	for _, k := range keys {
		if !k.IsZero() && hmac.Equal(k.Sign(s.signed), s.sig) {
			return nil
		}
	}
	return ErrSignature
}

// Covers reports whether the token's resource is the given one or an ancestor of it, by whole path
// segments: /a/b covers /a/b/c but not /a/bc. Host names compare without regard to case or port. A resource that
// is still percent-encoded counts as what it stands for: clients encode it twice (recorded from the service).
func (s Token) Covers(resource string) bool {
	wantHost, wantPath, _ := strings.Cut(strings.Trim(resource, "/"), "/")
	return s.covers(func(host string) bool { return strings.EqualFold(hostOnly(host), hostOnly(wantHost)) }, wantPath)
}

// CoversPath is Covers for a path on whatever host.
func (s Token) CoversPath(path string) bool {
	return s.covers(func(string) bool { return true }, strings.Trim(path, "/"))
}

func (s Token) covers(isHost func(string) bool, want string) bool {
	for text := s.Resource; ; {
		named := text
		if _, rest, ok := strings.Cut(text, "://"); ok {
			named = rest // some clients of AMQP name the scheme too
		}
		host, path, _ := strings.Cut(strings.Trim(named, "/"), "/")
		// A host has no percent sign: where one stands, the rest of the resource is still encoded.
		if !strings.Contains(host, "%") && isHost(host) && (path == "" || path == want || strings.HasPrefix(want, path+"/")) {
			return true
		}
		decoded, err := url.PathUnescape(text)
		if err != nil || decoded == text {
			return false
		}
		text = decoded
	}
}

func hostOnly(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return name
}

// String says what the token is for, without its signature.
func (s Token) String() string {
	return fmt.Sprintf("SharedAccessSignature sr=%s&skn=%s&se=%d&sig=%s", s.Resource, s.Policy, s.Expiry.Unix(), Redacted)
}

// Format hides the signature, whatever the verb.
func (s Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue hides the signature in log lines.
func (s Token) LogValue() slog.Value { return slog.StringValue(s.String()) }
