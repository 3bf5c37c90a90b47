package hub_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

const sendTo = "/devices/%s/messages/deviceBound?api-version=2021-04-12"

// sendAcked sends a message whose sender wants feedback.
func sendAcked(t testing.TB, h *hub.Hub, device, id, ack string, headers ...string) {
	t.Helper()
	must(t, h, "POST", fmt.Sprintf(sendTo, device), "x", append(headers, "iothub-messageid", id, "iothub-ack", ack)...)
}

// records takes all feedback that waits, and completes it.
func records(t testing.TB, h *hub.Hub) (all []notices.Feedback) {
	t.Helper()
	for _, m := range h.Feedback().Take(t, 1<<20) {
		var batch []notices.Feedback
		if err := json.Unmarshal(m.Body, &batch); err != nil {
			t.Fatalf("%s: %v", m.Body, err)
		}
		all = append(all, batch...)
		durable, err := h.Feedback().Settle(m.Token, lockqueue.Complete)
		if err != nil {
			t.Fatal(err)
		}
		if err := durable(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Who sends a message over REST hears what became of it: a device acknowledged it over MQTT, nobody came for it in time, it was purged.
func TestFeedback(t *testing.T) {
	h, service := open(t, hub.Options{FeedbackEvery: -1})
	device := newDevice(t, service, "dev-1")
	w := online(t, h, "dev-1", device.Authentication.SymmetricKey.Primary)
	for _, ack := range []string{"none", "negative", "positive", "full"} {
		sendAcked(t, h, "dev-1", "taken "+ack, ack)
	}
	w.Subscribe(1, topics.FilterC2D("dev-1"))
	for range 4 {
		w.Send(mqtt.AppendAck(nil, mqtt.PUBACK, w.Expect(mqtt.PUBLISH).ID))
	}
	w.Send(mqtt.AppendUnsubscribe(nil, 9, topics.FilterC2D("dev-1")))
	w.Expect(mqtt.UNSUBACK)
	for _, ack := range []string{"none", "negative", "positive", "full"} {
		sendAcked(t, h, "dev-1", "purged "+ack, ack)
	}
	must(t, h, "DELETE", "/devices/dev-1/commands?api-version=2021-04-12", "")
	sendAcked(t, h, "dev-1", "late", "full", "iothub-expiry", time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano))
	eventually(t, "what nobody takes expires", func() bool { return h.Feedback().Waiting() == 5 })
	var got []string
	for _, r := range records(t, h) {
		got = append(got, r.OriginalMessageID+" "+r.StatusCode)
		if r.DeviceID != "dev-1" || r.DeviceGenerationID != device.GenerationID || r.Description != r.StatusCode || time.Since(r.EnqueuedTimeUTC.Time).Abs() > time.Hour {
			t.Errorf("%+v", r)
		}
	}
	want := "taken positive Success, taken full Success, purged negative Purged, purged full Purged, late Expired"
	if all := strings.Join(got, ", "); all != want {
		t.Errorf("feedback %s; want %s", all, want)
	}
}

// What services are told outlives the hub: a message that expires while there is none, too.
func TestNoticesOutliveTheHub(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		h, service := open(t, hub.Options{DataDir: dir})
		newDevice(t, service, "dev-1")
		sendAcked(t, h, "dev-1", "purged", "full")
		must(t, h, "DELETE", "/devices/dev-1/commands?api-version=2021-04-12", "")
		sendAcked(t, h, "dev-1", "late", "full", "iothub-expiry", time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano))
		file := notices.File{DeviceID: "dev-1", BlobName: "dev-1/a", BlobSizeInBytes: 3, LastUpdatedTime: timestamp.Time{Time: time.Unix(0, 0)}}
		if err := h.AddFileNotification(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("after", func(t *testing.T) {
		h, _ := open(t, hub.Options{DataDir: dir, FeedbackEvery: -1})
		eventually(t, "there is feedback of two messages", func() bool { return h.Feedback().Waiting() == 2 })
		all := records(t, h)
		if len(all) != 2 || all[0].OriginalMessageID != "purged" || all[1].StatusCode != "Expired" {
			t.Errorf("%+v", all)
		}
		files := h.FileNotifications().Take(t, 2)
		const want = `{"deviceId":"dev-1","blobUri":"","blobName":"dev-1/a","lastUpdatedTime":"1970-01-01T00:00:00Z","blobSizeInBytes":3,`
		if len(files) != 1 || !strings.HasPrefix(string(files[0].Body), want) {
			t.Errorf("%+v", files)
		}
	})
	t.Run("later", func(t *testing.T) {
		if h, _ := open(t, hub.Options{DataDir: dir}); h.Feedback().Waiting() != 0 || h.FileNotifications().Waiting() != 1 {
			t.Errorf("%d records and %d files wait; want 0 and 1", h.Feedback().Waiting(), h.FileNotifications().Waiting())
		}
	})
}

// A batch of feedback is closed 15 seconds after its first record.
func TestFeedbackWaitsForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := hub.Open(t.Context(), hub.Options{NoPort: true})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		began := time.Now()
		told := make(chan time.Duration, 1)
		h.Feedback().Watch(func() { told <- time.Since(began) })
		if _, err := h.Feedback().Add("", notices.Feedback{}); err != nil {
			t.Fatal(err)
		}
		if at := <-told; at != 15*time.Second {
			t.Errorf("told after %v; want 15s", at)
		}
	})
}

// asker is what one sender was told that the hub has taken.
type asker struct {
	key  string
	sent []string // message ids
}

// run sends messages, of which a device acknowledges most, until the hub is killed. An error says what the hub did wrong.
func (a *asker) run(v *victim, id string, enough *atomic.Int64) error {
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	nc, r, ok, err := v.login(id, &a.key, false, mqtt.AppendSubscribe(nil, 1, mqtt.Subscription{Filter: []byte(topics.FilterC2D(id)), QoS: 1}))
	if !ok {
		return err
	}
	defer nc.Close()
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s %d %d", id, v.cmd.Process.Pid, n)
		if status, err := v.send(c, id, name); err != nil || status != http.StatusNoContent {
			return nil
		}
		a.sent = append(a.sent, name)
		enough.Add(-1)
		for n%5 != 4 { // the fifth is left for the next
			p, err := r.Next()
			if err != nil {
				return nil
			}
			if p.Type != mqtt.PUBLISH {
				continue
			}
			var m mqtt.Publish
			if err := mqtt.DecodePublish(p, &m); err != nil {
				return err
			}
			if _, err := nc.Write(mqtt.AppendAck(nil, mqtt.PUBACK, m.PacketID)); err != nil {
				return nil
			}
			break
		}
	}
}

// send sends a message whose sender wants to hear what becomes of it.
func (v *victim) send(c *http.Client, device, id string) (status int, err error) {
	r, err := http.NewRequest("POST", "http://"+v.Address+fmt.Sprintf(sendTo, device), strings.NewReader("x"))
	if err != nil {
		return 0, err
	}
	key, err := sas.ParseKey(v.Key)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", sas.Sign("localhost", key, "iothubowner", time.Now().Add(time.Hour)))
	r.Header.Set("iothub-messageid", id)
	r.Header.Set("iothub-ack", "full")
	resp, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// A hub with --data is killed while devices acknowledge messages, repeatedly: of each message that was taken its sender hears once, be it
// that it was acknowledged or, at the end, that it was purged.
func TestKillFeedback(t *testing.T) {
	dir := t.TempDir()
	var askers [killWriters]asker
	killRounds(t, dir, func(round int) int { return 20 + round*13%40 }, func(v *victim, i int, enough *atomic.Int64) error {
		return askers[i].run(v, fmt.Sprint("dev-", i), enough)
	})
	h, _ := open(t, hub.Options{DataDir: dir, FeedbackEvery: -1})
	purged := 0
	for i := range askers {
		if a := call(t, h, "DELETE", fmt.Sprintf("/devices/dev-%d/commands?api-version=2021-04-12", i), ""); a.status == http.StatusOK {
			n, _ := a.member("totalMessagesPurged").(float64)
			purged += int(n)
		}
	}
	heard := make(map[string]int)
	success := 0
	for _, r := range records(t, h) {
		heard[r.OriginalMessageID]++
		if r.StatusCode == "Success" {
			success++
		}
	}
	total := 0
	for _, a := range askers {
		for _, id := range a.sent {
			if heard[id] != 1 {
				t.Errorf("%q: feedback came %d times", id, heard[id])
			}
			delete(heard, id)
			total++
		}
	}
	for id, n := range heard { // sent just when the hub was killed
		if n != 1 {
			t.Errorf("%q: feedback came %d times", id, n)
		}
	}
	t.Logf("%d messages: %d acknowledged, %d purged", total, success, purged)
	if success < 5**kills || purged == 0 {
		t.Errorf("%d of %d messages acknowledged, %d purged: the load does not bite", success, total, purged)
	}
}
