// Package progress is how far a scheduled job has come with each of its devices.
package progress

import (
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// Pending is the state of a device that is not begun, beside those of jobs (iot-hub-devguide-jobs).
const Pending = "pending"

// Device is what became of one device.
type Device struct {
	ID             string          // The device.
	Status         string          // Pending, jobs.Running, jobs.Completed, jobs.Failed or jobs.Cancelled.
	Start, End     time.Time       // Of the work on it; zero for not yet.
	MethodStatus   int             // The status that a direct method answered, when MethodAnswered.
	MethodAnswered bool            // The device answered a direct method.
	Payload        json.RawMessage // Of the answer; nil for none that is JSON.
	Err            *iothub.Error   // Why it failed; nil unless it did.
}

// Counts counts devices by state. Those that the job's end overtook count as failed.
func Counts(devices []*Device) jobs.Statistics {
	s := jobs.Statistics{Devices: len(devices)}
	for _, d := range devices {
		switch d.Status {
		case jobs.Completed:
			s.Succeeded++
		case jobs.Failed, jobs.Cancelled:
			s.Failed++
		case jobs.Running:
			s.Running++
		default:
			s.Pending++
		}
	}
	return s
}

// Row is the device as a query on devices.jobs sees it.
func (d *Device) Row(j *jobs.Job) jsonvalue.Value {
	text := func(key, s string) jsonvalue.Member {
		return jsonvalue.Member{Key: key, Value: jsonvalue.StringValue(s)}
	}
	when := func(t time.Time) string { return string(timestamp.Append(nil, t)) }
	last := d.End
	if last.IsZero() {
		last = d.Start
	}
	members := []jsonvalue.Member{
		text("deviceId", d.ID), text("jobId", j.JobID), text("jobType", j.Type), text("status", d.Status),
		text("startTimeUtc", when(d.Start)), text("endTimeUtc", when(d.End)),
		text("createdDateTimeUtc", when(j.Created.Time)), text("lastUpdatedDateTimeUtc", when(last)),
		text("createdTimeUtc", when(j.Created.Time)),
	}
	if d.MethodAnswered {
		answer := jsonvalue.ObjectValue(jsonvalue.Member{Key: "status", Value: jsonvalue.IntValue(int64(d.MethodStatus))})
		if payload, err := jsonparse.Parse(d.Payload); err == nil {
			answer = jsonvalue.ObjectValue(jsonvalue.Member{Key: "status", Value: jsonvalue.IntValue(int64(d.MethodStatus))},
				jsonvalue.Member{Key: "payload", Value: payload})
		}
		members = append(members, jsonvalue.Member{Key: "outcome", Value: jsonvalue.ObjectValue(jsonvalue.Member{Key: "deviceMethodResponse", Value: answer})})
	}
	if d.Err != nil {
		members = append(members, jsonvalue.Member{Key: "error", Value: jsonvalue.ObjectValue(text("code", d.Err.Name), text("description", d.Err.Message))})
	}
	return jsonvalue.ObjectValue(members...)
}
