package blobs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"time"
)

// ErrAccess is returned for access that is none: it was changed, is for another blob, or has run out. Its text holds no part of it.
var ErrAccess = errors.New("the shared access signature is not valid for this blob, or has expired")

// Signer gives out access to single blobs, as shared access signatures of Azure storage do: by a query behind the blob's URI that
// nobody can make without the key. The zero Signer accepts nothing.
type Signer struct{ key []byte }

// NewSigner signs with a key that is derived from a secret.
func NewSigner(secret []byte) Signer {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("access to single blobs"))
	return Signer{mac.Sum(nil)}
}

// The members of the query that do not change: the version of Azure storage, that the resource is a blob, and what is allowed.
const (
	accessVersion  = "2018-03-28"
	accessResource = "b"
	accessRights   = "rw"
)

// Sign gives access to read and write a blob until a time, in whole seconds. It begins with a question mark, as what the service tells
// devices does (iot-hub-devguide-file-upload).
func (s Signer) Sign(container, name string, until time.Time) string {
	end := until.UTC().Format(time.RFC3339)
	return "?sv=" + accessVersion + "&sr=" + accessResource + "&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(s.sum(container, name, end))) +
		"&se=" + url.QueryEscape(end) + "&sp=" + accessRights
}

func (s Signer) sum(container, name, until string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(strings.Join([]string{accessRights, until, container, name, accessVersion, accessResource}, "\n")))
	return mac.Sum(nil)
}

// IsAccess reports whether a request's query holds access of a Signer, good or bad.
func IsAccess(query url.Values) bool { return query.Has("sv") && query.Has("sp") }

// Check refuses a request's query that gives no access to a blob now, with ErrAccess.
func (s Signer) Check(query url.Values, container, name string, now time.Time) error {
	until, err := time.Parse(time.RFC3339, query.Get("se"))
	if err != nil || !now.Before(until) || s.key == nil {
		return ErrAccess
	}
	sig, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(query.Get("sig"), " ", "+"))
	if err != nil || query.Get("sv") != accessVersion || query.Get("sr") != accessResource || query.Get("sp") != accessRights ||
		!hmac.Equal(sig, s.sum(container, name, query.Get("se"))) {
		return ErrAccess
	}
	return nil
}
