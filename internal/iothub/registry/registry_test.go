package registry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
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

func TestBulkErrors(t *testing.T) {
	for code, want := range map[string]int{
		`409001`: 409001, `"409001"`: 409001, `"DeviceAlreadyExists"`: 409001, `"deviceNotFound"`: 404001,
		`"SomethingNew"`: 0,
	} {
		var got BulkResult
		if err := json.Unmarshal([]byte(`{"isSuccessful":false,"errors":[{"deviceId":"d","errorCode":`+code+`,"errorStatus":"why"}]}`), &got); err != nil {
			t.Errorf("%s: %v", code, err)
			continue
		}
		if e := got.Errors[0]; e.DeviceID != "d" || e.ErrorCode != want || e.ErrorStatus != "why" {
			t.Errorf("%s reads as %+v; want %d", code, e, want)
		}
		b, err := json.Marshal(got)
		var second BulkResult
		if err != nil || json.Unmarshal(b, &second) != nil || !reflect.DeepEqual(second, got) {
			t.Errorf("%+v reads back as %+v, %v", got, second, err)
		}
	}
	err := BulkError{DeviceID: "d", ErrorCode: 429001, ErrorStatus: "slow down"}.Err()
	if !errors.Is(err, iothub.ErrThrottled) || !iothub.Throttled(err) || err.Name != "ThrottlingException" || err.Message != "slow down" {
		t.Errorf("Err = %+v", err)
	}
	if err := json.Unmarshal([]byte(`{"errors":[7]}`), new(BulkResult)); err == nil {
		t.Error("an entry that is a number is read")
	}
}

// However a signature or an identity is printed or logged, no secret shows.
func TestSignaturesAndIdentitiesDoNotPrint(t *testing.T) {
	k := key(t)
	token := sas.Sign("hub/devices/d", k, "", time.Unix(2e9, 0))
	sas, err := sas.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	identity := Identity{DeviceID: "d", Status: StatusEnabled, Authentication: Authentication{Type: AuthSAS, SymmetricKey: SymmetricKeys{k, k}}}
	entry := NewBulkEntry(ImportCreate, "d", k, k)
	var text, jsonText bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&jsonText, nil)} {
		slog.New(h).Info("x", "sas", sas, "identity", identity, "authentication", identity.Authentication, "keys", identity.Authentication.SymmetricKey,
			"entry", entry)
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
		secret, raw(), fmt.Sprintf("%x", raw()), fmt.Sprintf("%x", signature), fmt.Sprintf("%d", signature), fmt.Sprintf("%#v",
			signature), base64.StdEncoding.EncodeToString(signature),
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
