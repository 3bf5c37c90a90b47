// Package httpserve is how the program serves its own pages and figures: for no longer than a request should take, and on loopback to
// nobody who came by another's name.
package httpserve

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The bounds of a server of New.
const (
	// HeaderTimeout is how long a request's header may take.
	HeaderTimeout = 10 * time.Second
	// RequestTimeout is how long a request may take to be read, with its body.
	RequestTimeout = 20 * time.Second
	// AnswerTimeout is how long its answer may take from then on, unless a handler sets a deadline of its own with http.ResponseController.
	AnswerTimeout = 30 * time.Second
	// IdleTimeout is how long a connection may wait for its next request: longer than a minute, at which some scrape.
	IdleTimeout = 2 * time.Minute

	maxHeader = 64 << 10 // bytes
)

// New is a server that gives a slow, a silent or an idle client up; its complaints about clients are told to log, which is required, at the
// level of debug. A handler whose answer goes on must clear the deadline for reading, which ends the request's context.
func New(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: HeaderTimeout, ReadTimeout: RequestTimeout, WriteTimeout: AnswerTimeout, IdleTimeout: IdleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Exposed reports whether other machines can reach what listens at an address, for all that it says: true also of one that cannot be read.
func Exposed(a net.Addr) bool {
	host, _, err := net.SplitHostPort(a.String())
	ip := net.ParseIP(host)
	return err != nil || ip == nil || !ip.IsLoopback()
}

// Reached is where this machine reaches what listens at an address: on loopback when that is every address, which browsers do not open.
func Reached(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return a.String()
}

// Warn says that other machines can reach what is served at an address, and what follows; nothing of one on loopback.
func Warn(log *slog.Logger, a net.Addr, what, and string) {
	if Exposed(a) {
		log.Warn("other machines can read "+what+" over the network, unencrypted and without a password; "+and, "address", a.String())
	}
}

// ByAddress answers only requests for an address of numbers, for localhost, or for the name by which containers know the machine that
// they run on. Any other name may be one that an attacker points at this machine, to have a browser read what is here (DNS rebinding).
func ByAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ownName(r.Host) {
			http.Error(w, "open the page by its address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownName reports whether the value of a Host header names nobody else.
func ownName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case host == "localhost", strings.HasSuffix(host, ".localhost"), host == "host.docker.internal":
		return true
	}
	return net.ParseIP(strings.Trim(host, "[]")) != nil
}

// SameOrigin reports whether a request comes from a page of this server, or from no page at all.
func SameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host == r.Host
}
