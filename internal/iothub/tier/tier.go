// Package tier knows what the tiers of Azure IoT Hub allow: rates per class of operations, and messages
// a day. The numbers are in a data file, tiers.json, which names its sources.
package tier

import (
	"errors"
)

// Tier is a size of hub that can be bought.
type Tier string

// The tiers.
const (
	F1 Tier = "F1"
	B1 Tier = "B1"
	B2 Tier = "B2"
	B3 Tier = "B3"
	S1 Tier = "S1"
	S2 Tier = "S2"
	S3 Tier = "S3"
)

// All are the tiers in the order of the price list.
func All() []Tier { return []Tier{F1, B1, B2, B3, S1, S2, S3} }

// ErrTier is returned for a tier or a number of units that cannot be bought.
var ErrTier = errors.New("no such tier")

// Rate is a limit in operations per second.
type Rate struct {
	PerSecond float64 // of all units
	PerHub    bool    // buying units does not raise it
}

// Limits are what a tier with some units allows.
type Limits struct {
	Tier  Tier // whose limits they are
	Units int  // bought, at least 1

	HasTwins       bool  // twins, direct methods, cloud-to-device messages and jobs
	Production     bool  // false for a tier to try things out
	MessagesPerDay int64 // of all units
	MeterBytes     int   // a message counts once for each started block of so many bytes

	Registry   Rate // create, get, list, update, delete; each device of a bulk call counts
	Connects   Rate // new connections
	Telemetry  Rate // device-to-cloud sends
	Queries    Rate // pages of queries
	TwinReads  Rate // by devices and services together
	TwinWrites Rate // by devices and services together
	C2D        Rate // cloud-to-device sends
	Methods    Rate // in blocks of MethodBytes of request payload
	Jobs       Rate // operations on jobs
	JobDevices Rate // devices that jobs work on
	ActiveJobs int  // jobs that may run at once

	ConfigurationCalls Rate // operations on configurations of automatic device management
	Configurations     int  // that a hub may have

	C2DReceives Rate // times that devices ask for cloud-to-device messages over HTTPS
	FileUploads Rate // file uploads that devices begin
}

// MethodBytes is the block in which direct methods are metered: 160 KB a second and unit are forty
// small calls (iot-hub-devguide-quotas-throttling).
const MethodBytes = 4 << 10

// For tells the limits of a tier with a number of units. It returns ErrTier.
func For(t Tier, units int) (Limits, error) {
	table, err := BuiltIn()
	if err != nil {
		return Limits{}, err
	}
	return table.For(t, units)
}

// Messages is how many messages an operation of so many bytes counts against the day: one for each
// started block of MeterBytes, and at least one (iot-hub-devguide-pricing).
func (l Limits) Messages(bytes int) int64 {
	return max(1, (int64(bytes)+int64(l.MeterBytes)-1)/int64(l.MeterBytes))
}

// Paged is how many messages so many bytes count for that come in pages, each metered on its own: the result of a query. All is one
// page without a size of pages.
func (l Limits) Paged(bytes, page int) int64 {
	if page <= 0 || bytes <= page {
		return l.Messages(bytes)
	}
	n := int64(bytes/page) * l.Messages(page)
	if rest := bytes % page; rest > 0 {
		n += l.Messages(rest)
	}
	return n
}
