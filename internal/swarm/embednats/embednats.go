// Package embednats is a NATS server in this process, with the stores of one run in the run's folder, so that a run on many machines needs no other program.
package embednats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The bounds of a server that is not told others.
const (
	DefaultMaxMemory = 64 << 20
	DefaultMaxStore  = 1 << 30
)

const (
	pingEvery = 5 * time.Second // a client that is silent is given up after 15 s
	pingsOut  = 2
	readyPoll = 5 * time.Second // how long one look at readiness may take
)

// ErrInUse means that another server has the folder.
var ErrInUse = errors.New("another server uses this folder")

// Options say where the server listens and what it keeps.
type Options struct {
	// Host is the address to listen on; "" is 127.0.0.1.
	Host string
	// Port is the port to listen on; 0 is any that is free.
	Port int
	// Folder is where the stores are. It is made, for this user alone, if it is not there. It is needed.
	Folder string
	// Token is what clients must have. It is needed: whoever reaches the port could steer the run.
	Token string
	// TLS, when set, is what clients must speak.
	TLS *tls.Config
	// MaxMemory and MaxStore are the most bytes of stores in memory and on disk; 0 is DefaultMaxMemory and DefaultMaxStore.
	MaxMemory, MaxStore int64
	// Logger hears of the server's errors; nil is none.
	Logger *slog.Logger
}

// Server is a running server.
type Server struct {
	nats *server.Server
	lock *os.File
	addr *net.TCPAddr
	tls  bool
	once sync.Once
}

// Open starts a server and waits until it takes connections, or ctx ends. The same folder and port make it the same server for clients of one that was closed.
// ErrInUse when another server has the folder; the operating system's error when the port is taken.
func Open(ctx context.Context, o Options) (*Server, error) {
	if o.Folder == "" || o.Token == "" {
		return nil, errors.New("starting NATS: a folder and a token are needed")
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("starting NATS: %w", err)
	}
	held, err := os.OpenFile(filepath.Join(o.Folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting NATS: %w", err)
	}
	s := &Server{lock: held, tls: o.TLS != nil}
	if !lock(held) {
		_ = held.Close()
		return nil, fmt.Errorf("starting NATS in %s: %w", o.Folder, ErrInUse)
	}
	if err := s.start(ctx, o); err != nil {
		_ = held.Close()
		return nil, fmt.Errorf("starting NATS at %s: %w", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)), err)
	}
	return s, nil
}

func orDefault(n, otherwise int64) int64 {
	if n > 0 {
		return n
	}
	return otherwise
}

func (s *Server) start(ctx context.Context, o Options) (err error) {
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	} else if err := free(ctx, o.Host, port); err != nil {
		return err
	}
	s.nats, err = server.NewServer(&server.Options{
		ServerName: "twinfleet", Host: o.Host, Port: port, Authorization: o.Token, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: o.Folder, JetStreamMaxMemory: orDefault(o.MaxMemory, DefaultMaxMemory), JetStreamMaxStore: orDefault(o.MaxStore, DefaultMaxStore),
		TLS: o.TLS != nil, TLSConfig: o.TLS, TLSTimeout: 5, PingInterval: pingEvery, MaxPingsOut: pingsOut,
	})
	if err != nil {
		return err
	}
	log := &logger{to: o.Logger, secret: o.Token}
	s.nats.SetLoggerV2(log, false, false, false)
	s.nats.Start()
	err = context.Cause(ctx)
	if fatal := log.fatal(); fatal != nil {
		err = fatal
	}
	if err == nil && !s.nats.ReadyForConnections(readyPoll) {
		err = errors.New("it does not take connections")
	}
	if err != nil {
		s.stop()
		return err
	}
	s.addr = s.nats.Addr().(*net.TCPAddr)
	return nil
}

// free asks for the port before the stores are opened, and gets the operating system's error, which the server keeps to itself.
func free(ctx context.Context, host string, port int) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}

func (s *Server) stop() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

// Port is where the server listens.
func (s *Server) Port() int { return s.addr.Port }

// URL is the server's address without the token. A server that listens on all addresses is at whichever the client reaches.
func (s *Server) URL() string {
	scheme := "nats"
	if s.tls {
		scheme = "tls"
	}
	return (&url.URL{Scheme: scheme, Host: s.addr.String()}).String()
}

// Traffic is how many bytes clients have sent to the server and got from it, without what the protocol adds.
func (s *Server) Traffic() (in, out int64) {
	v, err := s.nats.Varz(nil)
	if err != nil {
		return 0, 0
	}
	return v.InBytes, v.OutBytes
}

// Close ends the server, waits until it has, and keeps the stores.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.stop()
		_ = s.lock.Close()
	})
	return nil
}

// logger passes errors on, without the token should one quote it.
type logger struct {
	to     *slog.Logger
	secret string
	mu     sync.Mutex
	err    error
}

func (l *logger) text(format string, v []any) string {
	return strings.ReplaceAll(fmt.Sprintf(format, v...), l.secret, "***")
}

// fatal is what ended the server.
func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = errors.New(l.text(format, v))
	}
}

func (l *logger) Errorf(format string, v ...any) {
	l.to.Error("NATS server", "error", l.text(format, v))
}

func (*logger) Noticef(string, ...any) {}
func (*logger) Warnf(string, ...any)   {}
func (*logger) Debugf(string, ...any)  {}
func (*logger) Tracef(string, ...any)  {}
