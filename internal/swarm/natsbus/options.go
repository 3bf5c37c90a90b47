package natsbus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/twinfleet/twinfleet/internal/regular"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
)

// What Options that are not set are.
const (
	DefaultPrefix     = "twinfleet"
	DefaultBacklog    = 8 << 20
	DefaultStoreBytes = 256 << 20
)

const (
	dialTimeout = 2 * time.Second         // for one address: dial, and handshake
	pingEvery   = 1500 * time.Millisecond // with pingsOut a server that is silent is given up after 3 to 4.5 s
	pingsOut    = 2
	writeLimit  = 5 * time.Second // a link must take a message of 1 MiB within it
	drainLimit  = 5 * time.Second
	waitLeast   = 100 * time.Millisecond // between attempts to connect
	waitMost    = 2 * time.Second
	headerRoom  = 1024 // bytes of a message that are not for its data
)

// Options say which server, and as whom.
type Options struct {
	// URLs are servers of one NATS system: nats://, tls://, ws:// or wss://, any of which will do. At least one. Credentials in a URL count as Token or as User
	// and Password.
	URLs []string
	// Token is what a server with one token for all wants.
	Token string
	// User and Password are what a server with users wants.
	User, Password string
	// NkeyFile is a file with the seed of an NKey.
	NkeyFile string
	// CredsFile is a file with a JWT and a seed, as nsc makes them.
	CredsFile string
	// TLS, when set, makes the connection TLS whatever the URL says.
	TLS *tls.Config
	// CAFile is a file of PEM certificates of authorities to trust beside those of TLS. It makes the connection TLS too.
	CAFile string
	// Name is what the server's operator sees; "" is "twinfleet".
	Name string
	// Prefix begins all subjects and the names of stores, so that a server may be shared: letters, digits, - and _. "" is DefaultPrefix.
	Prefix string
	// Backlog is about the most bytes that are kept while there is no connection. 0 is DefaultBacklog.
	Backlog int
	// StoreBytes is the most bytes of a store that this makes. 0 is DefaultStoreBytes.
	StoreBytes int64
	// Replicas is on how many servers of a cluster a store that this makes is kept, 1 to 5. 0 is 1.
	Replicas int
	// Logger hears of what nobody is told by an error: messages that were dropped, subjects that the server refuses. nil is none.
	Logger *slog.Logger
}

// settled are options without gaps, and those of the client.
type settled struct {
	Options
	servers string // for errors: no credentials in it
	client  []nats.Option
}

// settle fills the gaps and reads the files. Its errors tell nothing secret.
func (o Options) settle() (settled, error) {
	s := settled{Options: o}
	s.Prefix, s.Name = orText(o.Prefix, DefaultPrefix), orText(o.Name, "twinfleet")
	if err := bus.CheckName("prefix of NATS subjects", s.Prefix); err != nil {
		return s, err
	}
	if s.Backlog <= 0 {
		s.Backlog = DefaultBacklog
	}
	if s.StoreBytes <= 0 {
		s.StoreBytes = DefaultStoreBytes
	}
	s.Replicas = max(s.Replicas, 1)
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	clean := make([]string, len(o.URLs))
	for i, text := range o.URLs {
		var err error
		if clean[i], err = s.address(text); err != nil {
			return s, err
		}
	}
	if len(clean) == 0 {
		return s, errors.New("no URL of a NATS server")
	}
	s.servers = strings.Join(clean, ", ")
	s.client = []nats.Option{
		func(c *nats.Options) error { c.Servers = clean; return nil },
		nats.Name(s.Name), nats.Timeout(dialTimeout), nats.MaxReconnects(-1), nats.CustomReconnectDelay(pause), nats.ReconnectBufSize(s.Backlog),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsOut), nats.FlusherTimeout(writeLimit), nats.ReconnectOnFlusherError(),
		nats.DrainTimeout(drainLimit), nats.IgnoreAuthErrorAbort(), nats.SkipHostLookup(),
	}
	if err := s.credentials(); err != nil {
		return s, err
	}
	return s, s.security()
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// address takes credentials out of a URL.
func (s *settled) address(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	// The URL, and what url.Parse says of it, may hold a password.
	if err != nil || u.Hostname() == "" || strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		return "", errors.New("the URL of a NATS server cannot be read: it is like nats://host:4222")
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
	default:
		return "", fmt.Errorf("the URL of a NATS server begins with nats://, tls://, ws:// or wss://, not %s://", u.Scheme)
	}
	if u.User != nil {
		if password, both := u.User.Password(); both {
			s.User, s.Password = u.User.Username(), password
		} else {
			s.Token = u.User.Username()
		}
		u.User = nil
	}
	if u.Port() == "" && u.Scheme != "ws" && u.Scheme != "wss" {
		u.Host += ":4222"
	}
	return u.String(), nil
}

// maxFile bounds the files of options, in bytes.
const maxFile = 1 << 20

func (s *settled) credentials() error {
	for what, path := range map[string]string{"NKey": s.NkeyFile, "credentials": s.CredsFile} {
		if path == "" {
			continue
		}
		if err := regular.CheckGiven(path, maxFile); err != nil {
			return fmt.Errorf("reading the file of NATS %s: %w", what, err)
		}
	}
	if s.Token != "" {
		s.client = append(s.client, nats.Token(s.Token))
	}
	if s.User != "" {
		s.client = append(s.client, nats.UserInfo(s.User, s.Password))
	}
	if s.CredsFile != "" {
		s.client = append(s.client, nats.UserCredentials(s.CredsFile))
	}
	if s.NkeyFile != "" {
		option, err := nats.NkeyOptionFromSeed(s.NkeyFile)
		if err != nil {
			return fmt.Errorf("the file of NATS NKey %s holds no seed of a user", s.NkeyFile)
		}
		s.client = append(s.client, option)
	}
	return nil
}

func (s *settled) security() error {
	config := s.TLS
	if s.CAFile != "" {
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		config = config.Clone()
		pem, err := regular.ReadGiven(s.CAFile, maxFile)
		if err != nil {
			return fmt.Errorf("reading the authorities for NATS: %w", err)
		}
		if config.RootCAs == nil {
			config.RootCAs = x509.NewCertPool()
		} else {
			config.RootCAs = config.RootCAs.Clone()
		}
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM", s.CAFile)
		}
	}
	if config != nil {
		s.client = append(s.client, nats.Secure(config))
	}
	return nil
}

// pause is the wait before the nth attempt to come back: it doubles, and differs so that not all come at once.
func pause(attempt int) time.Duration {
	d := waitMost
	if attempt < 5 {
		d = waitLeast << max(attempt-1, 0)
	}
	return d/2 + rand.N(d/2+1)
}
