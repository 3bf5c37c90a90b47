package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/capacity/measured"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	written "github.com/twinfleet/twinfleet/report/purchase"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/scenario"
)

// extrapolated is what plan --from prints as JSON.
type extrapolated struct {
	From     *measured.Run    `json:"from"`     // what was measured, and what becomes of it
	Purchase *report.Purchase `json:"purchase"` // for the fleet that was asked about
}

// planFrom says what to buy for a fleet of another size that behaves as that of a run.
func planFrom(e env, s settings, market *buy.Market) error {
	if s.v.GetBool("verify") || len(s.v.GetStringSlice("set")) > 0 || s.v.GetDuration("duration") > 0 {
		return usagef("--from takes the figures of a run: --verify, --set and --duration are for scenarios; leave them out")
	}
	devices := s.v.GetInt("devices")
	if s.given("devices") && (devices < 1 || devices > scenario.MostDevices) {
		return usagef("--devices %d: a fleet has 1 to %s", devices, human.Number(scenario.MostDevices, "device"))
	}
	h, err := record.Read(s.v.GetString("from"))
	if err != nil {
		return recordError(fmt.Errorf("--from: %w", err))
	}
	r, err := measured.Of(h, devices)
	if err != nil {
		return withCode(codeUsage, fmt.Errorf("--from %s: %w", s.v.GetString("from"), err))
	}
	need := r.Need()
	o := buy.Options{Tier: s.v.GetString("tier"), Units: s.v.GetInt("units")}
	found, err := market.Find(&need, o)
	if err != nil {
		return usagef("--tier: %w", err)
	}
	found.Measured, found.Unknown = true, r.Unknown()
	found.Notes = append(found.Notes, comingOnline(r, found)...)
	switch {
	case s.v.GetBool("json"):
		return writeJSON(e.stdout, extrapolated{r, found})
	case s.v.GetBool("markdown"):
		return written.Markdown(e.stdout, found)
	}
	return errors.Join(writeMeasured(e.stdout, r), written.Text(e.stdout, found))
}

// comingOnline says how long it takes until a whole fleet is connected, at the limits it is held to.
func comingOnline(r *measured.Run, p *report.Purchase) []string {
	for _, c := range p.Classes {
		if c.Class == "connections" && c.Allowed > 0 {
			takes := time.Duration(float64(r.Devices) / c.Allowed * float64(time.Second))
			return []string{fmt.Sprintf("all %s connecting takes %s at the limit of connections of %s, and no less", human.Number(r.Devices, "device"),
				human.Duration(takes.Round(time.Second)), p.Against.Name())}
		}
	}
	return nil
}

// writeMeasured says what a run has measured, and what becomes of it in a fleet of another size.
func writeMeasured(w io.Writer, r *measured.Run) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s · %s · stage %s, %s · %s active\n\n", r.Name, r.Target, r.Stage, human.Duration(time.Duration(r.Seconds*float64(time.Second))),
		human.Number(int(r.Active+0.5), "device"))
	rows := [][]string{{"operation", "measured", "a device", "with " + human.Number(r.Devices, "device"), "busiest second"}}
	for _, x := range r.Measured {
		name, each := x.Operation, "not by device"
		if x.Group != "" {
			name += " " + x.Group
		}
		if x.PerDevice > 0 {
			each = fmt.Sprintf("%.3g a minute", x.PerDevice*60)
		}
		scaled := human.Rate(x.Scaled)
		if x.Pages > 1 {
			scaled += fmt.Sprintf(", %s of %s", human.Number(int(x.Pages), "page"), human.Number(int(x.Rows), "row"))
		}
		rows = append(rows, []string{name, human.Rate(x.Measured), each, scaled, human.Rate(x.Peak)})
	}
	for _, line := range human.Columns(rows, func(c int) bool { return c > 0 }) {
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}
