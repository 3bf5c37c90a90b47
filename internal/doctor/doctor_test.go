package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// lines are findings as the tests compare them.
func lines(all ...Finding) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%s %s: %s", f.Level, f.Check, f.Text)
		if f.Remedy != "" {
			b.WriteString("; " + f.Remedy)
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func TestMachine(t *testing.T) {
	need := plan.Machine{Memory: 800e6, Descriptors: 9000, Ports: 60_000, PerAddress: 20_000, Addresses: 3}
	for _, tt := range []struct {
		facts host.Facts
		want  [3]string
	}{
		{host.Facts{Descriptors: 20_000, Ports: 28_232, MemoryAvailable: 2000e6}, [3]string{
			"ok descriptors: 9,000 needed, 20,000 allowed", "ok local ports: 20,000 needed of each source address, 28,232 there",
			"ok memory: about 800 MB needed, 2,000 MB available",
		}},
		{host.Facts{Unknown: host.UnknownPorts | host.UnknownMemory}, [3]string{
			"ok descriptors: 9,000 needed, no limit known", "ok local ports: 20,000 needed of each source address; this system does not tell how many there are",
			"ok memory: about 800 MB needed; this system does not tell how much there is",
		}},
		{host.Facts{Descriptors: 10_000, Ports: 24_000, MemoryAvailable: 900e6}, [3]string{
			"warning descriptors: 9,000 needed, 10,000 allowed; ulimit -n 12000",
			"warning local ports: 20,000 needed of each source address, 24,000 there; name 4 addresses of this machine in fleet.source_addresses; towards " +
				"loopback 127.0.0.1 to 127.0.0.4",
			"warning memory: about 800 MB needed, 900 MB available; give the machine or its container more memory, or run fewer devices, or write fleet.client: lean",
		}},
		{host.Facts{Descriptors: 1024, Ports: 10_000, MemoryAvailable: 700e6}, [3]string{
			"problem descriptors: 9,000 needed, 1,024 allowed; ulimit -n 12000",
			"problem local ports: 20,000 needed of each source address, 10,000 there; name 8 addresses of this machine in fleet.source_addresses; towards " +
				"loopback 127.0.0.1 to 127.0.0.8",
			"problem memory: about 800 MB needed, 700 MB available; give the machine or its container more memory, or run fewer devices, or write fleet.client: lean",
		}},
	} {
		sc := new(scenario.Scenario)
		got := [3]string{lines(descriptors(need, tt.facts)), lines(ports(sc, need, tt.facts)), lines(memory(need, tt.facts))}
		if got != tt.want {
			t.Errorf("%+v:\n%s\nwant:\n%s", tt.facts, strings.Join(got[:], "\n"), strings.Join(tt.want[:], "\n"))
		}
	}
	// Each of several hubs is another destination, towards which an address has its ports anew.
	several := plan.Machine{Ports: 60_040, PerAddress: 15_040, Addresses: 1, Destinations: 4}
	for there, want := range map[int]string{
		28_232: "ok local ports: 15,040 needed of each source address towards each of 4 hubs, 28,232 there",
		10_000: "problem local ports: 15,040 needed of each source address towards each of 4 hubs, 10,000 there; name 2 addresses of this machine in " +
			"fleet.source_addresses; towards loopback 127.0.0.1 to 127.0.0.2",
	} {
		if got := lines(ports(new(scenario.Scenario), several, host.Facts{Ports: there})); got != want {
			t.Errorf("%d ports: %s; want %s", there, got, want)
		}
	}
	// On the bound itself all that is there is needed: no problem, and no room.
	if f := level("x", 10, 10); f.Level != Warning {
		t.Errorf("10 of 10: %s", f.Level)
	}
}

func TestAddresses(t *testing.T) {
	if got := lines(addresses(nil, bind)); got != "ok source addresses: the system's choice" {
		t.Error(got)
	}
	if got := lines(addresses([]string{"127.0.0.1", "127.0.0.2"}, bind)); got != "ok source addresses: 2, all of this machine" {
		t.Error(got)
	}
	got := lines(addresses([]string{"127.0.0.1", "192.0.2.7"}, bind)) // of TEST-NET-1, which no machine has
	if want := "problem source addresses: 192.0.2.7 cannot be used: cannot assign requested address; take 192.0.2.7 out of fleet.source_addresses, or " +
		"give it to this machine: ip address add 192.0.2.7 dev lo"; got != want {
		t.Error(got)
	}
}

// fake is a target that answers as a test wants.
type fake struct {
	secure                               bool
	resolve, dial, handshake, identities error
	off                                  time.Duration
	noClock                              bool

	agreed, proxy, version, redirected string
	through                            error
	unchecked                          bool
}

func (f fake) Address() string { return "h.example:8883" }
func (f fake) Secure() bool    { return f.secure }
func (f fake) Resolve(context.Context) ([]string, error) {
	return []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}, f.resolve
}
func (f fake) Dial(context.Context) error                { return f.dial }
func (f fake) Handshake(context.Context) (string, error) { return f.agreed, f.handshake }
func (f fake) Proxy() string                             { return f.proxy }
func (f fake) Through(context.Context) error             { return f.through }
func (f fake) Unchecked() bool                           { return f.unchecked }
func (f fake) Version() string                           { return f.version }
func (f fake) Redirected() string                        { return f.redirected }
func (f fake) Identities(context.Context) (int, error)   { return 1234, f.identities }
func (f fake) Clock(context.Context) (time.Time, bool, error) {
	return noon().Add(f.off), !f.noClock, nil
}

func noon() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

func TestReach(t *testing.T) {
	const known, open = "ok name: h.example is 10.0.0.1, 10.0.0.2, 10.0.0.3\n", "ok port: h.example:8883 is open\n"
	const trusted, accepted, clock = "ok certificate: trusted\n", "ok credentials: accepted; the hub has 1,234 identities\n",
		"ok clock: as the target's, to the second"
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for name, tt := range map[string]struct {
		kind   target.Kind
		target fake
		want   string
	}{
		"all well, in clear": {target.IoTHub, fake{}, known + open + accepted + clock},
		"all well":           {target.IoTHub, fake{secure: true, off: 1500 * time.Millisecond}, known + open + trusted + accepted + clock},
		"a broker":           {target.Broker, fake{noClock: true}, known + open + "ok credentials: accepted for the first device"},
		"no such name": {
			target.IoTHub,
			fake{resolve: &net.DNSError{Err: "no such host", IsNotFound: true}},
			"problem name: h.example is not known: lookup : no such host; check the host name in target.hub, and the name server of this machine",
		},
		"refused": {
			target.IoTHub,
			fake{dial: refused},
			known + "problem port: h.example:8883 cannot be reached: connection refused; start what should listen there, or correct the port in target.hub",
		},
		"no source address": {target.IoTHub, fake{dial: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}, known +
			"problem port: h.example:8883 cannot be reached: cannot assign requested address; check fleet.source_addresses: the target cannot be reached from " +
			"one of them"},
		"no answer": {target.IoTHub, fake{dial: context.DeadlineExceeded}, known +
			"problem port: h.example:8883 cannot be reached: context deadline exceeded; let connections to it through the firewall; devices use port 8883 of " +
			"Azure IoT Hub, the service side 443"},
		"unknown authority": {
			target.IoTHub,
			fake{secure: true, handshake: fmt.Errorf("TLS handshake: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})},
			known + open +
				"problem certificate: the handshake failed: x509: certificate signed by unknown authority; " + target.TrustRemedy,
		},
		"expired": {target.IoTHub, fake{secure: true, handshake: x509.CertificateInvalidError{Reason: x509.Expired, Detail: "today"}}, known + open +
			"problem certificate: the handshake failed: x509: certificate has expired or is not yet valid: today; renew the target's certificate, or set this " +
			"machine's clock"},
		"no TLS": {target.Broker, fake{secure: true, handshake: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}}, known + open +
			"problem certificate: the handshake failed: tls: first record does not look like a TLS handshake; the port speaks no TLS: use target.plain for a " +
			"twinfleet hub, mqtt:// for a broker"},
		"wrong key": {target.IoTHub, fake{identities: fmt.Errorf("reading: %w", iothub.ErrUnauthorized)}, known + open +
			"problem credentials: the hub does not accept the service connection string; take that of the policy iothubowner, or of one that may read and " +
			"write the registry and connect services\n" + clock},
		"used up": {target.IoTHub, fake{identities: iothub.ErrQuotaExceeded}, known + open +
			"problem credentials: the hub's messages of this day are used up; wait for midnight UTC, or take more units\n" + clock},
		"throttled": {target.IoTHub, fake{identities: iothub.ErrThrottled}, known + open +
			"warning credentials: the hub throttles the registry now; wait a minute, and see what else loads it\n" + clock},
		"refused by a broker": {target.Broker, fake{noClock: true, identities: &link.RefusedError{Code: 5}}, known + open +
			"problem credentials: the broker refuses the first device: connection refused: not authorized (return code 5); check what the group and target " +
			"have as username and password, or its identity, and the broker's access list"},
		"refused by a broker that says more": {target.Broker, fake{noClock: true, identities: &link.RefusedError{Code: 0x87, Words: "no\x1b[2J licence"}}, known + open +
			"problem credentials: the broker refuses the first device: connection refused: not authorized (return code 135): \"no\u241b[2J licence\"; check what " +
			"the group and target have as username and password, or its identity, and the broker's access list"},
		"a broker behind a proxy, unchecked, MQTT 5": {
			target.Broker,
			fake{noClock: true, secure: true, proxy: "p.example:3128", agreed: "TLS 1.3, ALPN mqtt", version: "5", unchecked: true},
			"ok name: p.example is 10.0.0.1, 10.0.0.2, 10.0.0.3\nok port: the proxy p.example:3128 is open\nok proxy: it connects to h.example:8883\n" +
				"warning certificate: not checked, as target.tls.insecure says: whoever is on the way can read and change what devices send; TLS 1.3, ALPN mqtt; " +
				"name the authority's certificate in target.ca, and remove insecure\nok credentials: accepted for the first device, which speaks MQTT 5",
		},
		"a proxy that refuses": {
			target.Broker,
			fake{proxy: "p.example:3128", through: &net.DNSError{IsNotFound: true}},
			"ok name: p.example is 10.0.0.1, 10.0.0.2, 10.0.0.3\nok port: the proxy p.example:3128 is open\nproblem proxy: no connection to h.example:8883: " +
				"the target's name was not found; check user, password and port in target.proxy, and that the proxy may connect to the target's port",
		},
		"nobody at the proxy": {
			target.Broker,
			fake{proxy: "p.example:3128", dial: refused},
			"ok name: p.example is 10.0.0.1, 10.0.0.2, 10.0.0.3\nproblem port: the proxy p.example:3128 cannot be reached: connection refused; start what should " +
				"listen there, or correct the port in target.proxy",
		},
		"a broker that refuses TLS": {
			target.Broker,
			fake{secure: true, version: "3.1.1", handshake: &net.OpError{Op: "remote error", Err: errors.New("tls: no application protocol")}},
			known + open + "problem certificate: the handshake failed: tls: no application protocol; check target.tls: min_version, alpn and server_name, and whether " +
				"the broker wants certificates of devices",
		},
		"a redirect that is followed": {target.Broker, fake{noClock: true, version: "5", redirected: "b.example:1"}, known + open +
			"ok credentials: accepted for the first device, which speaks MQTT 5, by b.example:1, to which the broker sends it"},
		"redirects in circles": {target.Broker, fake{noClock: true, version: "5", identities: &link.AstrayError{Circle: true, Refused: &link.RefusedError{Code: 157, Server: "b.example:1"}}}, known + open +
			"problem credentials: servers send devices in circles: connection refused: server moved (return code 157); the first device was sent to b.example:1 at last; have one of the brokers take it, or name that one in target.hub"},
		"a redirect": {target.Broker, fake{noClock: true, version: "5", identities: &link.RefusedError{Code: 156, Server: "b.example:1"}}, known + open +
			"problem credentials: the broker sends the first device to another server: b.example:1; name that server in target.hub, or write redirect: follow"},
		"nonsense": {target.IoTHub, fake{identities: errors.New("malformed HTTP response")}, known + open +
			"problem credentials: the question failed: malformed HTTP response; check what listens on the port, and target.hub\n" + clock},
		"clock behind": {
			target.IoTHub,
			fake{off: 3 * time.Second},
			known + open + accepted + "warning clock: 3.00s apart from the target's; set this machine's clock: timedatectl set-ntp true",
		},
		"clock wrong": {target.IoTHub, fake{off: -6 * time.Minute}, known + open + accepted +
			"problem clock: 6m00s apart from the target's; a hub refuses tokens of clocks that are 5m00s apart; set this machine's clock: timedatectl set-ntp true"},
	} {
		if got := lines(Reach(t.Context(), tt.kind.Can(), tt.target, noon)...); got != tt.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, tt.want)
		}
	}
}

func TestTier(t *testing.T) {
	text := func(devices int, every, rest string) string {
		return fmt.Sprintf("fleet: {groups: [{name: a, count: %d, telemetry: {every: %s}}]}\nstages: [{name: s, duration: 10m, devices: %[1]d}]\n%[3]s\n",
			devices, every, rest)
	}
	for name, tt := range map[string]struct {
		text string
		o    plan.Options
		want string
	}{
		"no tier, embedded": {text(10, "1m", ""), plan.Options{}, ""},
		"no tier, elsewhere": {
			text(10, "1m", "target: {hub: 'HostName=h;SharedAccessKeyName=o;SharedAccessKey=aHVzaA=='}"),
			plan.Options{},
			"ok tier: not told; give --tier and --units to hold the scenario to the hub's. A day that goes on with the 10 devices at the end of stage s counts " +
				"for up to 14,400 messages",
		},
		"within": {text(10, "1m", ""), plan.Options{Tier: "S1", Units: 2}, "ok tier: within the limits of S1, 2 units\n" +
			"ok daily quota: this run uses 59 of the day's 800,000 messages; kept up all day with the 10 devices at the end of stage s it would be 14,400 (2 %)"},
		"the day's quota": {
			"fleet: {groups: [{name: a, count: 1400, reported: {connectivity: {type: wifi}, every: 30s}}]}\n" +
				"stages: [{name: ramp, duration: 1m, devices: 1400}, {name: hold, duration: 5m}]\n",
			plan.Options{Tier: "S1", Units: 2},
			"ok tier: within the rates of S1, 2 units\n" +
				"warning daily quota: this run uses 18,194 of the day's 800,000 messages; kept up all day as in stage hold it would be 4,032,000: the hub cuts " +
				"the whole fleet off after about 4h45m, until midnight UTC; take 1 unit of S2, or lower the rates",
		},
		"a run that a burst covers, and a day that none does": {
			"fleet: {groups: [{name: a, count: 510, reported: {connectivity: {type: wifi}, every: 10s}}]}\n" +
				"stages: [{name: ramp, duration: 1m, devices: 510}, {name: hold, duration: 1m}]\n",
			plan.Options{Tier: "S1", Units: 20},
			"warning tier: a run keeps within the limits of S1, 20 units; a day of it does not: twin updates: 51/s all day as in stage hold; the hub allows, " +
				"whatever its units, 50/s; take 1 unit of S3, or lower the rates\n" +
				"ok daily quota: this run uses 5,603 of the day's 8,000,000 messages; kept up all day as in stage hold it would be 4,406,400 (56 %)",
		},
		"more units": {
			text(4000, "10s", ""),
			plan.Options{Tier: "S1", Units: 1},
			"warning tier: telemetry: stage s asks for 119,978 in 10m00s (200/s), one unit of S1 allows 100/s; some 53,978 wait or are shed with 429; take 6 " +
				"units of S2, or lower the rates\n" +
				"warning daily quota: this run uses 123,978 of the day's 400,000 messages; kept up all day with the 4,000 devices at the end of stage s it would " +
				"be 34,560,000: the hub cuts the whole fleet off after about 22 min, until midnight UTC; take 6 units of S2, or lower the rates",
		},
		"no tier takes it": {
			text(1_000_000, "1s", ""),
			plan.Options{Tier: "F1", Units: 1},
			"; lower the rates, or spread them over more time: no tier takes them",
		},
	} {
		sc, err := scenario.Decode("x.yaml", []byte(tt.text), scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Make(sc, tt.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(Tier(sc, p)...); got != tt.want && !(strings.HasPrefix(tt.want, ";") && strings.Contains(got, tt.want)) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, tt.want)
		}
	}
}
