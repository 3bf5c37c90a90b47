package transfer

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/store"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// held is a registry whose bulk calls wait.
type held struct {
	*store.Store
	calls chan struct{} // one bulk call goes on for each token
}

func (h *held) Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error) {
	select {
	case <-h.calls:
		return h.Store.Bulk(ctx, entries)
	case <-ctx.Done():
		return registry.BulkResult{}, ctx.Err()
	}
}

func runner(t *testing.T) (*Runner, *held, *blobs.Storage) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h, storage := &held{s, make(chan struct{}, 10)}, blobs.New(blobs.Options{})
	r, err := New(t.Context(), Options{Registry: h, Storage: storage})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, h, storage
}

func lines(t *testing.T, s *blobs.Storage, n int) {
	t.Helper()
	err := s.Write("box", devicesBlob, nil, func(w io.Writer) error {
		for range n {
			if _, err := io.WriteString(w, `{"id":"d`+uuid.New().String()+`","importMode":"create"}`+"\n"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func anybody(string, string) error { return nil }

var anImport = Job{Type: Import, InputURI: "https://localhost/storage/box", OutputURI: "https://localhost/storage/box"}

// One job runs at a time; one that is cancelled ends, keeps what it did, and lets the next one run.
func TestOneJobAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, h, s := runner(t)
		lines(t, s, 300)
		first, err := r.Create(anImport, anybody)
		if err != nil || first.Status != Enqueued || first.InputURI == "" {
			t.Fatalf("%+v, %v", first, err)
		}
		synctest.Wait()
		if _, err := r.Create(anImport, anybody); !errors.Is(err, iothub.ErrJobQuotaExceeded) {
			t.Errorf("a second job: %v", err)
		}
		h.calls <- struct{}{}
		synctest.Wait()
		j, err := r.Job(first.ID)
		if err != nil || j.Status != Running || j.Progress < 30 || j.Progress > 70 || j.End != nil {
			t.Errorf("after one of three calls: %+v, %v", j, err)
		}
		if err := r.Cancel(first.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if j, _ = r.Job(first.ID); j.Status != Cancelled || j.End == nil || j.Failure != "" {
			t.Errorf("cancelled: %+v", j)
		}
		if n := h.Statistics().Total; n != 100 {
			t.Errorf("%d devices; what was done stays, and no more is", n)
		}
		if _, err := s.Open("box", errorsBlob); !errors.Is(err, blobs.ErrNoBlob) {
			t.Errorf("errors of a job that did not end: %v", err)
		}
		if err := r.Cancel(first.ID); err != nil {
			t.Errorf("cancelled once more: %v", err)
		}
		for range 3 {
			h.calls <- struct{}{}
		}
		time.Sleep(time.Second) // they are listed by their start
		second, err := r.Create(anImport, anybody)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if j, _ = r.Job(second.ID); j.Status != Completed || j.Progress != 100 {
			t.Errorf("the next: %+v", j)
		}
		if all := r.List(); len(all) != 2 || all[0].ID != first.ID {
			t.Errorf("%+v", all)
		}
	})
}

func TestALineThatIsTooLongFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, s := runner(t)
		err := s.Write("box", devicesBlob, nil, func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("x", maxLine+1))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		j, err := r.Create(anImport, anybody)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if j, _ = r.Job(j.ID); j.Status != Failed || !strings.Contains(j.Failure, "line 1") {
			t.Errorf("%+v", j)
		}
	})
}

func TestOldJobsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := runner(t)
		for range keepAtMost + 5 {
			if _, err := r.Create(Job{Type: Export, OutputURI: "http://localhost/storage/box"}, anybody); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n := len(r.List()); n > keepAtMost+1 {
			t.Errorf("%d jobs are kept", n)
		}
	})
}
