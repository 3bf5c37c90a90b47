//go:build integration

// Package eventhub tries the reader of hubs' messages with AMQP servers that others wrote.
package eventhub

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/eventhub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// Apache Qpid Proton redirects, takes tokens, answers requests and sends messages, small ones and such of many frames: the reader reads
// all of them, in their order.
func TestProton(t *testing.T) {
	const count = 300
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	hub := exec.CommandContext(ctx, "/usr/bin/python3", "hub.py", fmt.Sprint(count))
	out, err := hub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	hub.Stderr = &said
	if err := hub.Start(); err != nil {
		t.Fatalf("starting Proton: %v; run make setup", err)
	}
	defer func() {
		_ = hub.Process.Kill()
		_ = hub.Wait()
	}()
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = hub.Wait()
		t.Fatalf("Proton: %v: %s; run make setup", err, said.String())
	}
	seen := make(map[string]int)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	r, err := eventhub.New(eventhub.Options{
		Host: "127.0.0.1", Addr: "127.0.0.1:" + strings.TrimSpace(port), Policy: "service", Key: sas.NewKey(),
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		Deliver: func(m eventhub.Message) {
			n := int(m.Sequence)*4 + int(m.Partition[0]-'0')
			if want := fmt.Sprintf("message %d%s", n, strings.Repeat(".", n*97%100000)); string(m.Body) != want || m.Device != "dev" {
				t.Errorf("message %d of partition %s is of %d bytes, by %q", m.Sequence, m.Partition, len(m.Body), m.Device)
			}
			if seen[m.Partition]++; len(seen) == 4 && seen["0"]+seen["1"]+seen["2"]+seen["3"] == count {
				stop()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(reading); err != nil {
		t.Error(err)
	}
	if s := r.Stats(); s != (eventhub.Stats{Messages: count, Connected: true}) {
		t.Errorf("%+v; Proton: %s", s, said.String())
	}
}
