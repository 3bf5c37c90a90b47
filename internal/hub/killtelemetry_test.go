package hub_test

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// talker is what the hub has acknowledged of the telemetry of one device: numbers, one after the other.
type talker struct {
	key          string
	acknowledged []int
	next         int
}

// run sends until the hub is killed.
func (s *talker) run(v *victim, id string, enough *atomic.Int64) error {
	nc, r, ok, err := v.login(id, &s.key, true, nil)
	if !ok {
		return err
	}
	defer nc.Close()
	if p, err := r.Next(); err != nil {
		return nil
	} else if _, code, err := mqtt.DecodeConnack(p.Body); err != nil || code != mqtt.Accepted {
		return fmt.Errorf("%s: CONNACK %d, %w", id, code, err)
	}
	for {
		n := s.next
		s.next++
		if _, err := nc.Write(mqtt.AppendPublish(nil, topics.Telemetry(id, nil), []byte(strconv.Itoa(n)), 1, false, false, 1)); err != nil {
			return nil
		}
		p, err := r.Next()
		if err != nil {
			return nil
		}
		if p.Type != mqtt.PUBACK {
			return fmt.Errorf("%s: the hub sent %v", id, p.Type)
		}
		s.acknowledged = append(s.acknowledged, n)
		enough.Add(-1)
	}
}

// A hub with --data is killed while devices send telemetry that somebody reads, repeatedly: what was acknowledged is there, in its order,
// and no sequence number stands twice or is left out.
func TestKillTelemetry(t *testing.T) {
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Events().Enable(t.Context()); err != nil { // the hubs that are killed go on with it
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	var devices [killWriters]talker
	killRounds(t, dir, func(round int) int { return 20 + round*11%50 }, func(v *victim, i int, enough *atomic.Int64) error {
		return devices[i].run(v, fmt.Sprint("dev-", i), enough)
	})
	if h, err = hub.Open(t.Context(), hub.Options{DataDir: dir}); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	total, next := checkTalkers(t, h, func(i int) *talker { return &devices[i] })
	if total < 15**kills {
		t.Errorf("%d messages in %d rounds: the load does not bite", total, *kills)
	}
	t.Logf("%d kills, %d acknowledged messages, none lost", *kills+1, total)
	if _, err := h.Events().Open(t.Context(), 0, eventlog.AfterSequence(next[0]-1, false), nil); err != nil {
		t.Errorf("a checkpoint from before does not serve: %v", err)
	}
}

// checkTalkers reads all that a hub has kept of devices, and tells how many messages it had acknowledged, and the sequence number that is
// next in each partition.
func checkTalkers(t *testing.T, h *hub.Hub, device func(i int) *talker) (total int, next map[int]int64) {
	t.Helper()
	next = make(map[int]int64)
	sent := make(map[string][]int)
	for _, m := range readAll(t, h) {
		id := m.Annotations["iothub-connection-device-id"].(string)
		partition := h.Events().PartitionOf(id)
		if got := m.Annotations["x-opt-sequence-number"].(int64); got != next[partition] {
			t.Errorf("partition %d: sequence number %d follows %d", partition, got, next[partition]-1)
		}
		next[partition]++
		n, err := strconv.Atoi(string(m.GetData()))
		if err != nil {
			t.Fatal(err)
		}
		if all := sent[id]; len(all) > 0 && n <= all[len(all)-1] {
			t.Errorf("%s: %d comes behind %d", id, n, all[len(all)-1])
		}
		sent[id] = append(sent[id], n)
	}
	for i := range killWriters {
		there := make(map[int]bool)
		for _, n := range sent[fmt.Sprint("dev-", i)] {
			there[n] = true
		}
		for _, n := range device(i).acknowledged {
			if !there[n] {
				t.Errorf("dev-%d: message %d was acknowledged and is gone", i, n)
			}
		}
		total += len(device(i).acknowledged)
	}
	return total, next
}
