package divert

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Every connection goes where its user name says, with every byte of it, however it comes in pieces; what is no CONNECT is
// left to the hub.
func TestFork(t *testing.T) {
	login := func(user string) []byte {
		return append(mqtt.AppendConnect(nil, &mqtt.Connect{CleanSession: true, HasUsername: true, Username: []byte(user)}), "behind"...)
	}
	for _, tt := range []struct {
		sent []byte
		want string
	}{
		{login("hub/dev/?api-version=2021-04-12"), "hub"},
		{login("0ne1/registrations/dev/api-version=2019-03-31"), "dps"},
		{login("0ne1/registrations/dev/api-version=latest"), "dps"},
		{login(""), "hub"},
		{mqtt.AppendEmpty(nil, mqtt.PINGREQ), "hub"},
		{[]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0x01}, "hub"}, // a length of five bytes
	} {
		for _, size := range []int{1, 7, len(tt.sent)} {
			client, server := memnet.Pipe()
			got := make(chan string, 1)
			take := func(name string) func(net.Conn) {
				return func(nc net.Conn) {
					b, err := io.ReadAll(nc)
					if err != nil {
						t.Error(err)
					}
					got <- name + ":" + string(b)
				}
			}
			go func() {
				for rest := tt.sent; len(rest) > 0; {
					n := min(size, len(rest))
					if _, err := client.Write(rest[:n]); err != nil {
						break
					}
					rest = rest[n:]
				}
				client.Close()
			}()
			Fork{Hub: take("hub"), DPS: take("dps")}.Serve(server)
			if g := <-got; g != tt.want+":"+string(tt.sent) {
				t.Errorf("%q in pieces of %d: %q; want %s and all bytes", tt.sent, size, g, tt.want)
			}
		}
	}
}

// A connection that does not come to its user name ends after a time, and one that its client ends, at once.
func TestForkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nobody := func(net.Conn) { t.Error("somebody serves it") }
		client, server := memnet.Pipe()
		if _, err := client.Write([]byte{0x10, 0x20, 0x00}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		Fork{Hub: nobody, DPS: nobody}.Serve(server)
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("it ended after %v; want 30 s", took)
		}
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Error("the connection lives on")
		}
		client, server = memnet.Pipe()
		client.Close()
		start = time.Now()
		Fork{Hub: nobody, DPS: nobody}.Serve(server)
		if took := time.Since(start); took != 0 {
			t.Errorf("a connection that was closed is held for %v", took)
		}
	})
}
