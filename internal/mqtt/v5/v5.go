// Package v5 is a strict codec for the client's side of MQTT 5.0, over bytes: what clients send is written, what servers send is read.
// Every length is checked before it is trusted; strings and payloads are parts of the buffer, and a packet without properties is decoded
// without an allocation. What is the same as in MQTT 3.1.1 is of package mqtt, and so is the class of errors. Sections are those of MQTT
// 5.0.
package v5

import "github.com/twinfleet/twinfleet/internal/mqtt"

// AUTH is the control packet that MQTT 3.1.1 does not have (section 2.1.2).
const AUTH mqtt.Type = 15

// Reason codes (section 2.4) that this side sends, or acts on. All from Unspecified on are failures.
const (
	Unspecified        byte = 0x80
	Malformed          byte = 0x81
	ProtocolError      byte = 0x82
	UnsupportedVersion byte = 0x84
	PacketIDNotFound   byte = 0x92
	ReceiveMaxExceeded byte = 0x93
	AliasInvalid       byte = 0x94
	TooLarge           byte = 0x95

	withWill       byte = 0x04
	noSubscription byte = 0x11
	continueAuth   byte = 0x18
	authAgain      byte = 0x19
)
