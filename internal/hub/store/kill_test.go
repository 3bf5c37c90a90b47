package store

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

var kills = flag.Int("kills", 8, "how many times TestKill kills a store under load")

// childVariable makes the test binary a store under load in the directory it names.
const childVariable = "TWINFLEET_STORE_CHILD"

// childWriters is the number of goroutines that write; each has its own devices.
const childWriters = 8

// child writes without end and prints each write once it is acknowledged: what, device,
// version. It is killed.
func child(dir string, out io.Writer) int {
	s, err := Open(context.Background(), Options{DataDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var wg sync.WaitGroup
	for w := range childWriters {
		wg.Go(func() {
			for n := 0; ; n++ {
				if err := childWrite(s, out, w, n); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return 1
}

// childWrite is one round of a writer: its lasting device gets a report and tags, a device
// is made, and the one before it deleted.
func childWrite(s *Store, out io.Writer, w, n int) error {
	ctx, lasting := context.Background(), fmt.Sprint("lasting-", w)
	if _, err := s.Device(lasting); err != nil {
		if _, err := s.CreateDevice(ctx, registry.Identity{DeviceID: lasting}); err != nil {
			return err
		}
	}
	v := jsonvalue.ObjectValue(jsonvalue.Member{Key: "n", Value: jsonvalue.NumberValue(float64(n))})
	version, err := s.Report(ctx, lasting, v, -1)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "reported %s %d\n", lasting, version)
	tw, err := s.PatchTwin(ctx, lasting, v, v, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "written %s %d\n", lasting, tw.ETag)
	id := fmt.Sprintf("short-%d-%d-%d", w, n, os.Getpid())
	if _, err := s.CreateDevice(ctx, registry.Identity{DeviceID: id}); err != nil {
		return err
	}
	fmt.Fprintf(out, "created %s 0\n", id)
	if n%2 == 1 {
		old := fmt.Sprintf("short-%d-%d-%d", w, n-1, os.Getpid())
		fmt.Fprintf(out, "deleting %s 0\n", old) // From here on it may be there or not.
		if err := s.DeleteDevice(ctx, old, ""); err != nil {
			return err
		}
		fmt.Fprintf(out, "deleted %s 0\n", old)
	}
	return nil
}

// TestKill kills a store under write load, repeatedly, and checks after each time for
// every write it had acknowledged. -kills sets how often.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]int64{} // "what device" to the last version; -1 for a device deleted.
	writes := 0
	for range *kills {
		writes += killOnce(t, dir, 20+writes%100, acknowledged)
		checkAcknowledged(t, dir, acknowledged)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", *kills, writes)
	if writes < 20**kills {
		t.Errorf("%d writes in %d rounds: the load does not bite", writes, *kills)
	}
}

// killOnce runs a store until it has acknowledged so many writes, kills it, and notes all
// that it has acknowledged.
func killOnce(t *testing.T, dir string, after int, acknowledged map[string]int64) (writes int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var what, id string
		var version int64
		if _, err := fmt.Sscan(lines.Text(), &what, &id, &version); err != nil {
			continue // The last line may be cut; its write does not count.
		}
		switch what {
		case "created":
			acknowledged["created "+id] = 0
		case "deleting":
			delete(acknowledged, "created "+id)
			continue
		case "deleted":
			acknowledged["created "+id] = -1
		default:
			acknowledged[what+" "+id] = max(acknowledged[what+" "+id], version)
		}
		if writes++; writes == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || writes < after {
		t.Fatalf("the store ended by itself after %d writes: %v", writes, err)
	}
	return writes
}

// checkAcknowledged opens the store that was killed.
func checkAcknowledged(t *testing.T, dir string, acknowledged map[string]int64) {
	t.Helper()
	s, err := Open(t.Context(), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for key, version := range acknowledged {
		what, id, _ := strings.Cut(key, " ")
		tw, err := s.Twin(id)
		switch {
		case version < 0:
			if err == nil {
				t.Errorf("%s: the deletion is lost", id)
			}
		case err != nil:
			t.Errorf("%s: %v", id, err)
		case what == "reported" && tw.Reported.Version() < version:
			t.Errorf("%s: reported version %d, %d was acknowledged", id, tw.Reported.Version(), version)
		case what == "written" && int64(tw.ETag) < version:
			t.Errorf("%s: ETag %d, %d was acknowledged", id, tw.ETag, version)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
