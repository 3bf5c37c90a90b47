package natsbus_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nkeys"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
)

// certificate makes a server's certificate for loopback, and a file with it.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	return certificateUntil(t, time.Now().Add(time.Hour))
}

// certificateUntil is certificate for one that is valid until then.
func certificateUntil(t *testing.T, until time.Time) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, file
}

func TestTLS(t *testing.T) {
	leakless(t)
	config, file := certificate(t)
	w := &world{}
	w.options.Folder, w.options.Token, w.options.TLS = t.TempDir(), token, config
	w.start(t)
	t.Cleanup(func() { _ = w.server.Close() })
	if !strings.HasPrefix(w.server.URL(), "tls://") {
		t.Error(w.server.URL())
	}
	b, err := natsbus.Connect(patient(t), natsbus.Options{URLs: []string{w.server.URL()}, Token: token, CAFile: file})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Store(patient(t), "run", true); err != nil {
		t.Error(err)
	}
	// Nobody waits for a certificate to become trusted.
	_, err = natsbus.Connect(patient(t), natsbus.Options{URLs: []string{w.server.URL()}, Token: token})
	if certificate := (*tls.CertificateVerificationError)(nil); !errors.As(err, &certificate) {
		t.Error(err)
	}
}

// raw is a server of somebody else's.
func raw(t *testing.T, o *server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog, o.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, t.TempDir()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return "nats://" + s.Addr().String()
}

func TestCredentials(t *testing.T) {
	leakless(t)
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	url := raw(t, &server.Options{
		JetStream: true,
		Users:     []*server.User{{Username: "me", Password: "hush-hush"}},
		Nkeys:     []*server.NkeyUser{{Nkey: public}},
	})
	host := strings.TrimPrefix(url, "nats://")
	for name, o := range map[string]natsbus.Options{
		"user":        {URLs: []string{url}, User: "me", Password: "hush-hush"},
		"user in URL": {URLs: []string{"nats://me:hush-hush@" + host}},
		"nkey":        {URLs: []string{host}, NkeyFile: file},
	} {
		b, err := natsbus.Connect(patient(t), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := b.Store(patient(t), "run", true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = b.Close()
	}
	_, err = natsbus.Connect(patient(t), natsbus.Options{URLs: []string{url}, User: "me", Password: "loud"})
	if !errors.Is(err, bus.ErrDenied) {
		t.Error(err)
	}
}

func TestNoJetStream(t *testing.T) {
	leakless(t)
	b, err := natsbus.Connect(patient(t), natsbus.Options{URLs: []string{raw(t, &server.Options{})}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, create := range []bool{false, true} {
		if _, err := b.Store(patient(t), "run", create); !errors.Is(err, bus.ErrNoStore) || !strings.Contains(err.Error(), "no JetStream") {
			t.Error(err)
		}
	}
}

// TestOthersSeeServices asks as `nats micro` does.
func TestOthersSeeServices(t *testing.T) {
	leakless(t)
	w := newWorld(t)
	b := w.connect(t)
	_, err := b.Serve(bus.Service{
		Name: "agent", Instance: "one", Version: "1.0.0", Metadata: map[string]string{"cores": "4"},
		Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
			"echo": func(_ context.Context, data []byte) ([]byte, error) { return data, nil },
			"fail": func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no\nway") },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{"echo", "fail"} {
		_, _ = b.Ask(patient(t), "one", endpoint, nil)
	}
	nc, err := nats.Connect(w.server.URL(), nats.Token(token))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var ping micro.Ping
	var info micro.Info
	var stats micro.Stats
	for subject, into := range map[string]any{"$SRV.PING": &ping, "$SRV.INFO.agent": &info, "$SRV.STATS.agent": &stats} {
		answer, err := nc.RequestWithContext(patient(t), subject, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(answer.Data, into); err != nil {
			t.Fatal(err)
		}
	}
	if ping.Name != "agent" || ping.Metadata["instance"] != "one" || info.Metadata["cores"] != "4" || len(info.Endpoints) != 2 {
		t.Errorf("%+v, %+v", ping, info)
	}
	for _, e := range stats.Endpoints {
		if failed := e.Name == "fail"; e.NumRequests != 1 || (e.NumErrors == 1) != failed || failed && e.LastError != "500:no way" {
			t.Errorf("%+v", e)
		}
	}
}

// TestStrangersAreNoInstances has somebody answer who is no service of ours: with nonsense, without a name, and with one that no instance can have.
func TestStrangersAreNoInstances(t *testing.T) {
	leakless(t)
	w := newWorld(t)
	b := w.connect(t)
	if _, err := b.Serve(bus.Service{Name: "agent", Instance: "one", Version: "1.0.0"}); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(w.server.URL(), nats.Token(token))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Subscribe("$SRV.INFO.agent", func(m *nats.Msg) {
		for _, text := range []string{
			"", "nonsense", `{"name": "agent"}`, `{"name": "other", "metadata": {"instance": "two"}}`, `{"name": "agent", "metadata": {"instance": "a.b"}}`,
			`{"name": "agent", "metadata": {"instance": "\u001b[2Jall is well"}}`, `{"name": "agent", "metadata": {"instance": "` + strings.Repeat("x", 1000) + `"}}`,
		} {
			_ = m.Respond([]byte(text))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	all, err := b.Services(patient(t), "agent")
	if err != nil || len(all) != 1 || all[0].Instance != "one" {
		t.Errorf("%+v, %v", all, err)
	}
}
