package embednats_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/swarm/embednats"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
)

const token = "not-for-anybody"

// folderVariable makes this test a server in another process.
const folderVariable = "EMBEDNATS_TEST_FOLDER"

func TestMain(m *testing.M) {
	folder := os.Getenv(folderVariable)
	if folder == "" {
		goleak.VerifyTestMain(m)
		return
	}
	s, err := embednats.Open(context.Background(), embednats.Options{Folder: folder, Token: token})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	select {}
}

func connect(t *testing.T, url string) *natsbus.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := natsbus.Connect(ctx, natsbus.Options{URLs: []string{url}, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFolderAndPort(t *testing.T) {
	o := embednats.Options{Folder: filepath.Join(t.TempDir(), "run", "bus"), Token: token}
	s, err := embednats.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("nats://127.0.0.1:%d", s.Port()); s.URL() != want {
		t.Error(s.URL())
	}
	if info, err := os.Stat(o.Folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
	if _, err := embednats.Open(t.Context(), o); !errors.Is(err, embednats.ErrInUse) {
		t.Error(err)
	}
	o.Port = s.Port()
	other := o
	other.Folder = t.TempDir()
	if _, err := embednats.Open(t.Context(), other); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	var revision uint64
	for i := range 3 {
		b := connect(t, s.URL())
		store, err := b.Store(t.Context(), "run", i == 0)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if entry, err := store.Get(t.Context(), "k"); err != nil || string(entry.Value) != fmt.Sprint(i-1) || entry.Revision != revision {
				t.Errorf("%+v, %v", entry, err)
			}
		}
		if revision, err = store.Put(t.Context(), "k", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []interface{ Close() error }{b, s, s} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if s, err = embednats.Open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestNotOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx context.Context
		o   embednats.Options
	}{
		"no token":             {t.Context(), embednats.Options{Folder: t.TempDir()}},
		"no folder":            {t.Context(), embednats.Options{Token: token}},
		"a file":               {t.Context(), embednats.Options{Token: token, Folder: file}},
		"no address":           {t.Context(), embednats.Options{Token: token, Folder: t.TempDir(), Host: "192.0.2.1"}},
		"no address, a port":   {t.Context(), embednats.Options{Token: token, Folder: t.TempDir(), Host: "192.0.2.1", Port: 4222}},
		"a context that ended": {ended, embednats.Options{Token: token, Folder: t.TempDir()}},
	} {
		if s, err := embednats.Open(c.ctx, c.o); err == nil {
			t.Errorf("%s: it opened", name)
			_ = s.Close()
		} else if strings.Contains(err.Error(), token) {
			t.Error(err)
		}
	}
}

// TestWithoutToken has somebody come who has none, and somebody who talks nonsense; the log has it and shows no token.
func TestWithoutToken(t *testing.T) {
	var log bytes.Buffer
	s, err := embednats.Open(t.Context(), embednats.Options{Folder: t.TempDir(), Token: token, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nats.Connect(s.URL(), nats.Token("guess")); !errors.Is(err, nats.ErrAuthorization) {
		t.Error(err)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	// It ends when the server has thrown it out.
	for scanner := bufio.NewScanner(c); scanner.Scan(); {
	}
	_ = c.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if text := log.String(); !strings.Contains(text, "authentication error") || strings.Contains(text, token) || strings.Contains(text, "guess") {
		t.Error(text)
	}
}

// TestKilled kills a server right after it has said that a value is written: the value is there when another opens the folder.
func TestKilled(t *testing.T) {
	folder := t.TempDir()
	for round := range 5 {
		process := exec.CommandContext(t.Context(), os.Args[0])
		process.Env = append(os.Environ(), folderVariable+"="+folder)
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		b := connect(t, lines.Text())
		store, err := b.Store(t.Context(), "run", true)
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 {
			for i := range 20 {
				if entry, err := store.Get(t.Context(), fmt.Sprint("k", i)); err != nil || string(entry.Value[:10]) != fmt.Sprintf("%10d", round-1) {
					t.Errorf("round %d: %.10q, %v", round, entry.Value, err)
				}
			}
		}
		for i := range 20 {
			if _, err := store.Put(t.Context(), fmt.Sprint("k", i), fmt.Appendf(nil, "%10d%10000d", round, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
