// Package jobs is the documents of scheduled jobs (iot-hub-devguide-jobs).
package jobs

import (
	"encoding/json"

	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// The kinds and states of jobs (iot-hub-devguide-jobs).
const (
	TwinUpdate   = "scheduleUpdateTwin"
	DeviceMethod = "scheduleDeviceMethod"

	Queued    = "queued"
	Scheduled = "scheduled"
	Running   = "running"
	Completed = "completed"
	Failed    = "failed"
	Cancelled = "cancelled"

	Unknown = "unknown" // type and state of a job that the service does not know
)

// Job is a scheduled job: the body of its creation and, with the later fields, its state.
type Job struct {
	JobID              string           `json:"jobId"`                               // given by who makes it; unlike all others
	Type               string           `json:"type"`                                // TwinUpdate or DeviceMethod
	QueryCondition     string           `json:"queryCondition,omitempty"`            // what stands behind WHERE; empty or * for all devices
	UpdateTwin         json.RawMessage  `json:"updateTwin,omitempty"`                // the twin patch of a TwinUpdate
	Method             *methods.Request `json:"cloudToDeviceMethod,omitempty"`       // the call of a DeviceMethod
	Created            timestamp.Time   `json:"createdTime"`                         // when the service took the job
	Start              timestamp.Time   `json:"startTime"`                           // the zero time starts it at once
	End                *timestamp.Time  `json:"endTime,omitempty"`                   // nil until it has ended
	MaxExecutionTime   int              `json:"maxExecutionTimeInSeconds,omitempty"` // seconds; 0 leaves it to the service
	Status             string           `json:"status,omitempty"`                    // Queued to Cancelled
	FailureReason      string           `json:"failureReason,omitempty"`             // of a Failed one
	StatusMessage      string           `json:"statusMessage,omitempty"`             // for people
	DeviceJobStatistic *Statistics      `json:"deviceJobStatistics,omitempty"`       // nil in requests
}

// Statistics counts the devices of a job by state.
type Statistics struct {
	Devices   int `json:"deviceCount"`    // all of them
	Failed    int `json:"failedCount"`    // also those that the job's end overtook
	Succeeded int `json:"succeededCount"` // done
	Running   int `json:"runningCount"`   // being worked on
	Pending   int `json:"pendingCount"`   // not begun
}
