package hub

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// openNotices opens what the hub tells services. reported says of a message that is kept that its feedback was given: the hub was killed
// before it forgot the message.
func (h *Hub) openNotices(ctx context.Context) (reported func(client string, number uint64) bool, err error) {
	linger := max(0, h.opts.FeedbackEvery)
	if h.opts.FeedbackEvery == 0 {
		linger = 15 * time.Second
	}
	feedback, files := notices.ForFeedback(linger), notices.ForFiles()
	feedback.Keeper, feedback.Logger = h.keeper(), h.log
	files.Keeper, files.Logger = h.keeper(), h.log
	h.feedback, h.files = notices.New(feedback), notices.New(files)
	if _, err := h.files.Load(ctx); err != nil {
		return nil, err
	}
	origins, err := h.feedback.Load(ctx)
	return func(client string, number uint64) bool { return origins[origin(client, number)] }, err
}

// origin is the message of which there is feedback.
func origin(client string, number uint64) string { return fmt.Sprintf("%s %x", client, number) }

// addFeedback tells services what became of a message. What cannot be kept now is kept when the disk can be written; until then the
// message is too.
func (h *Hub) addFeedback(f devices.Feedback) {
	device, _ := entity.Split(f.Client)
	_, err := h.feedback.Add(origin(f.Client, f.Number), notices.Feedback{
		OriginalMessageID: f.MessageID, EnqueuedTimeUTC: timestamp.Time{Time: f.At}, StatusCode: f.Status, Description: f.Status,
		DeviceID: device, DeviceGenerationID: strconv.FormatUint(f.Generation, 10),
	})
	if err != nil {
		h.log.Warn("feedback of a message is lost", "device", f.Client, "error", err)
	}
}

// Feedback is the feedback of cloud-to-device messages that waits for services.
func (h *Hub) Feedback() *notices.Queue { return h.feedback }

// FileNotifications is the notifications of uploaded files that wait for services.
func (h *Hub) FileNotifications() *notices.Queue { return h.files }

// AddFileNotification tells services of a file that a device has uploaded, and returns when that is kept.
func (h *Hub) AddFileNotification(ctx context.Context, f notices.File) error {
	durable, err := h.files.Add("", f)
	if err != nil {
		return err
	}
	return durable(ctx)
}
