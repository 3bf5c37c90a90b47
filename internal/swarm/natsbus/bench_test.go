//go:build unix

package natsbus_test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/embednats"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
)

// folderVariable makes this test a server in another process, so that its CPU time is told apart.
const folderVariable = "NATSBUS_TEST_FOLDER"

func TestMain(m *testing.M) {
	folder := os.Getenv(folderVariable)
	if folder == "" {
		os.Exit(m.Run())
	}
	s, err := embednats.Open(context.Background(), embednats.Options{Folder: folder, Token: token})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	// Its end of the input is the end of who began it.
	bufio.NewScanner(os.Stdin).Scan()
	_ = s.Close()
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAgentSecond is what an agent sends in a second: ten messages of 100 bytes, one after the other, and a value of 60 KB. The time of an
// operation is not a second: the pauses between messages are short. The metrics: CPU time of the agent, of the server with nobody
// else connected and with a coordinator that listens and watches, bytes on the wire between agent and server, and bytes of the server's folder at the end.
func BenchmarkAgentSecond(b *testing.B) {
	for _, c := range []struct {
		name                string
		coordinator, counts bool
	}{{"alone", false, false}, {"watched", true, false}, {"counted", false, true}} {
		b.Run(c.name, func(b *testing.B) { agentSecond(b, c.coordinator, c.counts) })
	}
}

func agentSecond(b *testing.B, coordinator, counts bool) {
	folder := b.TempDir()
	process := exec.CommandContext(b.Context(), os.Args[0])
	process.Env = append(os.Environ(), folderVariable+"="+folder)
	in, err := process.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := process.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	url := lines.Text()
	var p *proxy
	if counts {
		p = newProxy(b, strings.TrimPrefix(url, "nats://"))
		url = p.url()
	}
	connect := func() *natsbus.Conn {
		conn, err := natsbus.Connect(b.Context(), natsbus.Options{URLs: []string{url}, Token: token})
		if err != nil {
			b.Fatal(err)
		}
		return conn
	}
	agent := connect()
	store, err := agent.Store(b.Context(), "run", true)
	if err != nil {
		b.Fatal(err)
	}
	if coordinator {
		conn := connect()
		defer conn.Close()
		if _, err := conn.Subscribe("status.*", func(string, []byte) {}); err != nil {
			b.Fatal(err)
		}
		figures, err := conn.Store(b.Context(), "run", true)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = figures.Watch(ctx, "", func(bus.Entry) {})
		}()
		defer func() {
			cancel()
			<-ended
		}()
	}
	message, value := make([]byte, 100), make([]byte, 60<<10)
	up, down := int64(0), int64(0)
	if counts {
		up, down = p.up.Load(), p.down.Load()
	}
	before := cpu(b)
	for b.Loop() {
		for range 10 {
			if err := agent.Publish("status.one", message); err != nil {
				b.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := store.Put(b.Context(), "figures.one.1", value); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	n := float64(b.N)
	if counts {
		b.ReportMetric(float64(p.up.Load()-up)/n, "B-up/op")
		b.ReportMetric(float64(p.down.Load()-down)/n, "B-down/op")
	} else {
		who := "agent-cpu-µs/op"
		if coordinator {
			who = "agent-and-coordinator-cpu-µs/op"
		}
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/n, who)
	}
	_ = agent.Close()
	size := int64(0)
	_ = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if info, e := d.Info(); err == nil && e == nil && d.Type().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	b.ReportMetric(float64(size)/1e6, "MB-folder")
	_ = in.Close()
	_ = process.Wait()
	b.ReportMetric(float64((process.ProcessState.SystemTime()+process.ProcessState.UserTime()).Microseconds())/n, "server-cpu-µs/op")
}
