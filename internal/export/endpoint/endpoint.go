// Package endpoint is where metrics are pushed to, and how a secret gets there and nowhere else.
package endpoint

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/twinfleet/twinfleet/internal/regular"
)

// Endpoint is where metrics are pushed to.
type Endpoint struct {
	URL  string // empty for none
	Auth Auth   // the zero value sends none
}

// Auth is what is sent in the Authorization header. It is a secret: it prints as ***.
type Auth struct{ header string }

// String hides the secret from logs.
func (a Auth) String() string {
	if a.header == "" {
		return ""
	}
	return "***"
}

// GoString hides the secret from %#v.
func (a Auth) GoString() string { return a.String() }

// ErrAuth is a secret that has neither of the two forms.
var ErrAuth = errors.New("write user:password, or Bearer and a token")

// ParseAuth reads a secret: user:password for basic authentication, or Bearer and a token. Its errors do
// not repeat the secret.
func ParseAuth(text string) (Auth, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Auth{}, nil
	}
	if strings.ContainsAny(text, "\r\n") {
		return Auth{}, fmt.Errorf("%w, on one line", ErrAuth)
	}
	if scheme, token, ok := strings.Cut(text, " "); ok && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(token)
		if token == "" || strings.Contains(token, " ") {
			return Auth{}, ErrAuth
		}
		return Auth{"Bearer " + token}, nil
	}
	user, password, ok := strings.Cut(text, ":")
	if !ok || user == "" {
		return Auth{}, ErrAuth
	}
	r := http.Request{Header: make(http.Header)}
	r.SetBasicAuth(user, password)
	return Auth{r.Header.Get("Authorization")}, nil
}

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 64 << 10

// ReadAuth reads a secret from a file; see ParseAuth.
func ReadAuth(file string) (Auth, error) {
	b, err := regular.ReadGiven(file, maxSecret)
	if err != nil {
		return Auth{}, fmt.Errorf("reading a secret: %w", err)
	}
	a, err := ParseAuth(string(b))
	if err == nil && a == (Auth{}) {
		err = ErrAuth
	}
	if err != nil {
		return Auth{}, fmt.Errorf("reading the secret in %s: %w", file, err)
	}
	return a, nil
}

// Check refuses what can never work, and secrets where every user of the machine can read them.
func (e Endpoint) Check() error {
	u, err := url.Parse(e.URL)
	switch {
	case err != nil:
		return errors.New("the URL cannot be read; write http://host:port or https://host:port with a path if it has one")
	case u.User != nil:
		return errors.New("the URL holds credentials, which lists of processes show; give them in the environment or in a file instead")
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return fmt.Errorf("%q is no http or https URL; write http://host:port or https://host:port with a path if it has one", e.URL)
	default:
		return nil
	}
}

// Client sends the secret to the endpoint, and to nobody that the endpoint names.
func (e Endpoint) Client() *http.Client {
	return &http.Client{
		Transport:     authorized{http.DefaultTransport.(*http.Transport).Clone(), e.Auth},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type authorized struct {
	next *http.Transport
	auth Auth
}

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.auth.header != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", a.auth.header)
	}
	resp, err := a.next.RoundTrip(r)
	if err == nil { // the libraries read all of it
		resp.Body = bounded{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// maxAnswer bounds what a receiver of metrics has to say, in bytes; the rest is as if it had not been sent.
const maxAnswer = 64 << 10

// bounded is a body of which no more is read.
type bounded struct {
	io.Reader
	io.Closer
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (a authorized) CloseIdleConnections() { a.next.CloseIdleConnections() }

// Plain is an error without the URL's query, which may hold a key, on one line of a bounded length.
func (e Endpoint) Plain(err error) string {
	text := err.Error()
	if u, err := url.Parse(e.URL); err == nil && u.RawQuery != "" {
		text = strings.ReplaceAll(text, u.RawQuery, "***")
	}
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// Job is the name of this program where metrics have one.
const Job = "twinfleet"
