package bench

import (
	"context"
	"fmt"
	"time"
)

// sized is a kind of devices whose memory is measured: as the difference between many of them and few.
type sized struct {
	name, client string
	group        string // what the group says beside its name and count
	secure       bool
	few, many    int
	than         string // the name of another, before it, that it is held against; empty for none
}

const (
	reporting = "reported: {connectivity: {type: cellular}, every: 30s}"
	sending   = "telemetry: {every: 30s}"
	inClear   = "memory a device"
	withTLS   = "memory a device, TLS"
)

func sizes() []sized {
	return []sized{
		{inClear, "lean", reporting, false, 1000, 6000, ""},
		{withTLS, "lean", reporting, true, 2000, 6000, ""},
		{"memory a device, client paho", "paho", reporting, false, 300, 1300, ""},
		{inClear + ", AMQP", "lean", overAMQP + reporting, false, 1000, 6000, inClear},
		{withTLS + ", AMQP", "lean", overAMQP + reporting, true, 2000, 6000, withTLS},
		{inClear + ", " + onOne, "lean", overShared + reporting, false, 2000, 12_000, inClear},
		{inClear + ", HTTPS", "lean", overHTTPS + sending, false, 1000, 6000, inClear},
	}
}

// memories measures what a further device takes of fleet and hub, in clear and with TLS.
func (b *bench) memories(ctx context.Context) error {
	measured := make(map[string]float64)
	for k, x := range sizes() {
		var fleets, hubs [2]float64
		for i, n := range []int{x.few, x.many} {
			b.Tell(fmt.Sprintf("%s: %d of them", x.name, n))
			f, h, err := b.memory(ctx, fmt.Sprintf("m%dn%d", k, i), x, n)
			if err != nil {
				return err
			}
			fleets[i], hubs[i] = f, h
		}
		more := float64(x.many - x.few)
		row := Row{Name: x.name, Unit: "KB", Here: (fleets[1] - fleets[0]) / more / 1e3, Hub: (hubs[1] - hubs[0]) / more / 1e3}
		measured[x.name] = row.Here
		if x.than != "" {
			row = row.against(overMQTT, measured[x.than])
		}
		b.rows = append(b.rows, row)
	}
	return nil
}

// memory is what so many devices take of fleet and hub when they have reported for some time.
func (b *bench) memory(ctx context.Context, name string, x sized, devices int) (fleet, hub float64, err error) {
	b.hub.end()
	if err := b.openHub(ctx); err != nil { // one that has seen no other fleet
		return 0, 0, err
	}
	r, err := b.fleet(ctx, name, x.client, devices, x.secure, x.group,
		fmt.Sprintf("{name: connect, devices: %d, duration: %ds}, {name: hold, duration: 12s}", devices, 4+devices/500))
	if err != nil {
		return 0, 0, err
	}
	defer r.end()
	there, _, err := r.until(ctx, connected(devices))
	if err != nil {
		return 0, 0, err
	}
	f, h, err := r.until(ctx, func(f *figures) bool { return f.at.Sub(there.at) > 10*time.Second })
	if err != nil {
		return 0, 0, err
	}
	return f.memory, h.memory, r.ends()
}
