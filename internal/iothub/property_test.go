package iothub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawID draws an id that the registry takes and a connection string can hold.
func drawID(t *rapid.T, label string) string {
	return rapid.StringMatching(`[A-Za-z0-9.+%_#*?!(),=@$':-]{1,40}`).
		Filter(func(s string) bool { return !strings.Contains(strings.ToLower(s), "sharedaccesskey=") }).Draw(t, label)
}

func drawHost(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-z][a-z0-9.-]{0,20}[a-z0-9](:[1-9][0-9]{0,4})?`).Draw(t, label)
}

func drawKey(t *rapid.T) Key {
	return Key{string(rapid.SliceOfN(rapid.Byte(), 16, 64).Draw(t, "key"))}
}

func TestConnectionStringsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		service := ServiceConnectionString{drawHost(t, "host"), rapid.StringMatching(`[A-Za-z0-9-]{1,20}`).Draw(t, "policy"), drawKey(t)}
		if got, err := ParseServiceConnectionString(service.Reveal()); err != nil || got != service {
			t.Fatalf("%v reads back as %v, %v", service, got, err)
		}
		device := DeviceConnectionString{HostName: drawHost(t, "host"), DeviceID: drawID(t, "device")}
		if rapid.Bool().Draw(t, "module") {
			device.ModuleID = drawID(t, "module id")
		}
		if rapid.Bool().Draw(t, "gateway") {
			device.GatewayHostName = drawHost(t, "gateway host")
		}
		if device.X509 = rapid.Bool().Draw(t, "x509"); !device.X509 {
			device.Key = drawKey(t)
		}
		if got, err := ParseDeviceConnectionString(device.Reveal()); err != nil || got != device {
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
		service, err1 := ParseServiceConnectionString(s)
		device, err2 := ParseDeviceConnectionString(s)
		shown := fmt.Sprintf("%v %+v %#v %v %+v %#v %v %v", service, service, service, device, device, device, err1, err2)
		for i := 0; i+12 <= len(secret); i++ {
			if strings.Contains(shown, secret[i:i+12]) {
				t.Errorf("%q shows a part of the key: %s", s, shown)
				return
			}
		}
		for _, err := range []error{err1, err2} {
			if err != nil && !errors.Is(err, ErrConnectionString) {
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
		_, err := ParseDeviceConnectionString(text)
		if err == nil || (!strings.Contains(err.Error(), part+" has an equals sign") && !strings.Contains(err.Error(), "SharedAccessKey=… is missing")) {
			t.Errorf("%s: %v", part, err)
		}
	}
	_, err := ParseServiceConnectionString("HostName=h;SharedAccessKey=" + secret + ";SharedAccessKeyName=oSharedAccessKey=" + secret)
	if err == nil || !strings.Contains(err.Error(), "SharedAccessKeyName has an equals sign") {
		t.Errorf("policy: %v", err)
	}
}

func TestSASReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		resource := drawHost(t, "host") + "/devices/" + drawID(t, "device")
		policy := rapid.StringMatching(`[A-Za-z0-9-]{0,20}`).Draw(t, "policy")
		expiry := time.Unix(rapid.Int64Range(1, 1<<40).Draw(t, "expiry"), 0)
		key, other := drawKey(t), drawKey(t)
		got, err := ParseSAS(NewSAS(resource, key, policy, expiry))
		if err != nil || got.Resource != resource || got.Policy != policy || !got.Expiry.Equal(expiry) {
			t.Fatalf("reads back as %v, %v", got, err)
		}
		if err := got.Verify(expiry.Add(-time.Second), other, key); err != nil {
			t.Fatal(err)
		}
		if err := got.Verify(expiry, key); !errors.Is(err, ErrSASExpired) {
			t.Fatalf("at its expiry: %v", err)
		}
		if other != key && !errors.Is(got.Verify(expiry.Add(-time.Second), other), ErrSASSignature) {
			t.Fatal("another key verifies it")
		}
		if !got.Covers(resource) || !got.Covers(resource+"/messages/events") || got.Covers(resource+"x") {
			t.Fatal("it covers the wrong things")
		}
	})
}

// However a signature or an identity is printed or logged, no secret shows.
func TestSignaturesAndIdentitiesDoNotPrint(t *testing.T) {
	k := key(t)
	token := NewSAS("hub/devices/d", k, "", time.Unix(2e9, 0))
	sas, err := ParseSAS(token)
	if err != nil {
		t.Fatal(err)
	}
	identity := Identity{DeviceID: "d", Status: StatusEnabled, Authentication: Authentication{Type: AuthSAS, SymmetricKey: SymmetricKeys{k, k}}}
	entry := NewBulkEntry(ImportCreate, "d", k, k)
	var text, jsonText bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&jsonText, nil)} {
		slog.New(h).Info("x", "sas", sas, "identity", identity, "authentication", identity.Authentication, "keys", identity.Authentication.SymmetricKey, "entry", entry)
	}
	all := text.String() + jsonText.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb, sas) + fmt.Sprintf(verb, &sas)
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} { // vet refuses others for these
		all += fmt.Sprintf(verb, identity) + fmt.Sprintf(verb, entry) + fmt.Sprintf(verb, *entry.Authentication)
	}
	signature := k.Sign("hub%2Fdevices%2Fd\n2000000000")
	for _, s := range []string{
		secret, k.raw, fmt.Sprintf("%x", k.raw), fmt.Sprintf("%x", signature), fmt.Sprintf("%d", signature), fmt.Sprintf("%#v", signature), base64Of(signature),
	} {
		if strings.Contains(all, strings.Trim(s, "[]")) {
			t.Errorf("%.20q… shows", s)
		}
	}
	if !strings.Contains(all, "identity.device=d") {
		t.Error("the log does not name the device")
	}
	if b, err := json.Marshal(identity); err != nil || !bytes.Contains(b, []byte(secret)) {
		t.Errorf("the document lost its keys: %v", err)
	}
}

func TestUsernamesReadBack(t *testing.T) {
	module := rapid.StringMatching(`[A-Za-z0-9.+%_#*!(),@$':;-]{1,40}`) // neither "?" nor "=": they begin parameters
	rapid.Check(t, func(t *rapid.T) {
		u := Username{Host: drawHost(t, "host"), DeviceID: drawID(t, "device")}
		if rapid.Bool().Draw(t, "module") {
			u.ModuleID = module.Draw(t, "module id")
		}
		if rapid.Bool().Draw(t, "version") {
			u.APIVersion = rapid.StringMatching(`20[12][0-9]-[01][0-9]-[0-3][0-9]`).Draw(t, "api-version")
		}
		got, err := ParseUsername(u.String())
		if u.APIVersion != "" {
			u.Query = "api-version=" + u.APIVersion
		}
		if err != nil || got != u {
			t.Fatalf("%q reads back as %+v, %v", u.String(), got, err)
		}
	})
}

func TestUsernameParameters(t *testing.T) {
	u, err := ParseUsername("h/d/?api-version=2021-04-12&model-id=dtmi%3Acom%3Aexample%3Btherm%3B1&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20)&odd=%zz&flag")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"model-id": "dtmi:com:example;therm;1", "DeviceClientType": "azure-iot-device/1.18.4 (node v20)", "api-version": "2021-04-12", "odd": "%zz", "flag": "", "none": "",
	} {
		if got := u.Parameter(name); got != want {
			t.Errorf("Parameter(%q) = %q; want %q", name, got, want)
		}
	}
}

func TestTheSASMustHaveASignature(t *testing.T) {
	for _, token := range []string{"SharedAccessSignature sr=a&se=99", "SharedAccessSignature sr=a&sig=&se=99", "SharedAccessSignature sr=a&sig=%zz&se=99", "SharedAccessSignature sr=a&sig=YQ==&se=99999999999999999999", "SharedAccessSignature sr=a&sig=YQ==&se=-1"} {
		if s, err := ParseSAS(token); !errors.Is(err, ErrSAS) {
			t.Errorf("ParseSAS(%q) = %v, %v; want ErrSAS", token, s, err)
		}
	}
}

// Milliseconds for seconds is a known slip of one SDK; so far ahead a token is not expired. A time
// beyond what a clock can hold is no way around expiry.
func TestFarExpiry(t *testing.T) {
	k := key(t)
	for se, want := range map[string]error{"1700000000000": nil, "9223372036854775807": ErrSASExpired} {
		s, err := ParseSAS("SharedAccessSignature sr=h&sig=" + base64Of(k.Sign("h\n"+se)) + "&se=" + se)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(time.Unix(1_700_000_000, 0), k); !errors.Is(err, want) {
			t.Errorf("se=%s: %v; want %v", se, err, want)
		}
	}
}

func FuzzParseSAS(f *testing.F) {
	f.Add("SharedAccessSignature sr=h%2Fdevices%2Fd&sig=YQ%3D%3D&se=1700000000&skn=owner")
	f.Add("SharedAccessSignature sr=localhost&sig=YQ==&skn=&se=1700000000")
	f.Add("SharedAccessSignature se=1&sr=/&sig=+&&")
	f.Fuzz(func(t *testing.T, token string) {
		s, err := ParseSAS(token)
		if err != nil {
			if !errors.Is(err, ErrSAS) {
				t.Errorf("%v is not ErrSAS", err)
			}
			return
		}
		if s.Resource == "" || !s.Covers(s.Resource) || len(s.sig) == 0 {
			t.Errorf("%q reads as %v, which does not cover itself", token, s)
		}
		if err := s.Verify(time.Unix(0, 0), Key{"a key nobody signed with"}); err == nil {
			t.Errorf("%q verifies", token)
		}
	})
}

func FuzzParseUsername(f *testing.F) {
	for _, s := range []string{"h/d/?api-version=2021-04-12", "h/d/api-version=2016-11-14", "h/d", "h/d/m/?api-version=2020-09-30&model-id=a", "h/d/m/n", "h/d//?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUsername(s)
		if err != nil {
			if !errors.Is(err, ErrUsername) {
				t.Errorf("%v is not ErrUsername", err)
			}
			return
		}
		if u.Host == "" || u.DeviceID == "" || strings.Contains(u.ClientID(), "?") && !strings.Contains(s, "?") {
			t.Errorf("%q reads as %+v", s, u)
		}
		again, err := ParseUsername(u.String())
		if err != nil || again != u {
			t.Errorf("%q reads as %+v and back as %+v, %v", s, u, again, err)
		}
	})
}

func FuzzParseProperties(f *testing.F) {
	f.Add("%24.mid=1&%24.ct=application%2Fjson&a%20b=c%2Fd&e=&f&g+h=+")
	f.Fuzz(func(t *testing.T, raw string) {
		bag, err := ParseProperties(raw)
		if err != nil {
			return
		}
		again, err := ParseProperties(bag.Encode())
		if err != nil || len(again) != len(bag) || len(bag) > 0 && !reflect.DeepEqual(again, bag) {
			t.Errorf("%q reads as %v and back as %v, %v", raw, bag, again, err)
		}
	})
}

// What other clients write (iot-mqtt-connect-to-iot-hub).
func TestPropertyBags(t *testing.T) {
	bag, err := ParseProperties("?%24.mid=1&$.ct=application%2Fjson&a%20b=c%2Fd&plus+=+&empty=&null/")
	if err != nil {
		t.Fatal(err)
	}
	want := PropertyBag{{"$.mid", "1", true}, {"$.ct", "application/json", true}, {"a b", "c/d", true}, {"plus+", "+", true}, {"empty", "", true}, {"null", "", false}}
	if !reflect.DeepEqual(bag, want) {
		t.Errorf("bag = %v; want %v", bag, want)
	}
	if got, want := bag.Encode(), "%24.mid=1&%24.ct=application%2Fjson&a%20b=c%2Fd&plus%2B=%2B&empty=&null"; got != want {
		t.Errorf("Encode = %s; want %s", got, want)
	}
	if v, ok := bag.Get("$.ct"); !ok || v != "application/json" {
		t.Errorf("Get = %q, %v", v, ok)
	}
	if _, ok := bag.Get("none"); ok {
		t.Error("Get finds what is not there")
	}
	if got := bag.Size(); got != 6+20+6+6+5+4 {
		t.Errorf("Size = %d", got)
	}
	for _, bad := range []string{"%zz=1", "a=%z"} {
		if _, err := ParseProperties(bad); !errors.Is(err, ErrTopic) {
			t.Errorf("ParseProperties(%q) = %v; want ErrTopic", bad, err)
		}
	}
}

func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		filter, module string
		want           bool
	}{
		{FilterTwinResponses, "", true},
		{FilterDesired, "m", true},
		{FilterMethods, "", true},
		{FilterC2D("d"), "", true},
		{FilterC2D("e"), "", false},
		{FilterC2D("d"), "m", false},
		{"devices/d/modules/m/#", "m", true},
		{"devices/d/modules/m/inputs/#", "m", true},
		{"devices/d/modules/n/#", "m", false},
		{"#", "", false},
		{"$iothub/#", "", false},
		{"$iothub/twin/res/+", "", false},
	} {
		if got := ValidFilter(tt.filter, "d", tt.module); got != tt.want {
			t.Errorf("ValidFilter(%q, d, %q) = %v; want %v", tt.filter, tt.module, got, tt.want)
		}
	}
}
