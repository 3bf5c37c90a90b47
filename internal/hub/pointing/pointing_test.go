package pointing

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var secrets = []string{"ZGV2aWNla2V5", "b3duZXJrZXk=", "sig=device", "sig=service"}

func full() Options {
	return Options{
		Host: "localhost", Port: 18883, CA: "/home/it's me/ca.pem", DeviceID: "dev'1$(x)",
		DeviceKey: secrets[0], OwnerKey: secrets[1], DeviceSAS: "SharedAccessSignature " + secrets[2], ServiceSAS: "SharedAccessSignature " + secrets[3],
	}
}

// Every client of the list has lines, with the port and the certificate that the hub has; keys are in them only when they were given.
func TestClients(t *testing.T) {
	o := full()
	var names, all []string
	for _, c := range Clients(o) {
		names, all = append(names, c.Name), append(all, c.Lines)
		if c.Lines == "" || !slices.Contains([]string{Device, Service, Tool}, c.Side) {
			t.Errorf("%+v", c)
		}
		if c.Name != "twinfleet" && !strings.Contains(c.Lines, "ca.pem") {
			t.Errorf("%s is told of no certificate:\n%s", c.Name, c.Lines)
		}
	}
	for _, name := range []string{
		"Node.js", "Python", ".NET", "Java", "C", "Node.js service", "Python service", ".NET service", "Java service", "az CLI", "Azure IoT Explorer", "mosquitto_pub", "curl",
	} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing", name)
		}
	}
	text := strings.Join(all, "\n")
	for _, s := range secrets {
		if !strings.Contains(text, s) {
			t.Errorf("the lines lack %s", s)
		}
	}
	o.DeviceKey, o.OwnerKey, o.DeviceSAS, o.ServiceSAS = "", "", "", ""
	bare, err := json.Marshal(Clients(o))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if strings.Contains(string(bare), s) {
			t.Errorf("without keys the lines have %s", s)
		}
	}
}

// Clients whose port is fixed say what the hub lacks, and nothing when it lacks nothing.
func TestNeeds(t *testing.T) {
	needs := func(o Options, name string) string {
		i := slices.IndexFunc(Clients(o), func(c Client) bool { return c.Name == name })
		return strings.Join(Clients(o)[i].Needs, "; ")
	}
	o := full()
	for name, want := range map[string]string{"Python": "8883", "Java": "8883", "C": "8883", ".NET": "8883", ".NET service": "443", "Java service": "443", "Azure IoT Explorer": "azure-devices.net", "curl": "", "Node.js": ""} {
		if got := needs(o, name); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s needs %q", name, got)
		}
	}
	o.MQTTS, o.HTTPS, o.Host = true, true, "my.azure-devices.net"
	for _, c := range Clients(o) {
		if len(c.Needs) > 0 {
			t.Errorf("%s needs %v of a hub that has all", c.Name, c.Needs)
		}
	}
}

// What is pasted into a shell is one word each, whatever is in it.
func TestQuoting(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no POSIX shell here")
	}
	for _, s := range []string{"a b", "it's", "$(reboot)", "`x`", `"\`, "a\nb", ""} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+shell(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q becomes %q, %v", s, out, err)
		}
		var back string
		if err := json.Unmarshal([]byte(text(s)), &back); err != nil || back != s {
			t.Errorf("%q becomes %s", s, text(s))
		}
	}
	if text("<&>") != `"<&>"` {
		t.Errorf("text escapes what need not be: %s", text("<&>"))
	}
}
