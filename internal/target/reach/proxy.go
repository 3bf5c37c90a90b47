package reach

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// ProxyError is what went wrong at the proxy, or between it and the target. package metrics/reason shows its text, which is of a bounded set and
// holds no address and no secret.
type ProxyError struct {
	text  string
	cause error // may be nil
}

// Error is the text.
func (e *ProxyError) Error() string { return e.text }

// Reason is the text.
func (e *ProxyError) Reason() string { return e.text }

// Unwrap is what it was made of.
func (e *ProxyError) Unwrap() error { return e.cause }

// proxyTimeout bounds the wait for a proxy for a caller without a deadline.
const proxyTimeout = 30 * time.Second

// maxAnswer bounds the answer of a proxy, in bytes.
const maxAnswer = 64 << 10

// throughProxy has a proxy connect to an address, on connections to the proxy.
func throughProxy(at *url.URL, dial link.Dialer, to picks) link.Dialer {
	ask := connect
	if at.Scheme == "socks5" {
		ask = socks
	}
	return func(ctx context.Context) (net.Conn, error) {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, proxyTimeout)
			defer cancel()
		}
		addr, err := to.next(ctx)
		if err != nil {
			return nil, err
		}
		nc, err := dial(ctx)
		if err != nil {
			return nil, unreached(err)
		}
		stop := context.AfterFunc(ctx, func() { nc.Close() })
		defer stop()
		deadline, _ := ctx.Deadline()
		_ = nc.SetDeadline(deadline) // one that cannot be set is closed when ctx ends
		open, err := ask(ctx, at, nc, addr)
		if !stop() { // nc is closed, or about to be
			err = context.Cause(ctx)
		}
		if err != nil {
			nc.Close()
			to.lost()
			return nil, failed(ctx, err)
		}
		_ = nc.SetDeadline(time.Time{})
		return open, nil
	}
}

// unreached is why there is no connection to the proxy. What is this machine's fault stays as it is.
func unreached(err error) error {
	text := reason.Of(err)
	switch {
	case text == reason.NoAnswer:
		text = "the proxy does not answer in time"
	case strings.Contains(text, "the target"):
		text = strings.ReplaceAll(text, "the target", "the proxy")
	default:
		return err
	}
	return &ProxyError{text, err}
}

// failed is why the proxy did not make a connection.
func failed(ctx context.Context, err error) error {
	var own *ProxyError
	var network net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case ctx.Err() != nil, errors.As(err, &network) && network.Timeout():
		return &ProxyError{"the proxy does not answer in time", context.DeadlineExceeded}
	case errors.As(err, &own):
		return err
	case reason.Of(err) == reason.Other:
		return &ProxyError{"the proxy does not speak the protocol of a proxy", err}
	}
	return unreached(err)
}

// connect asks for a tunnel with CONNECT (RFC 9110 section 9.3.6).
func connect(_ context.Context, at *url.URL, nc net.Conn, addr string) (net.Conn, error) {
	b := fmt.Appendf(nil, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", addr, addr)
	if at.User != nil {
		password, _ := at.User.Password()
		b = fmt.Appendf(b, "Proxy-Authorization: Basic %s\r\n", base64.StdEncoding.EncodeToString([]byte(at.User.Username()+":"+password)))
	}
	if _, err := nc.Write(append(b, "\r\n"...)); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: nc, N: maxAnswer}
	answer := bufio.NewReaderSize(limited, 4<<10)
	resp, err := http.ReadResponse(answer, &http.Request{Method: http.MethodConnect})
	var network net.Error
	switch {
	case err != nil && limited.N == 0:
		return nil, &ProxyError{"the proxy answered with more than 64 KiB", nil}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return nil, err
	case err != nil:
		return nil, &ProxyError{"the proxy does not speak HTTP", err}
	}
	// Its body is left alone: an answer that is well has none, whatever it says (RFC 9110 section 9.3.6), and after any other nc is closed.
	status := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	switch {
	case resp.StatusCode/100 == 2:
	case resp.StatusCode == http.StatusBadGateway, resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
		return nil, &ProxyError{"the proxy does not reach the target: " + status, nil}
	default:
		return nil, &ProxyError{"the proxy refused: " + status, nil}
	}
	if n := answer.Buffered(); n > 0 { // the target spoke first
		first := make([]byte, n)
		if _, err := io.ReadFull(answer, first); err != nil {
			return nil, err
		}
		return &early{Conn: nc, first: first}, nil
	}
	return nc, nil
}

// early is a connection of which something was read already.
type early struct {
	net.Conn
	first []byte
}

// NetConn is the connection below.
func (e *early) NetConn() net.Conn { return e.Conn }

func (e *early) Read(b []byte) (int, error) {
	if len(e.first) > 0 {
		n := copy(b, e.first)
		e.first = e.first[n:]
		return n, nil
	}
	return e.Conn.Read(b)
}

// opened gives the library the connection that is there.
type opened struct{ net.Conn }

func (o opened) Dial(string, string) (net.Conn, error) { return o.Conn, nil }

func (o opened) DialContext(context.Context, string, string) (net.Conn, error) { return o.Conn, nil }

// socks asks for a connection with SOCKS 5 (RFC 1928).
func socks(_ context.Context, at *url.URL, nc net.Conn, addr string) (net.Conn, error) {
	var auth *proxy.Auth
	if at.User != nil {
		password, _ := at.User.Password()
		auth = &proxy.Auth{User: at.User.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", at.Host, auth, opened{nc})
	if err != nil {
		return nil, err
	}
	// The deadline is nc's, and its end closes nc: the library need not know of it, and would take the deadline off.
	if _, err = d.Dial("tcp", addr); err != nil {
		return nil, socksError(err)
	}
	return nc, nil
}

// socksError tells the answers of a proxy apart, which the library has as text (RFC 1928 section 6).
func socksError(err error) error {
	text := err.Error()
	for _, x := range []struct{ says, text string }{
		{"username/password authentication failed", "the proxy refused: wrong user name or password"},
		{"no acceptable authentication methods", "the proxy refused: it wants another authentication"},
		{"connection not allowed by ruleset", "the proxy refused: not allowed by its rules"},
		{"general SOCKS server failure", "the proxy failed"},
		{"network unreachable", "the proxy does not reach the target: network unreachable"},
		{"host unreachable", "the proxy does not reach the target: host unreachable"},
		{"connection refused", "the proxy does not reach the target: connection refused"},
		{"TTL expired", "the proxy does not reach the target: TTL expired"},
		{"command not supported", "the proxy refused: it makes no connections"},
		{"address type not supported", "the proxy refused: it takes no such address"},
		{"unexpected protocol version", "the proxy does not speak SOCKS 5"},
	} {
		if strings.HasSuffix(text, x.says) || strings.Contains(text, x.says+" ") {
			return &ProxyError{x.text, nil}
		}
	}
	return err
}
