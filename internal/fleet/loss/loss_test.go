package loss

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/fault"
)

// What the target said is told with its words, and what this side ended with what the target did.
func TestOf(t *testing.T) {
	system := func(err error) error {
		return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", err)}
	}
	for _, tt := range []struct {
		lost error
		want string
	}{
		{&link.DisconnectedError{Code: 0x97, Words: "tenant over quota"}, `the target disconnected: quota exceeded (reason code 151): "tenant over quota"`},
		{fmt.Errorf("reading: %w", &link.DisconnectedError{Code: 0x8d}), "the target disconnected: keep alive timeout (reason code 141)"},
		{&link.DisconnectedError{}, "the target disconnected"},
		{&link.DisconnectedError{Code: 0x98, Words: "robots-07 is banned"}, `the target disconnected: administrative action (reason code 152): "{device} is banned"`},
		{&link.DisconnectedError{Code: 0x98, Words: "a\x1b[2Jb\r\n"}, "the target disconnected: administrative action (reason code 152): \"a\ufffd[2Jb\ufffd\ufffd\""},
		{&link.DisconnectedError{Code: 0x98, Words: strings.Repeat("ä", 99)}, `the target disconnected: administrative action (reason code 152): "` + strings.Repeat("ä", 40) + `…"`},
		{errors.Join(link.ErrReceiveMax, io.EOF), "ended by this side: the target sent more messages at once than it was told that it may"},
		{link.ErrPacketMaximum, "ended by this side: the target sent a packet over the maximum that it was told"},
		{fmt.Errorf("%w: %w", link.ErrSilent, os.ErrDeadlineExceeded), "ended by this side: the target did not answer a PINGREQ in time"},
		{fault.ErrReset, "cut by the scenario's own network"},
		{errors.Join(link.ErrLost, link.ErrCut), Storm},
		{io.EOF, "the target closed the connection without a word"},
		{system(syscall.ECONNRESET), "the connection was reset, by the target or on the way to it"},
		{system(syscall.ETIMEDOUT), "what was sent did not reach the target in time"},
		{&link.RefusedError{Condition: "amqp:connection:forced"}, "refused with amqp:connection:forced"},
		{&websocket.CloseError{Code: 1008, Text: "secret"}, "the target closed the WebSocket: a violation of its policy"},
		{&websocket.CloseError{Code: 4711}, "the target closed the WebSocket"},
		{&websocket.CloseError{Code: websocket.CloseAbnormalClosure}, "the target closed the connection without a word"},
		{link.ErrLost, "nothing is known of why"},
	} {
		var r Reasons
		if got := r.Of(tt.lost, "robots-07"); got != tt.want {
			t.Errorf("%v: %q; want %q", tt.lost, got, tt.want)
		}
	}
}

// What the target would not do is told with its words, too, and no secret that is among them.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("connecting: %w", &link.RefusedError{Code: 0x87, Words: "robots-07 has no licence"}), `connection refused: not authorized (return code 135): "{device} has no licence"`},
		{&link.RefusedError{Code: 5}, "connection refused: not authorized (return code 5)"},
		{&link.RefusedError{Code: 0x99, Message: true, Words: "JSON alone"}, `message refused: payload format invalid (reason code 153): "JSON alone"`},
		{&link.SubscriptionError{Code: 0x87, Words: "not yours"}, `a topic filter was refused: not authorized (return code 135): "not yours"`},
		{&link.RefusedError{Code: 0x86, Words: "bad SharedAccessKey=c2VjcmV0"}, `connection refused: bad user name or password (return code 134): "bad SharedAccessKey=[hidden]"`},
		{ // a key that what is shown ends in
			&link.RefusedError{Code: 0x86, Words: "the key that this device came with is not the one here, which is this: " + strings.Repeat("aB3", 14) + "x="},
			`connection refused: bad user name or password (return code 134): "the key that this device came with is not the one here, which is this: [hidden]"`,
		},
		{os.ErrDeadlineExceeded, "no answer in time"},
		{nil, ""},
	} {
		var r Reasons
		if got := r.Refused(tt.err, "robots-07"); got != tt.want {
			t.Errorf("%v: %q; want %q", tt.err, got, tt.want)
		}
	}
}

// However much a target says, its texts are few.
func TestWordsAreBounded(t *testing.T) {
	var r Reasons
	seen := make(map[string]bool)
	for n := range 1000 {
		seen[r.Of(&link.DisconnectedError{Code: 0x97, Words: fmt.Sprintf("request %d", n)}, "robots-07")] = true
	}
	if len(seen) != mostWords+1 || !seen["the target disconnected: quota exceeded (reason code 151)"] {
		t.Errorf("%d texts: %v", len(seen), seen)
	}
}
