package bench

import (
	"context"
	"fmt"
	"time"
)

// What the others are held against, in the same part of the same bench.
const overMQTT = "MQTT, lean"

// What a group says of its transport.
const (
	overAMQP   = "transport: amqp, "
	overShared = "transport: amqp, devices_per_connection: 500, "
	overHTTPS  = "transport: https, "
	onOne      = "AMQP, 500 on a connection"
)

// spoken is a transport of which is measured what devices cost that speak it.
type spoken struct {
	name  string
	group string
	twins bool // it has twins
}

func transports() []spoken {
	return []spoken{{overMQTT, "", true}, {"AMQP", overAMQP, true}, {onOne, overShared, true}, {"HTTPS", overHTTPS, false}}
}

const (
	transportRate    = 5000 // messages, and then reports, a second, of all devices
	transportSeconds = 8
)

// costs are seconds of a processor that an operation takes, of fleet and hub.
type costs struct{ fleet, hub float64 }

// spent is what a process took between two looks at it, by each of n operations.
func spent(fleet, hub [2]*figures, n float64) costs {
	return costs{(fleet[1].cpu - fleet[0].cpu) / n, (hub[1].cpu - hub[0].cpu) / n}
}

// row shows them in a unit that has so many in a second.
func (c costs) row(name, unit string, scale float64) Row {
	return Row{Name: name, Unit: unit, Here: scale * c.fleet, Hub: scale * c.hub}
}

// transports measures what a connection, a message and a report take over each transport, and holds it against MQTT.
func (b *bench) transports(ctx context.Context) error {
	kinds := []struct {
		name, unit string
		scale      float64
	}{
		{"CPU to connect", "ms", millis}, {fmt.Sprintf("CPU a message, %d/s", transportRate), "µs", 1e6}, {fmt.Sprintf("CPU a report, %d/s", transportRate), "µs", 1e6},
	}
	rows := make([][]Row, len(kinds))
	var mqtt []costs
	for i, x := range transports() {
		b.Tell(fmt.Sprintf("%s: %d devices connect, send and report", x.name, b.Devices))
		all, err := b.over(ctx, fmt.Sprintf("over%d", i), x)
		if err != nil {
			return err
		}
		if i == 0 {
			mqtt = all
			continue
		}
		for k, c := range all {
			row := c.row(kinds[k].name+", "+x.name, kinds[k].unit, kinds[k].scale)
			rows[k] = append(rows[k], row.against(overMQTT, kinds[k].scale*mqtt[k].fleet))
		}
	}
	for _, r := range rows {
		b.rows = append(b.rows, r...)
	}
	return nil
}

// over is what a connection, with the twin and the first report where there are twins, then a message, and then a report cost.
func (b *bench) over(ctx context.Context, name string, x spoken) ([]costs, error) {
	group, stages, last := x.group+"telemetry: {}", "", "connect"
	if x.twins {
		group, last = group+", reported: {connectivity: {type: cellular}}", "twin_report"
		stages = fmt.Sprintf(", {name: report, duration: %ds, report_rate: %d/s}", transportSeconds, transportRate)
	}
	r, err := b.fleet(ctx, name, "lean", b.Devices, false, group, fmt.Sprintf("{name: before, duration: 4s}, {name: connect, devices: %d, connect_rate: 20000/s}, "+
		"{name: settle, duration: 5s}, {name: send, duration: %ds, telemetry_rate: %d/s}, {name: rest, duration: 1s}%s", b.Devices, transportSeconds, transportRate, stages))
	if err != nil {
		return nil, err
	}
	defer r.end()
	var all []costs
	between := func(from, to func(*figures) bool, n func(from, to *figures) float64) error {
		var fleet, hub [2]*figures
		for i, wanted := range []func(*figures) bool{from, to} {
			f, h, err := r.until(ctx, wanted)
			if err != nil {
				return err
			}
			fleet[i], hub[i] = f, h
		}
		all = append(all, spent(fleet, hub, n(fleet[0], fleet[1])))
		return nil
	}
	if err := between(waiting(b.Devices), done(last, b.Devices), func(_, _ *figures) float64 { return float64(b.Devices) }); err != nil {
		return nil, err
	}
	// steadily is what an operation costs when the stage that asks for it has begun, for most of it.
	steadily := func(operation string, before int) error {
		var began time.Time
		return between(
			func(f *figures) bool { began = f.at; return ended(f, operation) > before },
			func(f *figures) bool { return f.at.Sub(began) > (transportSeconds-1)*time.Second },
			func(from, to *figures) float64 { return float64(ended(to, operation) - ended(from, operation)) },
		)
	}
	if err := steadily("telemetry", 0); err != nil {
		return nil, err
	}
	if x.twins {
		if err := steadily("twin_report", b.Devices); err != nil {
			return nil, err
		}
	}
	return all, r.ends()
}
