package uploads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/keeptest"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// told is what was told of files.
type told struct {
	mu  sync.Mutex
	all []notices.File
	err error
}

func (t *told) Add(_ context.Context, n notices.File) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	t.all = append(t.all, n)
	return nil
}

type bench struct {
	*Uploads
	t       *testing.T
	told    *told
	storage *blobs.Storage
	kept    *keeptest.Shelf
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, told: &told{}, storage: blobs.New(blobs.Options{}), kept: &keeptest.Shelf{}}
	b.restart()
	return b
}

func (b *bench) restart() {
	b.t.Helper()
	u, err := New(b.t.Context(), Options{Storage: b.storage, Signer: blobs.NewSigner([]byte("k")), Notify: b.told.Add, Keeper: b.kept})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Uploads = u
}

func (b *bench) begin(device, name string) Upload {
	b.t.Helper()
	up, err := b.Begin(b.t.Context(), device, name, "localhost:8443")
	if err != nil {
		b.t.Fatal(err)
	}
	return up
}

func (b *bench) put(up Upload, content string) {
	b.t.Helper()
	err := b.storage.Write(up.Container, up.Blob, nil, func(w io.Writer) error { _, err := io.WriteString(w, content); return err })
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) ends(up Upload, device string, success bool, want error) {
	b.t.Helper()
	if err := b.End(b.t.Context(), device, up.ID, success); !errors.Is(err, want) || want == nil && err != nil {
		b.t.Errorf("ending an upload: %v; want %v", err, want)
	}
}

func TestAFileIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		up := b.begin("dev 1", "a b/c.txt")
		if up.Blob != "dev 1/a b/c.txt" || up.Container != "uploads" || up.Host != "localhost:8443" {
			t.Errorf("begun: %+v", up)
		}
		b.ends(up, "dev 1", true, iothub.ErrUploadBlob) // and it goes on
		b.put(up, "hello")
		b.ends(up, "other", true, iothub.ErrUploadID)
		b.told.err = errors.New("full")
		b.ends(up, "dev 1", true, b.told.err) // and it goes on
		b.told.err = nil
		b.ends(up, "dev 1", true, nil)
		b.ends(up, "dev 1", true, iothub.ErrUploadID)
		failed := b.begin("dev 1", "d")
		b.ends(failed, "dev 1", false, nil)
		if len(b.told.all) != 1 || b.told.all[0].BlobURI != "https://localhost:8443/uploads/dev%201/a%20b/c.txt" || b.told.all[0].BlobSizeInBytes != 5 ||
			b.told.all[0].BlobName != up.Blob || b.told.all[0].DeviceID != "dev 1" || b.told.all[0].LastUpdatedTime.IsZero() || b.told.all[0].EnqueuedTimeUTC.IsZero() {
			t.Errorf("told: %+v", b.told.all)
		}
		if b.kept.Len() != 0 || len(b.byID) != 0 || len(b.byDevice) != 0 {
			t.Errorf("left: %v, %v, %v", b.kept.All(), b.byID, b.byDevice)
		}
	})
}

func TestUploadsOfADeviceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		var first Upload
		for i := range Most {
			up := b.begin("d", fmt.Sprint(i))
			if i == 0 {
				first = up
			}
			time.Sleep(time.Minute)
		}
		refused := func() bool {
			_, err := b.Begin(t.Context(), "d", "more", "h")
			return errors.Is(err, iothub.ErrTooManyUploads)
		}
		if !refused() {
			t.Error("an eleventh upload began")
		}
		b.begin("other", "x")
		b.ends(first, "d", false, nil)
		b.begin("d", "more")
		if !refused() {
			t.Error("an eleventh upload began")
		}
		time.Sleep(51*time.Minute + time.Second) // the second has run out
		b.begin("d", "more")
		if !refused() {
			t.Error("an eleventh upload began")
		}
		b.Forget("d")
		b.begin("d", "more")
		if len(b.byID) != 2 || b.kept.Len() != 2 {
			t.Errorf("left: %v, %d rows", b.byID, b.kept.Len())
		}
	})
}

func TestUploadsExpireAndOutliveTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		var all []Upload
		for i := range 5 {
			all = append(all, b.begin(fmt.Sprint("d", i), "f"))
			b.put(all[i], "x")
			time.Sleep(time.Minute)
		}
		b.restart()
		if !slices.IsSortedFunc(b.order, func(x, y string) int { return b.byID[x].Until.Compare(b.byID[y].Until) }) {
			t.Error("uploads that were kept are not in their order")
		}
		b.ends(all[1], "d1", true, nil)
		time.Sleep(Life - 5*time.Minute)
		b.ends(all[0], "d0", true, iothub.ErrUploadExpired)
		b.ends(all[0], "d0", true, iothub.ErrUploadID)
		b.ends(all[2], "d2", true, nil)
		time.Sleep(Life)
		b.begin("e", "f")
		if len(b.byID) != 1 || len(b.order) != 1 || b.kept.Len() != 1 {
			t.Errorf("left: %v, %v, %d rows", b.byID, b.order, b.kept.Len())
		}
		full := errors.New("disk full")
		b.kept.Fail(full)
		if _, err := b.Begin(t.Context(), "e", "g", "h"); !errors.Is(err, full) || len(b.byDevice["e"]) != 1 {
			t.Errorf("begun on a full disk: %v; %v", err, b.byDevice)
		}
		b.kept.Fail(nil)
		b.kept.Put(rows, "x", []byte(`{"Version":2}`))
		if _, err := New(t.Context(), Options{Storage: b.storage, Keeper: b.kept}); err == nil {
			t.Error("a later version was read")
		}
	})
}

func TestNamesOfFiles(t *testing.T) {
	b := start(t)
	for name, ok := range map[string]bool{"a": true, "a/b c": true, "ü": true, "": false, "../x": false, "a//b": false, "a\n": false, "/a": false} {
		if _, err := b.Begin(t.Context(), "d", name, "h"); (err == nil) != ok || !ok && !errors.Is(err, iothub.ErrArgumentInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestOneOfTwoEndsAnUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		up := b.begin("d", "f")
		b.put(up, "x")
		goOn := make(chan struct{})
		b.opts.Notify = func(ctx context.Context, n notices.File) error {
			<-goOn
			return b.told.Add(ctx, n)
		}
		first := make(chan error)
		go func() { first <- b.End(t.Context(), "d", up.ID, true) }()
		synctest.Wait() // it is about to tell of the file
		b.ends(up, "d", true, iothub.ErrUploadID)
		close(goOn)
		if err := <-first; err != nil || len(b.told.all) != 1 {
			t.Errorf("the first: %v; %d were told", err, len(b.told.all))
		}
	})
}
