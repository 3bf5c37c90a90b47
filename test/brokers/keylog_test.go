//go:build integration

package brokers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/twinfleet/twinfleet/test/rig"
)

var inHex = regexp.MustCompile(`=([0-9a-f]*)=$`)

// plainPayload is a line of the listener's with the payload as Go quotes it.
func plainPayload(line string) string {
	return inHex.ReplaceAllStringFunc(line, func(s string) string {
		b, err := hex.DecodeString(strings.Trim(s, "="))
		if err != nil {
			return s
		}
		return strconv.Quote(string(b))
	})
}

// say writes a line of mochi's log. It says what Mosquitto says in the same words, and more.
func (g *gate) say(format string, a ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fmt.Fprintf(&g.log, format+"\n", a...)
}

func (g *gate) said() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String()
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (g *gate) OnSessionEstablish(cl *mqtt.Client, pk packets.Packet) {
	who, level := string(pk.Connect.Username), int(pk.ProtocolVersion)
	if level == 4 {
		level = 2 // as Mosquitto counts
	}
	if conn, ok := cl.Net.Conn.(*tls.Conn); ok {
		if all := conn.ConnectionState().PeerCertificates; len(all) > 0 {
			who = all[0].Subject.CommonName
		}
	}
	g.say("New client connected as %s (p%d, c%d, k%d, u'%s').", cl.ID, level, flag(pk.Connect.Clean), pk.Connect.Keepalive, who)
	if x := pk.Properties; level == 5 {
		var own strings.Builder
		for _, u := range x.User {
			own.WriteString(" " + u.Key + "=" + u.Val)
		}
		g.say("Asks %s expiry %d receive %d packet %d aliases %d%s", cl.ID, x.SessionExpiryInterval, x.ReceiveMaximum, x.MaximumPacketSize, x.TopicAliasMaximum, own.String())
	}
}

func (g *gate) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		g.say("Received PUBLISH from %s ('%s')", cl.ID, pk.TopicName)
	case packets.Subscribe:
		for _, f := range pk.Filters {
			g.say("Filter %s %s identifier %d", cl.ID, f.Filter, f.Identifier)
		}
	}
	return pk, nil
}

func (g *gate) OnPacketSent(cl *mqtt.Client, pk packets.Packet, _ []byte) {
	switch h := pk.FixedHeader; h.Type {
	case packets.Publish:
		g.say("Sending PUBLISH to %s (d%d, q%d, r%d, m%d, '%s'", cl.ID, flag(h.Dup), h.Qos, flag(h.Retain), pk.PacketID, pk.TopicName)
		if pk.Properties.TopicAliasFlag {
			g.say("Alias to %s %d '%s'", cl.ID, pk.Properties.TopicAlias, pk.TopicName)
		}
	case packets.Connack:
		g.say("Sending CONNACK to %s (%d, %d)", cl.ID, flag(pk.SessionPresent), pk.ReasonCode)
	}
}

// devices writes certificates of two devices, 000000 and 000001, that an authority below the test's own has signed, which follows in their files, and
// their keys, which openssl has encrypted with the password. It gives the folder.
func (p *pki) devices(t *testing.T, dir string) string {
	t.Helper()
	into := filepath.Join(dir, "devices")
	if err := os.Mkdir(into, 0o700); err != nil {
		t.Fatal(err)
	}
	sign := func(name string, ca bool, by *x509.Certificate, byKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		c := &x509.Certificate{
			SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if ca {
			c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, nil
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	between, betweenKey := sign("authority below", true, p.root, p.rootKey)
	for i := range 2 {
		name := fmt.Sprintf("%06d", i)
		cert, key := sign("file-"+name, false, between, betweenKey)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		var chain []byte
		for _, c := range []*x509.Certificate{cert, between} {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
		for file, text := range map[string][]byte{name + ".pem": chain, name + ".open": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
			if err := os.WriteFile(filepath.Join(into, file), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		made := rig.Start(t, into, nil, rig.Program(t, "openssl"), "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", name+".open", "-out", name+".key", "-passout", "pass:"+password)
		if code := made.Wait(t, 20*time.Second); code != 0 {
			t.Fatalf("openssl: %s", made.Output())
		}
	}
	return into
}
