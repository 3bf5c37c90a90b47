//go:build integration

package brokers

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

// The user that brokers know.
const (
	user     = "fleet"
	password = "open-sesame"
)

// broker is a broker that runs: its addresses, host:port, by how they are spoken to.
type broker struct {
	name string
	at   map[way]string
	ca   string // file with the authority of its certificate
	log  func() string
}

// way is how a listener of a broker is spoken to.
type way string

// The listeners of each broker.
const (
	clear   way = "clear"    // anybody, over TCP
	secured way = "tls"      // likewise, over TLS
	mutual  way = "mutual"   // who has a certificate of the authority
	locked  way = "password" // who has the password
	web     way = "ws"       // anybody, over WebSocket
	webTLS  way = "wss"      // likewise, over TLS
	six     way = "ipv6"     // anybody, over TCP at ::1
	// elsewhere sends everybody to the one in clear; Mosquitto cannot.
	elsewhere way = "elsewhere"
)

// hasSix reports whether this machine has ::1.
func hasSix() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// freeSix is an address of ::1 where nobody listens.
func freeSix(t *testing.T) string {
	_, port, err := net.SplitHostPort(loopback.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("::1", port)
}

// places are free addresses for all listeners.
func places(t *testing.T) map[way]string {
	at := make(map[way]string)
	for _, w := range []way{clear, secured, mutual, locked, web, webTLS} {
		at[w] = loopback.Free(t)
	}
	if hasSix() {
		at[six] = freeSix(t)
	}
	return at
}

// attempts is how often a program is started whose port somebody else took in between.
const attempts = 5

// mosquitto starts a real Mosquitto.
func mosquitto(t *testing.T, p *pki, dir string) *broker {
	t.Helper()
	passwords := filepath.Join(dir, "passwords")
	made := rig.Start(t, dir, nil, rig.Program(t, "mosquitto_passwd"), "-c", "-b", passwords, user, password)
	if code := made.Wait(t, 10*time.Second); code != 0 {
		t.Fatalf("mosquitto_passwd: %s", made.Output())
	}
	for _, n := range []string{"000000", "000001"} { // of devices
		made := rig.Start(t, dir, nil, rig.Program(t, "mosquitto_passwd"), "-b", passwords, "d-"+n, "p-"+n)
		if code := made.Wait(t, 10*time.Second); code != 0 {
			t.Fatalf("mosquitto_passwd: %s", made.Output())
		}
	}
	program, conf := rig.Program(t, "mosquitto"), filepath.Join(dir, "mosquitto.conf")
	for range attempts {
		b := &broker{name: "mosquitto", at: places(t), ca: p.ca}
		text := "per_listener_settings true\npersistence false\nlog_dest stderr\nlog_type all\n"
		if os.Geteuid() == 0 {
			text += "user root\n"
		}
		for w, addr := range b.at {
			host, port, _ := net.SplitHostPort(addr)
			text += fmt.Sprintf("listener %s %s\n", port, host)
			if w == locked {
				text += "allow_anonymous false\npassword_file " + passwords + "\n"
			} else {
				text += "allow_anonymous true\n"
			}
			if w == secured || w == mutual || w == webTLS {
				text += "certfile " + p.cert + "\nkeyfile " + p.key + "\n"
			}
			if w == mutual {
				text += "cafile " + p.ca + "\nrequire_certificate true\nuse_identity_as_username true\n"
			}
			if w == web || w == webTLS {
				text += "protocol websockets\n"
			}
		}
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// What it prints when all its listeners are there.
		server := rig.Start(t, dir, nil, program, "-c", conf)
		if b.log = server.Output; server.Says(" running", 20*time.Second) {
			return b
		}
	}
	t.Fatalf("Mosquitto did not start in %d attempts", attempts)
	return nil
}

// listen opens a listener at an address.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// mochi starts a broker in Go that none of this project wrote.
func mochi(t *testing.T, p *pki) *broker {
	t.Helper()
	b := &broker{name: "mochi", at: make(map[way]string), ca: p.ca}
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	g := &gate{server: server, b: b}
	b.log = g.said
	if err := server.AddHook(g, nil); err != nil {
		t.Fatal(err)
	}
	speaks := &tls.Config{Certificates: []tls.Certificate{p.pair}, NextProtos: []string{"mqtt", "http/1.1"}, MinVersion: tls.VersionTLS12}
	demands := speaks.Clone()
	demands.ClientAuth, demands.ClientCAs = tls.RequireAndVerifyClientCert, p.pool
	for w, config := range map[way]*tls.Config{clear: nil, secured: speaks, mutual: demands, locked: nil, six: nil, elsewhere: nil} {
		addr := "127.0.0.1:0"
		if w == six {
			if !hasSix() {
				continue
			}
			addr = "[::1]:0"
		}
		l := listen(t, addr)
		b.at[w] = l.Addr().String()
		if config != nil {
			l = tls.NewListener(l, config)
		}
		if err := server.AddListener(listeners.NewNet(string(w), l)); err != nil {
			t.Fatal(err)
		}
	}
	for w, config := range map[way]*tls.Config{web: nil, webTLS: speaks} {
		b.at[w] = loopback.Free(t)
		if err := server.AddListener(listeners.NewWebsocket(listeners.Config{ID: string(w), Address: b.at[w], TLSConfig: config})); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for _, w := range []way{web, webTLS} { // they do not tell when they listen
		rig.Listening(t, b.at[w], 20*time.Second)
	}
	return b
}

// gate takes anybody, but for the password's listener and the one that sends them elsewhere.
type gate struct {
	mqtt.HookBase
	server *mqtt.Server
	b      *broker

	mu  sync.Mutex
	log strings.Builder
}

func (g *gate) ID() string { return "gate" }

func (g *gate) Provides(b byte) bool {
	return bytes.IndexByte([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnConnect, mqtt.OnSessionEstablish, mqtt.OnPacketRead, mqtt.OnPacketSent}, b) >= 0
}

func (g *gate) OnConnect(cl *mqtt.Client, _ packets.Packet) error {
	if way(cl.Net.Listener) != elsewhere {
		return nil
	}
	said := &packets.Properties{ServerReference: g.b.at[clear]}
	if err := g.server.SendConnack(cl, packets.ErrUseAnotherServer, false, said); err != nil {
		return err
	}
	return packets.ErrUseAnotherServer
}

func (g *gate) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	if way(cl.Net.Listener) == locked {
		name, word := string(pk.Connect.Username), string(pk.Connect.Password)
		device, ok := strings.CutPrefix(name, "d-")
		return name == user && word == password || ok && word == "p-"+device
	}
	return true
}

func (g *gate) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// httpProxy starts a Tinyproxy that wants the password, and gives its address.
func httpProxy(t *testing.T, dir string) string {
	t.Helper()
	program, conf := rig.Program(t, "tinyproxy"), filepath.Join(dir, "tinyproxy.conf")
	for range attempts {
		addr := loopback.Free(t)
		host, port, _ := net.SplitHostPort(addr)
		text := fmt.Sprintf("Port %s\nListen %s\nTimeout 60\nMaxClients 100\nBasicAuth %s %s\nAllow 127.0.0.0/8\n", port, host, user, password)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p := rig.Start(t, dir, nil, program, "-d", "-c", conf); up(p, addr) {
			return addr
		}
	}
	t.Fatalf("Tinyproxy did not start in %d attempts", attempts)
	return ""
}

// socksProxy starts a Microsocks that wants the password, and gives its address.
func socksProxy(t *testing.T, dir string) string {
	t.Helper()
	program := rig.Program(t, "microsocks")
	for range attempts {
		addr := loopback.Free(t)
		host, port, _ := net.SplitHostPort(addr)
		if p := rig.Start(t, dir, nil, program, "-i", host, "-p", port, "-u", user, "-P", password); up(p, addr) {
			return addr
		}
	}
	t.Fatalf("Microsocks did not start in %d attempts", attempts)
	return ""
}

// up waits until a program listens; it is false when it ended, which it does when somebody else has its port.
func up(p *rig.Process, addr string) bool {
	for range 200 {
		if nc, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			nc.Close()
			return !p.Ended(50 * time.Millisecond)
		}
		if p.Ended(50 * time.Millisecond) {
			return false
		}
	}
	return false
}

// urlOf is a listener as target.hub has it.
func (b *broker) urlOf(w way) string {
	scheme := map[way]string{secured: "mqtts", mutual: "mqtts", web: "ws", webTLS: "wss"}[w]
	if scheme == "" {
		scheme = "mqtt"
	}
	return scheme + "://" + strings.TrimSpace(b.at[w])
}
