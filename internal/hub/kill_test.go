package hub_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

var kills = flag.Int("kills", 4, "how many times TestKill kills a hub under load")

// hubVariable makes the test binary a hub that keeps its data in the directory it names, until it is killed.
const hubVariable = "TWINFLEET_HUB_DATA"

// aboutHub is what such a hub prints once it listens.
type aboutHub struct{ Address, Key, Scope, GroupKey string }

func serveData(dir string) error {
	ignoreFileLimit()
	h, err := hub.Open(context.Background(), hub.Options{DataDir: dir, DPS: &dps.Options{}})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(aboutHub{
		h.Addr(), h.ConnectionString("iothubowner").Key.Base64(), h.DPS().IDScope(), h.DPS().GroupKey(dps.DefaultGroup).Base64(),
	}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// victim is a hub in a process of its own.
type victim struct {
	aboutHub
	cmd *exec.Cmd
	in  io.Closer
}

func startVictim(t *testing.T, dir string) *victim {
	t.Helper()
	v := &victim{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")}
	v.cmd.Env = append(os.Environ(), hubVariable+"="+dir)
	v.cmd.Stderr = os.Stderr
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &v.aboutHub) != nil {
		t.Fatalf("the hub said %q, %v", line, err)
	}
	return v
}

func (v *victim) kill(t *testing.T) {
	t.Helper()
	if err := v.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Wait(); err == nil {
		t.Fatal("the hub ended by itself")
	}
}

// rest answers status and body, or an error when the hub is gone.
func (v *victim) rest(c *http.Client, method, path, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+v.Address+path+"?api-version=2021-04-12", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	key, err := sas.ParseKey(v.Key)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", sas.Sign("localhost", key, "iothubowner", time.Now().Add(time.Hour)))
	if method == "DELETE" {
		r.Header.Set("If-Match", "*")
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// killWriters is how many devices are written at once, each by its own writer on both sides.
const killWriters = 6

// expected is what the hub has acknowledged of one writer's devices.
type expected struct {
	reported int64           // $version of the lasting device's last report
	tag      int             // of its last patch
	there    map[string]bool // short-lived devices of this round: made, or deleted
	before   map[string]bool // those of the rounds before
	writes   int
}

// write loads the hub until it is killed: reports over MQTT, patches and identities over REST.
func (e *expected) write(v *victim, w int, enough *atomic.Int64) {
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	lasting := fmt.Sprint("lasting-", w)
	status, body, err := v.rest(c, "GET", "/devices/"+lasting, "")
	if err == nil && status == 404 {
		_, body, err = v.rest(c, "PUT", "/devices/"+lasting, `{"deviceId":"`+lasting+`"}`)
	}
	var d registry.Identity
	if err != nil || json.Unmarshal([]byte(body), &d) != nil {
		return
	}
	nc, err := net.Dial("tcp", v.Address)
	if err != nil {
		return
	}
	defer nc.Close()
	l := wiretest.Login(lasting, d.Authentication.SymmetricKey.Primary)
	l.HasUsername, l.HasPassword = true, true
	b := mqtt.AppendConnect(nil, &l)
	b = mqtt.AppendSubscribe(b, 1, mqtt.Subscription{Filter: []byte(topics.FilterTwinResponses)})
	if _, err := nc.Write(b); err != nil {
		return
	}
	r := framing.NewReader(nc)
	for n := 0; ; n++ {
		if _, err := nc.Write(mqtt.AppendPublish(nil, topics.Report("1"), []byte(fmt.Sprintf(`{"n":%d}`, n)), 0, false, false, 0)); err != nil {
			return
		}
		version, err := acknowledged(r)
		if err != nil {
			return
		}
		e.reported = version
		e.acknowledge(enough)
		tag := e.tag + 1
		if status, _, err := v.rest(c, "PATCH", "/twins/"+lasting, fmt.Sprintf(`{"tags":{"n":%d}}`, tag)); err != nil || status != 200 {
			return
		}
		e.tag = tag
		e.acknowledge(enough)
		short := fmt.Sprintf("short-%d-%d-%d", w, v.cmd.Process.Pid, n)
		if status, _, err := v.rest(c, "PUT", "/devices/"+short, `{"deviceId":"`+short+`"}`); err != nil || status != 200 {
			return
		}
		e.there[short] = true
		e.acknowledge(enough)
		if n%2 == 1 {
			delete(e.there, short) // from here on it may be there or not
			if status, _, err := v.rest(c, "DELETE", "/devices/"+short, ""); err != nil || status != 204 {
				return
			}
			e.there[short] = false
			e.acknowledge(enough)
		}
	}
}

func (e *expected) acknowledge(enough *atomic.Int64) { e.writes++; enough.Add(-1) }

// acknowledged reads up to the answer to a report and gives the version in it.
func acknowledged(r *framing.Reader) (int64, error) {
	for {
		p, err := r.Next()
		if err != nil {
			return 0, err
		}
		var m mqtt.Publish
		if p.Type != mqtt.PUBLISH || mqtt.DecodePublish(p, &m) != nil {
			continue
		}
		topic, err := topics.Parse(string(m.Topic))
		if err != nil || topic.Status != 204 {
			return 0, fmt.Errorf("%s: %w", m.Topic, err)
		}
		return topic.Version, nil
	}
}

// A hub with --data is killed under load, repeatedly: whatever it has acknowledged, over MQTT and
// over REST, the next one knows. -kills sets how often.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var writers [killWriters]expected
	for w := range writers {
		writers[w].there, writers[w].before = make(map[string]bool), make(map[string]bool)
	}
	total := 0
	for round := range *kills {
		v := startVictim(t, dir)
		var enough atomic.Int64
		enough.Store(int64(30 + round%50))
		ctx, gone := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for w := range writers {
			work.Go(func() { writers[w].write(v, w, &enough); gone() })
		}
		for enough.Load() > 0 && ctx.Err() == nil {
			select {
			case <-ctx.Done(): // a writer gave up though nobody killed the hub yet
			case <-time.After(100 * time.Microsecond):
			}
		}
		v.kill(t)
		work.Wait()
		gone()
		total = checkSurvivors(t, dir, &writers, round+1 == *kills)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", *kills, total)
	if total < 30**kills {
		t.Errorf("%d writes in %d rounds: the load does not bite", total, *kills)
	}
}

// checkSurvivors opens a hub on the data that was left, checks the writes of the round, or of all
// rounds, and answers how many there were until now.
func checkSurvivors(t *testing.T, dir string, writers *[killWriters]expected, all bool) int {
	t.Helper()
	h, err := hub.Open(t.Context(), hub.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	total := 0
	for w := range writers {
		e := &writers[w]
		total += e.writes
		if e.reported > 0 {
			a := must(t, h, "GET", fmt.Sprintf("/twins/lasting-%d?api-version=2021-04-12", w), "")
			reported, _ := a.member("properties", "reported", "$version").(float64)
			tag, _ := a.member("tags", "n").(float64)
			if int64(reported) < e.reported || int(tag) < e.tag {
				t.Errorf("lasting-%d: reported version %v and tag %v; %d and %d were acknowledged", w, reported, tag, e.reported, e.tag)
			}
			e.tag = int(tag)
		}
		maps.Copy(e.before, e.there)
		rows := e.there
		if all {
			rows = e.before
		}
		for id, there := range rows {
			if a := call(t, h, "GET", "/devices/"+id+"?api-version=2021-04-12", ""); (a.status == 200) != there {
				t.Errorf("%s: status %d; it was acknowledged to be there: %t", id, a.status, there)
			}
		}
		clear(e.there)
	}
	return total
}

// register makes a device and returns its key; not ok when the hub was killed meanwhile.
func (v *victim) register(c *http.Client, id string) (key string, ok bool) {
	_, body, err := v.rest(c, "PUT", "/devices/"+id, `{"deviceId":"`+id+`"}`)
	var d registry.Identity
	if err != nil || json.Unmarshal([]byte(body), &d) != nil {
		return "", false
	}
	return d.Authentication.SymmetricKey.Primary.Base64(), true
}

// keyOf is the key of a device, which is registered unless its key is known. ok is false when the hub was killed meanwhile.
func (v *victim) keyOf(id string, known *string) (key sas.Key, ok bool, err error) {
	if *known == "" {
		c := &http.Client{Transport: &http.Transport{}}
		defer c.CloseIdleConnections()
		if *known, ok = v.register(c, id); !ok {
			return key, false, nil
		}
	}
	key, err = sas.ParseKey(*known)
	return key, err == nil, err
}

// login opens a connection of a device as keyOf knows it. ok is false when the hub was killed meanwhile. more is
// sent behind the CONNECT.
func (v *victim) login(id string, key *string, clean bool, more []byte) (nc net.Conn, r *framing.Reader, ok bool, err error) {
	k, ok, err := v.keyOf(id, key)
	if !ok {
		return nil, nil, false, err
	}
	if nc, err = net.Dial("tcp", v.Address); err != nil {
		return nil, nil, false, nil
	}
	l := wiretest.Login(id, k)
	l.HasUsername, l.HasPassword, l.CleanSession = true, true, clean
	if _, err := nc.Write(append(mqtt.AppendConnect(nil, &l), more...)); err != nil {
		nc.Close()
		return nil, nil, false, nil
	}
	return nc, framing.NewReader(nc), true, nil
}

// killRounds starts a hub, has writers work with it, and kills it when they have done enough together or one of them is through,
// repeatedly. A writer takes what it has done off enough; it returns nil when its hub was killed.
func killRounds(t *testing.T, dir string, enoughOf func(round int) int, write func(v *victim, i int, enough *atomic.Int64) error) {
	t.Helper()
	for round := range *kills + 1 {
		v := startVictim(t, dir)
		var enough atomic.Int64
		enough.Store(int64(enoughOf(round)))
		ctx, gone := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for i := range killWriters {
			work.Go(func() {
				defer gone()
				if err := write(v, i, &enough); err != nil {
					t.Error(err)
				}
			})
		}
		for enough.Load() > 0 && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Microsecond):
			}
		}
		v.kill(t)
		work.Wait()
		gone()
		if t.Failed() {
			t.FailNow()
		}
	}
}
