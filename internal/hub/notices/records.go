package notices

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// Content types of messages (iot-hub-devguide-messages-c2d, iot-hub-devguide-file-upload): .NET refuses others.
const (
	FeedbackType = "application/vnd.microsoft.iothub.feedback.json"
	FileType     = "application/vnd.microsoft.iothub.filenotification.json"
)

// Feedback is what became of a cloud-to-device message: a record of a batch (iot-hub-devguide-messages-c2d, message feedback).
type Feedback struct {
	OriginalMessageID  string         `json:"originalMessageId"`
	EnqueuedTimeUTC    timestamp.Time `json:"enqueuedTimeUtc"` // when it came to that
	StatusCode         string         `json:"statusCode"`      // Success, Expired, DeliveryCountExceeded, Rejected or Purged
	Description        string         `json:"description"`     // for people; what the service was seen to write is the status code
	DeviceID           string         `json:"deviceId"`
	DeviceGenerationID string         `json:"deviceGenerationId"`
}

// File is the notification of a file that a device has uploaded (iot-hub-devguide-file-upload).
type File struct {
	DeviceID        string         `json:"deviceId"`
	BlobURI         string         `json:"blobUri"`
	BlobName        string         `json:"blobName"`
	LastUpdatedTime timestamp.Time `json:"lastUpdatedTime"`
	BlobSizeInBytes int64          `json:"blobSizeInBytes"`
	EnqueuedTimeUTC timestamp.Time `json:"enqueuedTimeUtc"` // when the device said that it is done
}

// ForFeedback are the options of a queue of feedback, whose batches are closed after a time; at once when that is 0.
func ForFeedback(linger time.Duration) Options {
	return Options{Bucket: "feedback.1", Batch: 64, Linger: linger, Deliveries: 10}
}

// ForFiles are the options of a queue of file notifications.
func ForFiles() Options { return Options{Bucket: "files.1", Deliveries: 100} }
