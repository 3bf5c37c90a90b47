// Package tier knows what the tiers of Azure IoT Hub allow: rates per class of operations, messages
// a day, and list prices. The numbers are those of iot-hub-devguide-quotas-throttling and
// iot-hub-scaling; prices are US list prices and change.
package tier

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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

	HasTwins       bool    // twins, direct methods, cloud-to-device messages and jobs
	MessagesPerDay int64   // of all units
	MeterBytes     int     // a message counts once for each started block of so many bytes
	USDPerMonth    float64 // of all units

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
}

// MethodBytes is the block in which direct methods are metered: 160 KB a second and unit are forty
// small calls (iot-hub-devguide-quotas-throttling).
const MethodBytes = 4 << 10

// For tells the limits of a tier with a number of units. It returns ErrTier.
func For(t Tier, units int) (Limits, error) {
	t = Tier(strings.ToUpper(string(t)))
	if !slices.Contains(All(), t) {
		return Limits{}, fmt.Errorf("%w: %q; there are F1, B1, B2, B3, S1, S2 and S3", ErrTier, t)
	}
	most := map[Tier]int{F1: 1, B3: 10, S3: 10}[t]
	if most == 0 {
		most = 200
	}
	if units < 1 || units > most {
		return Limits{}, fmt.Errorf("%w: %s with %d units; it has 1 to %d", ErrTier, t, units, most)
	}
	u := float64(units)
	perUnit := func(x float64) Rate { return Rate{PerSecond: x * u} }
	perHub := func(x float64) Rate { return Rate{PerSecond: x, PerHub: true} }
	atLeast := func(floor, x float64) Rate { return Rate{PerSecond: max(floor, x*u)} }
	l := Limits{
		Tier: t, Units: units, HasTwins: t[0] != 'B', MeterBytes: 4 << 10,
		MessagesPerDay: int64(units) * map[Tier]int64{F1: 8_000, B1: 400_000, B2: 6_000_000, B3: 300_000_000, S1: 400_000, S2: 6_000_000, S3: 300_000_000}[t],
		USDPerMonth:    u * map[Tier]float64{F1: 0, B1: 10, B2: 50, B3: 500, S1: 25, S2: 250, S3: 2500}[t],
	}
	if t == F1 {
		l.MeterBytes = 512
	}
	switch t[1] {
	case '1':
		l.Registry, l.C2D, l.Jobs = perUnit(100.0/60), perUnit(100.0/60), perUnit(100.0/60)
		l.Connects, l.Telemetry = atLeast(100, 12), atLeast(100, 12)
		l.Queries = perUnit(20.0 / 60)
		l.TwinReads, l.TwinWrites, l.JobDevices = perHub(100), perHub(50), perHub(10)
		l.Methods = perUnit(160 << 10 / MethodBytes)
		l.ActiveJobs = 1
	case '2':
		l.Registry, l.C2D, l.Jobs = perUnit(100.0/60), perUnit(100.0/60), perUnit(100.0/60)
		l.Connects, l.Telemetry = perUnit(120), perUnit(120)
		l.Queries = perUnit(20.0 / 60)
		l.TwinReads, l.TwinWrites, l.JobDevices = atLeast(100, 10), atLeast(50, 5), atLeast(10, 1)
		l.Methods = perUnit(480 << 10 / MethodBytes)
		l.ActiveJobs = 5
	default:
		l.Registry, l.C2D, l.Jobs = perUnit(5000.0/60), perUnit(5000.0/60), perUnit(5000.0/60)
		l.Connects, l.Telemetry = perUnit(6000), perUnit(6000)
		l.Queries = perUnit(1000.0 / 60)
		l.TwinReads, l.TwinWrites, l.JobDevices = perUnit(500), perUnit(250), perUnit(50)
		l.Methods = perUnit(24 << 20 / MethodBytes)
		l.ActiveJobs = 10
	}
	return l, nil
}

// Messages is how many messages an operation of so many bytes counts against the day: one for each
// started block of MeterBytes, and at least one (iot-hub-devguide-pricing).
func (l Limits) Messages(bytes int) int64 {
	return max(1, (int64(bytes)+int64(l.MeterBytes)-1)/int64(l.MeterBytes))
}
