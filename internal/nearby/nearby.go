// Package nearby is where hubs that run alone on this machine leave word of themselves, so that who is pointed at one of them by a name of
// loopback need not be told which certificate to trust.
package nearby

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Hub is what a hub says of itself. It holds no secret.
type Hub struct {
	Address string `json:"address"` // host:port on which it listens
	CA      string `json:"ca"`      // absolute path of the certificate to trust, in PEM
	PID     int    `json:"pid"`     // of its process: a word whose process is gone is stale
}

// Dir is where hubs of this user leave word: twinfleet/hubs in the user's cache.
func Dir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache: %w", err)
	}
	return filepath.Join(cache, "twinfleet", "hubs"), nil
}

func file(dir string, port int) string { return filepath.Join(dir, strconv.Itoa(port)+".json") }

// Leave leaves word of a hub, for this user alone to read. take, which may be called once, takes it back unless another hub has left its
// own there since.
func Leave(dir string, port int, h Hub) (take func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("leaving word of the hub: %w", err)
	}
	sweep(dir)
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("leaving word of the hub: %w", err)
	}
	// A reader sees all of it or nothing.
	tmp, err := os.CreateTemp(dir, ".hub-*") // made with 0600
	if err != nil {
		return nil, fmt.Errorf("leaving word of the hub: %w", err)
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), file(dir, port))
	}
	if err != nil {
		return nil, fmt.Errorf("leaving word of the hub: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return func() error {
		if now, err := read(file(dir, port)); err != nil || now.PID != h.PID {
			return nil
		}
		if err := os.Remove(file(dir, port)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("taking back the word of the hub: %w", err)
		}
		return nil
	}, nil
}

// sweep takes away what hubs left that were killed.
func sweep(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return
	}
	for _, f := range files {
		if h, err := read(f); err == nil && !alive(h.PID) {
			_ = os.Remove(f) // the next one tries again
		}
	}
}

// Find finds the hub of this machine that listens on a port. host must be a name of loopback. What a process that is gone left, what
// others may write, and what names no certificate is not found.
func Find(dir, host string, port int) (Hub, bool) {
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return Hub{}, false
	}
	h, err := read(file(dir, port))
	if err != nil || !filepath.IsAbs(h.CA) || !alive(h.PID) {
		return Hub{}, false
	}
	return h, true
}

func read(path string) (h Hub, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return h, err
	}
	if !info.Mode().IsRegular() || writable(info.Mode()) {
		return h, fmt.Errorf("%s is not this user's alone", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(b, &h)
}
