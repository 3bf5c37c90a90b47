package connstring

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI="

func key(t testing.TB) sas.Key {
	t.Helper()
	k, err := sas.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// raw is the key as bytes.
func raw() string {
	b, _ := base64.StdEncoding.DecodeString(secret)
	return string(b)
}

// drawID draws an id that the registry takes and a connection string can hold.
func drawID(t *rapid.T, label string) string {
	return rapid.StringMatching(`[A-Za-z0-9.+%_#*?!(),=@$':-]{1,40}`).
		Filter(func(s string) bool { return !strings.Contains(strings.ToLower(s), "sharedaccesskey=") }).Draw(t, label)
}

func drawHost(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-z][a-z0-9.-]{0,20}[a-z0-9](:[1-9][0-9]{0,4})?`).Draw(t, label)
}

func drawKey(t *rapid.T) sas.Key {
	k, err := sas.ParseKey(base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 16, 64).Draw(t, "key")))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestConnectionStrings(t *testing.T) {
	for _, tt := range []struct{ text, problem string }{
		{"HostName=h;SharedAccessKeyName=o;SharedAccessKey=" + secret, ""},
		{"hostname=h:8883 ; sharedaccesskeyname=o;SHAREDACCESSKEY=" + secret + ";", ""},
		{"", "it is empty"},
		{"HostName=h;SharedAccessKey=" + secret, "SharedAccessKeyName=… is missing"},
		{"SharedAccessKeyName=o;SharedAccessKey=" + secret, "HostName=… is missing"},
		{"HostName=h;SharedAccessKeyName=o;SharedAccessKey=!", "not base64"},
		{"HostName=h;SharedAccessKeyName=o;SharedAccessKey=" + secret + ";HostName=g", "repeats"},
		{"HostName=https://h;SharedAccessKeyName=o;SharedAccessKey=" + secret, "without a scheme"},
		{"HostName=h;DeviceId=d;SharedAccessKey=" + secret, "it is a device's"},
		{"nonsense", "no equals sign"},
	} {
		c, err := ParseService(tt.text)
		if tt.problem == "" {
			if err != nil || c.Policy != "o" || c.Key != key(t) {
				t.Errorf("%q: %v, %v", tt.text, c, err)
			}
			continue
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.problem) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v; want %s", tt.text, err, tt.problem)
		}
	}
	for _, text := range []string{
		"HostName=h:1;DeviceId=d;SharedAccessKey=" + secret, "HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=" + secret,
		"HostName=h;DeviceId=d;GatewayHostName=g;x509=true",
	} {
		c, err := ParseDevice(text)
		if err != nil || c.Reveal() != text {
			t.Errorf("%q reads back as %q, %v", text, c.Reveal(), err)
		}
	}
}

func FuzzConnectionString(f *testing.F) {
	f.Add("HostName=h;SharedAccessKeyName=o;SharedAccessKey=" + secret)
	f.Add("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=" + secret)
	f.Add(";;=;a=b=c;")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ParseService(s); err == nil {
			second, err := ParseService(c.Reveal())
			if err != nil || second != c {
				t.Errorf("%q does not read back: %v", s, err)
			}
		} else if strings.Contains(err.Error(), "SharedAccessKey=") && !strings.Contains(err.Error(), "SharedAccessKey=…") {
			t.Errorf("the error holds a key: %v", err)
		}
		if c, err := ParseDevice(s); err == nil {
			second, err := ParseDevice(c.Reveal())
			if err != nil || second != c {
				t.Errorf("%q does not read back: %v", s, err)
			}
		}
	})
}

func TestConnectionStringsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		service := Service{drawHost(t, "host"), rapid.StringMatching(`[A-Za-z0-9-]{1,20}`).Draw(t, "policy"), drawKey(t)}
		if got, err := ParseService(service.Reveal()); err != nil || got != service {
			t.Fatalf("%v reads back as %v, %v", service, got, err)
		}
		device := Device{HostName: drawHost(t, "host"), DeviceID: drawID(t, "device")}
		if rapid.Bool().Draw(t, "module") {
			device.ModuleID = drawID(t, "module id")
		}
		if rapid.Bool().Draw(t, "gateway") {
			device.GatewayHostName = drawHost(t, "gateway host")
		}
		if device.X509 = rapid.Bool().Draw(t, "x509"); !device.X509 {
			device.Key = drawKey(t)
		}
		if got, err := ParseDevice(device.Reveal()); err != nil || got != device {
			t.Fatalf("%v reads back as %v, %v", device, got, err)
		}
	})
}

// A connection string that lost or gained a character on its way does not show its key: not in the
// error, and not when what was read of it is printed.
func TestDamagedConnectionStringsDoNotShowTheKey(t *testing.T) {
	texts := []string{
		"HostName=hub.example.net;SharedAccessKeyName=owner;SharedAccessKey=" + secret,
		"HostName=hub.example.net;DeviceId=dev-1;SharedAccessKey=" + secret,
		"HostName=hub.example.net;DeviceId=dev-1;ModuleId=m;GatewayHostName=gw;x509=true;SharedAccessKey=" + secret,
		"SharedAccessKey=" + secret + ";DeviceId=dev-1;HostName=hub.example.net",
		"SharedAccessKeyName=owner;SharedAccessKey=" + secret + ";HostName=hub.example.net",
		"DeviceId=dev-1;SharedAccessKey=" + secret + ";x509=true;GatewayHostName=gw;SharedAccessKey=" + secret + ";HostName=hub.example.net",
	}
	check := func(s string) {
		service, err1 := ParseService(s)
		device, err2 := ParseDevice(s)
		shown := fmt.Sprintf("%v %+v %#v %v %+v %#v %v %v", service, service, service, device, device, device, err1, err2)
		for i := 0; i+12 <= len(secret); i++ {
			if strings.Contains(shown, secret[i:i+12]) {
				t.Errorf("%q shows a part of the key: %s", s, shown)
				return
			}
		}
		for _, err := range []error{err1, err2} {
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v is not ErrConnectionString", s, err)
			}
		}
	}
	for _, text := range texts {
		for i := range len(text) {
			check(text[:i] + text[i+1:])
			check(text[:i])
			for _, with := range []string{";", "=", " ", "/", "\n", "\x00"} {
				check(text[:i] + with + text[i:])
				check(text[:i] + with + text[i+1:])
			}
		}
	}
}

func TestLostSemicolonsAreNamed(t *testing.T) {
	for text, part := range map[string]string{
		"HostName=h;DeviceId=dSharedAccessKey=" + secret:                                "DeviceId",
		"HostName=h;DeviceId=d;x509=true;ModuleId=mSharedAccessKey=" + secret:           "ModuleId",
		"HostName=h;DeviceId=d;x509=true;GatewayHostName=gSharedAccessKey=" + secret:    "GatewayHostName",
		"DeviceId=d;x509=true;HostName=hSharedAccessKey=" + secret:                      "HostName",
		"SharedAccessKey=" + secret + ";HostName=h;DeviceId=dSharedAccessKey=" + secret: "DeviceId",
	} {
		_, err := ParseDevice(text)
		if err == nil || (!strings.Contains(err.Error(), part+" has an equals sign") && !strings.Contains(err.Error(), "SharedAccessKey=… is missing")) {
			t.Errorf("%s: %v", part, err)
		}
	}
	_, err := ParseService("HostName=h;SharedAccessKey=" + secret + ";SharedAccessKeyName=oSharedAccessKey=" + secret)
	if err == nil || !strings.Contains(err.Error(), "SharedAccessKeyName has an equals sign") {
		t.Errorf("policy: %v", err)
	}
}

// However a secret is printed, it does not show.
func TestSecretsDoNotPrint(t *testing.T) {
	k := key(t)
	service := Service{"hub", "owner", k}
	device := Device{HostName: "hub", DeviceID: "d", Key: k}
	token := sas.Sign("hub/devices/d", k, "", time.Unix(2e9, 0))
	sas, err := sas.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "key", k, "service", service, "device", device, "sas", sas)
	all := logged.String() + fmt.Sprint(k, service, device, sas) + fmt.Sprintf("%v %+v %#v %s %q %x %d", k, k, k, k, k, k, k) +
		fmt.Sprintf("%s %s %s", service, device, sas)
	signature := token[strings.Index(token, "sig=")+4 : strings.Index(token, "&se=")]
	for _, s := range []string{secret, raw(), fmt.Sprintf("%x", raw()), signature} {
		if strings.Contains(all, s) {
			t.Errorf("%q shows in %q", s, all)
		}
	}
	if !strings.Contains(service.Reveal(), secret) || !strings.Contains(device.Reveal(), secret) {
		t.Error("Reveal hides the key")
	}
}
