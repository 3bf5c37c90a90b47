// Package uploads is the uploads of files by devices (iot-hub-devguide-file-upload): which are under way, with which access to their
// blobs, and what is told of them when they are over.
package uploads

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/keep"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// Most is how many uploads of a device may be under way (iot-hub-devguide-quotas-throttling).
const Most = 10

// Life is how long a device has for an upload, as long as its access to the blob
// (iot-hub-configure-file-upload: the default of an hour).
const Life = time.Hour

// Storage is where blobs are.
type Storage interface {
	Open(container, name string) (*blobs.Blob, error)
}

// Options of an Uploads.
type Options struct {
	Storage Storage      // required
	Signer  blobs.Signer // gives access to blobs
	// Notify tells of a file that a device has uploaded, and returns when that is kept; nil tells nobody.
	Notify func(ctx context.Context, f notices.File) error
	Keeper keep.Keeper // nil: what is under way ends with the program
}

// Upload is one that is under way, as the device is told of it.
type Upload struct {
	ID        string `json:"correlationId"` // by which the device says that it is over
	Host      string `json:"hostName"`      // where the blob is to be put, with a port unless it is that of HTTPS
	Container string `json:"containerName"` // always blobs.Uploads
	Blob      string `json:"blobName"`      // the device id, a slash, and the device's own name
	Access    string `json:"sasToken"`      // the query behind the blob's URI, with its question mark
}

// pending is an upload as it is kept.
type pending struct {
	Version int // 1
	Device  string
	Blob    string
	Host    string
	Until   time.Time

	ending bool // somebody is about to end it
}

const rows = "uploads.1" // the Keeper's bucket, by correlation id

// Uploads is the uploads under way. It is safe for concurrent use.
type Uploads struct {
	opts Options

	mu       sync.Mutex // protects the following fields
	byID     map[string]pending
	byDevice map[string]map[string]struct{} // the ids of a device's
	order    []string                       // ids by the time at which they expire, also of some that are over
}

// New makes an Uploads, with those that the Keeper kept.
func New(ctx context.Context, o Options) (*Uploads, error) {
	u := &Uploads{opts: o, byID: make(map[string]pending), byDevice: make(map[string]map[string]struct{})}
	if o.Keeper == nil {
		return u, nil
	}
	err := o.Keeper.Rows(ctx, rows, func(id string, value []byte) error {
		var p pending
		if err := json.Unmarshal(value, &p); err != nil {
			return fmt.Errorf("reading an upload that was kept: %w", err)
		}
		if p.Version != 1 {
			return fmt.Errorf("reading an upload that was kept: version %d is unknown", p.Version)
		}
		u.addLocked(id, p) // nobody else has it yet
		return nil
	})
	slices.SortStableFunc(u.order, func(a, b string) int { return u.byID[a].Until.Compare(u.byID[b].Until) })
	return u, err
}

// Begin gives a device access to a blob that is named after it and by it. host is how the device reaches the hub. Errors:
// iothub.ErrArgumentInvalid for a name that no blob can have, iothub.ErrTooManyUploads, and what is wrong with the disk.
func (u *Uploads) Begin(ctx context.Context, device, name, host string) (Upload, error) {
	blob := device + "/" + name
	if err := blobs.CheckName(blob); err != nil {
		return Upload{}, iothub.ErrArgumentInvalid.With("blobName is no name of a blob: it has at most %d bytes with the device id before it, "+
			"no control characters, and no empty part between its slashes", blobs.MaxName)
	}
	p := pending{Version: 1, Device: device, Blob: blob, Host: host, Until: time.Now().Add(Life).Truncate(time.Second)}
	id := rand.Text()
	value, err := json.Marshal(p)
	if err != nil {
		return Upload{}, err
	}
	u.mu.Lock()
	u.expireLocked(time.Now())
	if len(u.byDevice[device]) >= Most {
		u.mu.Unlock()
		return Upload{}, iothub.ErrTooManyUploads
	}
	u.addLocked(id, p)
	durable := u.put(id, value)
	u.mu.Unlock()
	if err := durable(ctx); err != nil {
		u.end(id)
		return Upload{}, err
	}
	return Upload{ID: id, Host: host, Container: blobs.Uploads, Blob: blob, Access: u.opts.Signer.Sign(blobs.Uploads, blob, p.Until)}, nil
}

// End takes the device's word that an upload is over, well or not, and tells of the file. Errors: iothub.ErrUploadID for an id that is
// none of the device's, iothub.ErrUploadExpired, iothub.ErrUploadBlob when there is no blob after all, and what is wrong with the
// disk. After the last two the upload is under way as before.
func (u *Uploads) End(ctx context.Context, device, id string, success bool) error {
	now := time.Now()
	p, err := u.claim(device, id, now)
	if err != nil {
		return err
	}
	if success {
		if err := u.tell(ctx, p, now); err != nil {
			u.release(id)
			return err
		}
	}
	return u.end(id)(ctx)
}

// claim makes an upload the caller's to end, so that of two who do one tells of it.
func (u *Uploads) claim(device, id string, now time.Time) (pending, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, known := u.byID[id]
	u.expireLocked(now)
	switch {
	case !known || p.Device != device || p.ending:
		return p, iothub.ErrUploadID.With("no file upload of this device has this correlation id")
	case !now.Before(p.Until):
		return p, iothub.ErrUploadExpired.With("the file upload has expired; begin another")
	}
	p.ending = true
	u.byID[id] = p
	return p, nil
}

// release takes a claim back.
func (u *Uploads) release(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p, ok := u.byID[id]; ok {
		p.ending = false
		u.byID[id] = p
	}
}

// tell tells of a file.
func (u *Uploads) tell(ctx context.Context, p pending, now time.Time) error {
	b, err := u.opts.Storage.Open(blobs.Uploads, p.Blob)
	if errors.Is(err, blobs.ErrNoBlob) {
		return iothub.ErrUploadBlob.With("there is no blob %s in the container %s", p.Blob, blobs.Uploads)
	}
	if err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	if u.opts.Notify == nil {
		return nil
	}
	escaped := strings.Split(p.Blob, "/")
	for i, part := range escaped {
		escaped[i] = url.PathEscape(part)
	}
	return u.opts.Notify(ctx, notices.File{
		DeviceID: p.Device, BlobName: p.Blob, BlobURI: "https://" + p.Host + "/" + blobs.Uploads + "/" + strings.Join(escaped, "/"),
		LastUpdatedTime: timestamp.Time{Time: b.At.UTC()}, BlobSizeInBytes: b.Size, EnqueuedTimeUTC: timestamp.Time{Time: now.UTC()},
	})
}

// Forget gives up the uploads of a device that was deleted. It waits for nobody.
func (u *Uploads) Forget(device string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id := range u.byDevice[device] {
		u.removeLocked(id)
	}
}

// end removes an upload; what it returns waits until that is durable.
func (u *Uploads) end(id string) (durable func(context.Context) error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.removeLocked(id)
}

func (u *Uploads) put(id string, value []byte) (durable func(context.Context) error) {
	if u.opts.Keeper == nil {
		return keep.Nothing
	}
	return u.opts.Keeper.Put(rows, id, value)
}

func (u *Uploads) addLocked(id string, p pending) {
	ids := u.byDevice[p.Device]
	if ids == nil {
		ids = make(map[string]struct{}, 1)
		u.byDevice[p.Device] = ids
	}
	ids[id], u.byID[id] = struct{}{}, p
	u.order = append(u.order, id)
}

func (u *Uploads) removeLocked(id string) (durable func(context.Context) error) {
	p, ok := u.byID[id]
	if !ok {
		return keep.Nothing
	}
	delete(u.byID, id)
	if ids := u.byDevice[p.Device]; len(ids) > 1 {
		delete(ids, id)
	} else {
		delete(u.byDevice, p.Device)
	}
	if len(u.order) > 2*len(u.byID)+Most { // most of them are over
		left := u.order[:0]
		for _, id := range u.order {
			if _, ok := u.byID[id]; ok {
				left = append(left, id)
			}
		}
		u.order = append([]string(nil), left...)
	}
	return u.put(id, nil)
}

// expireLocked gives up the uploads that ran out of time. All have as long.
func (u *Uploads) expireLocked(now time.Time) {
	n := 0
	for _, id := range u.order {
		if p, ok := u.byID[id]; ok && now.Before(p.Until) {
			break
		}
		n++
	}
	over := u.order[:n]
	u.order = u.order[n:]
	for _, id := range over {
		u.removeLocked(id) // a row that comes back with the hub has expired then too
	}
}
