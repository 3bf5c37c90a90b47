//go:build integration

package amqpservers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// patience is how long a server may take for something that takes it no time.
const patience = 30 * time.Second

// seen is a line of a server.
type seen struct {
	Port      int    `json:"port"`
	Address   string `json:"address"`
	Operation string `json:"operation"`
	Resource  string `json:"resource"`
	Body      string `json:"body"`
	Size      int    `json:"size"`
	Settled   bool   `json:"settled"`
	Status    int    `json:"status"`
	ID        string `json:"id"`
	Accepted  string `json:"accepted"`
	Trouble   string `json:"trouble"`
	Text      string `json:"text"`
}

// server is one under way.
type server struct {
	lines chan seen
	port  int
}

func start(t *testing.T, command ...string) *server {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	var trouble strings.Builder
	cmd.Stderr = &trouble
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("%v: %v; make setup installs it", command, err)
	}
	s := &server{lines: make(chan seen, 10_000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.lines)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var line seen
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				line = seen{Trouble: "no JSON", Text: lines.Text()}
			}
			s.lines <- line
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(trouble.String())
		}
	})
	s.port = s.next(t).Port
	return s
}

// next is the next line.
func (s *server) next(t *testing.T) seen {
	t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok || line.Trouble != "" {
			t.Fatalf("the server: %+v", line)
		}
		return line
	case <-time.After(patience):
		t.Fatal("the server says nothing")
		return seen{}
	}
}

// device is one that is connected, and what it heard.
type device struct {
	link.Conn
	heard chan string
	over  chan error
}

func (s *server) connect(t *testing.T, d link.Driver, id string, connection int) (*device, error) {
	t.Helper()
	x := &device{heard: make(chan string, 100), over: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	x.Conn, err = d.Connect(ctx, link.Options{
		ClientID: id, Host: "localhost", Password: func() string { return "token" }, KeepAlive: 10 * time.Second, Connection: connection,
		Dial:    link.TCP(net.JoinHostPort("127.0.0.1", fmt.Sprint(s.port))),
		Handler: func(m link.Message) { x.heard <- m.Topic + " " + string(m.Payload) },
	})
	if err == nil {
		x.Serve(func(err error) { x.over <- err })
	}
	return x, err
}

func (x *device) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-x.heard:
		if got != want {
			t.Errorf("heard %q; want %q", got, want)
		}
	case err := <-x.over:
		t.Fatalf("the connection is over: %v", err)
	case <-time.After(patience):
		t.Fatalf("does not hear %q", want)
	}
}

func await(t *testing.T, begin func(done func(error))) error {
	t.Helper()
	result := make(chan error, 2)
	begin(func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-time.After(patience):
		t.Fatal("no answer")
		return nil
	}
}

func (x *device) publish(t *testing.T, topic, payload string, qos byte) error {
	t.Helper()
	return await(t, func(done func(error)) {
		x.Publish(link.Message{Topic: topic, Payload: []byte(payload), QoS: qos}, done)
	})
}

func (x *device) subscribe(t *testing.T, filters ...string) {
	t.Helper()
	var all []link.Filter
	for _, f := range filters {
		all = append(all, link.Filter{Topic: f})
	}
	if err := await(t, func(done func(error)) { x.Subscribe(done, all...) }); err != nil {
		t.Fatal(err)
	}
}

func (x *device) leaves(t *testing.T) {
	t.Helper()
	x.Close()
	select {
	case err := <-x.over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the device does not leave")
	}
}

func TestServers(t *testing.T) {
	for name, command := range map[string][]string{"rhea": {"node", "rhea.mjs"}, "proton": {"/usr/bin/python3", "qpid.py"}} {
		t.Run(name, func(t *testing.T) {
			t.Run("a device", func(t *testing.T) { alone(t, start(t, command...)) })
			t.Run("many on a connection", func(t *testing.T) { many(t, start(t, command...)) })
		})
	}
}

// alone is all that a device does.
func alone(t *testing.T, s *server) {
	d := amqp.New()
	var refused *link.RefusedError
	if _, err := s.connect(t, d, "bad", 0); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("a bad token: %v", err)
	}
	x, err := s.connect(t, d, "dev", 0)
	if err != nil {
		t.Fatal(err)
	}
	x.subscribe(t, topics.FilterTwinResponses, topics.FilterDesired)
	if got := s.next(t); got.Operation != "PUT" || got.Resource != "/notifications/twin/properties/desired" || !got.Settled {
		t.Errorf("%+v", got)
	}
	x.hears(t, `$iothub/twin/PATCH/properties/desired/?$version=9 {"x":1,"$version":9}`)
	x.subscribe(t, topics.FilterMethods)
	x.hears(t, `$iothub/methods/POST/reboot/?$rid=01020304-0506-0708-090a-0b0c0d0e0f10 {"in":5}`)
	if err := x.publish(t, topics.MethodResponse(200, "01020304-0506-0708-090a-0b0c0d0e0f10"), "{}", 1); err != nil {
		t.Error(err)
	}
	if got := s.next(t); got.Status != 200 || got.ID != "0102030405060708090a0b0c0d0e0f10" || got.Body != "{}" {
		t.Errorf("%+v", got)
	}
	x.subscribe(t, topics.FilterC2D("dev"))
	x.hears(t, "devices/dev/messages/devicebound/%24.mid=m1&a=b hello")
	if got := s.next(t); got.Accepted != "/devices/dev/messages/devicebound" {
		t.Errorf("%+v", got)
	}
	if err := x.publish(t, topics.TwinGet("1"), " ", 0); err != nil {
		t.Error(err)
	}
	x.hears(t, `$iothub/twin/res/200/?$rid=1 {"desired":{"$version":1},"reported":{"$version":1}}`)
	if err := x.publish(t, topics.Report("2"), `{"a":1}`, 0); err != nil {
		t.Error(err)
	}
	x.hears(t, `$iothub/twin/res/200/?$rid=2&$version=7 `)
	s.next(t)
	s.next(t)
	large := strings.Repeat("0123456789", 20_000)
	for _, body := range []string{"small", large} {
		for qos := range byte(2) {
			if err := x.publish(t, topics.Telemetry("dev", nil), body, qos); err != nil {
				t.Error(err)
			}
			if got := s.next(t); got.Size != len(body) || got.Settled != (qos == 0) {
				t.Errorf("%d bytes, settled %v; want %d with QoS %d", got.Size, got.Settled, len(body), qos)
			}
		}
	}
	if err := x.publish(t, topics.Telemetry("dev", nil), "reject", 1); !errors.As(err, &refused) || !refused.Throttled() {
		t.Errorf("a message that is rejected: %v", err)
	}
	s.next(t)
	if err := await(t, x.Conn.(link.Renewer).Renew); err != nil {
		t.Errorf("a new token: %v", err)
	}
	const n = 3000 // more than there is credit for
	told := make(chan error, n)
	for i := range n {
		x.Publish(link.Message{Topic: topics.Telemetry("dev", nil), Payload: fmt.Append(nil, i), QoS: 1}, func(err error) { told <- err })
	}
	for i := range n {
		select {
		case err := <-told:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatalf("%d of %d are settled", i, n)
		}
		if got := s.next(t); got.Body != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, got.Body)
		}
	}
	for i := range 120 { // more than this side gives credit for at once
		if err := x.publish(t, topics.TwinGet(fmt.Sprint(i)), " ", 0); err != nil {
			t.Fatal(err)
		}
		x.hears(t, fmt.Sprintf(`$iothub/twin/res/200/?$rid=%d {"desired":{"$version":1},"reported":{"$version":1}}`, i))
		s.next(t)
	}
	x.leaves(t)
}

// many devices have a connection, of which one is not taken.
func many(t *testing.T, s *server) {
	const n = 100
	d := amqp.New()
	all := make(chan *device, n)
	for i := range n {
		go func() {
			x, err := s.connect(t, d, fmt.Sprint("dev", i), 1)
			if err != nil {
				t.Errorf("device %d: %v", i, err)
				x = nil
			}
			all <- x
		}()
	}
	var devices []*device
	for range n {
		if x := <-all; x != nil {
			devices = append(devices, x)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	var refused *link.RefusedError
	if _, err := s.connect(t, d, "bad", 1); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("a bad token: %v", err)
	}
	for i, x := range devices {
		x.subscribe(t, topics.FilterTwinResponses)
		if err := x.publish(t, topics.TwinGet(fmt.Sprint(i)), " ", 0); err != nil {
			t.Fatal(err)
		}
		x.hears(t, fmt.Sprintf(`$iothub/twin/res/200/?$rid=%d {"desired":{"$version":1},"reported":{"$version":1}}`, i))
		s.next(t)
	}
	for _, x := range devices {
		x.leaves(t)
	}
}
