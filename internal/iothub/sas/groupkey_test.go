package sas_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// The key of a device of an enrollment group, against an independent computation with openssl:
//
//	printf %s robot-1 | openssl dgst -sha256 -hmac group-secret -binary | base64
func TestGroupKey(t *testing.T) {
	group, err := sas.ParseKey("Z3JvdXAtc2VjcmV0")
	if err != nil {
		t.Fatal(err)
	}
	if got := group.Derive("robot-1").Base64(); got != "BFv/FLE9ZJi8Q7CTFBKoEfWIOVDzH4p84qfcav6DpGA=" {
		t.Errorf("derived key = %s", got)
	}
}
