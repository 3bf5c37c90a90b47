package tier

import (
	_ "embed" // for the built-in table
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/internal/iothub/strictjson"
)

// Table is the data file of limits: what the documentation says of every tier.
type Table struct {
	About         string `json:"about"`           // for who reads the file
	Source        string `json:"source"`          // the documents that the numbers are from
	Date          string `json:"date"`            // of those documents: year and month
	DevicesPerHub int    `json:"devices_per_hub"` // identities that a hub may have, whatever its tier
	Tiers         []Row  `json:"tiers"`           // in the order of the price list
}

// Row is a tier of a Table.
type Row struct {
	Name           Tier              `json:"name"`
	MaxUnits       int               `json:"max_units"`        // of one hub
	Production     bool              `json:"production"`       // false for a tier to try things out
	Twins          bool              `json:"twins"`            // twins, direct methods, cloud-to-device messages and jobs
	MessagesPerDay int64             `json:"messages_per_day"` // of each unit
	MeterBytes     int               `json:"meter_bytes"`      // a message counts once for each started block of so many bytes
	ActiveJobs     int               `json:"active_jobs"`      // that may run at once
	Configurations int               `json:"configurations"`   // that a hub may have
	Limits         map[string]Figure `json:"limits"`           // by name: see limitNames
}

// Figure is a limit as the documentation writes it: the larger of what the hub has and what its units have together.
type Figure struct {
	Per  string  `json:"per"`            // s or min
	Hub  float64 `json:"hub,omitempty"`  // however many units are bought
	Unit float64 `json:"unit,omitempty"` // of each unit; 0 when units do not raise it
}

// rate is the figure for so many units, a second.
func (f Figure) rate(units int) Rate {
	r := Rate{PerSecond: max(f.Hub, f.Unit*float64(units)), PerHub: f.Unit == 0}
	if f.Per == "min" {
		r.PerSecond /= 60
	}
	return r
}

// limitNames are the limits that every tier of a table has.
func limitNames() []string {
	return []string{"registry", "connects", "telemetry", "queries", "twin_reads", "twin_updates", "c2d", "c2d_receives", "file_uploads", "method_kb", "jobs", "job_devices", "configurations"}
}

//go:embed tiers.json
var builtIn []byte

// builtInTable is read once: the file is a part of the program, and a test reads it.
var builtInTable = sync.OnceValues(func() (Table, error) { return ReadTable("tiers.json", builtIn) })

// BuiltIn is the table of the documentation. It must not be changed.
func BuiltIn() (Table, error) { return builtInTable() }

// ReadTable reads a data file strictly: whatever is missing, unknown or makes no sense is an error.
func ReadTable(file string, text []byte) (Table, error) {
	var t Table
	if err := strictjson.Decode(file, text, &t); err != nil {
		return Table{}, err
	}
	if t.Source == "" || t.Date == "" || t.DevicesPerHub < 1 || len(t.Tiers) == 0 {
		return Table{}, fmt.Errorf("%s: source, date, devices_per_hub and tiers are required", file)
	}
	var seen []Tier
	for i := range t.Tiers {
		r := &t.Tiers[i]
		if r.Name == "" || slices.Contains(seen, r.Name) {
			return Table{}, fmt.Errorf("%s: tier %d: %q is no name of its own", file, i+1, r.Name)
		}
		seen = append(seen, r.Name)
		if r.MaxUnits < 1 || r.MessagesPerDay < 1 || r.MeterBytes < 1 || r.ActiveJobs < 1 || r.Configurations < 1 {
			return Table{}, fmt.Errorf("%s: tier %s: max_units, messages_per_day, meter_bytes, active_jobs and configurations must be above 0", file, r.Name)
		}
		for _, name := range limitNames() {
			f, ok := r.Limits[name]
			if !ok || f.Hub < 0 || f.Unit < 0 || f.Hub+f.Unit <= 0 || f.Per != "s" && f.Per != "min" {
				return Table{}, fmt.Errorf("%s: tier %s: limit %s must say per (s or min) and a hub or unit above 0", file, r.Name, name)
			}
		}
		if len(r.Limits) != len(limitNames()) {
			return Table{}, fmt.Errorf("%s: tier %s: there are limits beside %v", file, r.Name, limitNames())
		}
	}
	return t, nil
}

// row is a tier of the table; nil when it has none of that name.
func (t *Table) row(name Tier) *Row {
	for i := range t.Tiers {
		if t.Tiers[i].Name == name {
			return &t.Tiers[i]
		}
	}
	return nil
}

// For tells the limits of a tier of the table with a number of units. It returns ErrTier.
func (t *Table) For(name Tier, units int) (Limits, error) {
	name = Tier(strings.ToUpper(string(name)))
	row := t.row(name)
	if row == nil {
		return Limits{}, fmt.Errorf("%w: %q; there are F1, B1, B2, B3, S1, S2 and S3", ErrTier, name)
	}
	if units < 1 || units > row.MaxUnits {
		return Limits{}, fmt.Errorf("%w: %s with %d units; it has 1 to %d", ErrTier, name, units, row.MaxUnits)
	}
	return row.limits(units), nil
}

// MaxUnits is how many units of a tier one hub may have; 0 for a tier that there is not.
func (t *Table) MaxUnits(name Tier) int {
	if r := t.row(name); r != nil {
		return r.MaxUnits
	}
	return 0
}

// limits are what a row allows with so many units.
func (r *Row) limits(units int) Limits {
	rate := func(name string) Rate { return r.Limits[name].rate(units) }
	l := Limits{
		Tier: r.Name, Units: units, HasTwins: r.Twins, Production: r.Production, MeterBytes: r.MeterBytes, ActiveJobs: r.ActiveJobs,
		MessagesPerDay: int64(units) * r.MessagesPerDay,
		Registry:       rate("registry"), Connects: rate("connects"), Telemetry: rate("telemetry"), Queries: rate("queries"), TwinReads: rate("twin_reads"),
		TwinWrites: rate("twin_updates"), C2D: rate("c2d"), Methods: rate("method_kb"), Jobs: rate("jobs"), JobDevices: rate("job_devices"),
		ConfigurationCalls: rate("configurations"), Configurations: r.Configurations, C2DReceives: rate("c2d_receives"), FileUploads: rate("file_uploads"),
	}
	l.Methods.PerSecond *= 1 << 10 / float64(MethodBytes)
	return l
}
