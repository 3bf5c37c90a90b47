package tier

import (
	"cmp"
	"errors"
	"math"
	"strings"
	"testing"
)

// The rows are those of the public tables, in operations per second.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		tier                                                       Tier
		units                                                      int
		registry, connects, telemetry, queries, reads, writes, c2d float64
		day                                                        int64
	}{
		{F1, 1, 1.667, 100, 100, 0.333, 100, 50, 1.667, 8_000},
		{B1, 1, 1.667, 100, 100, 0.333, 100, 50, 1.667, 400_000},
		{S1, 1, 1.667, 100, 100, 0.333, 100, 50, 1.667, 400_000},
		{S1, 20, 33.333, 240, 240, 6.667, 100, 50, 33.333, 8_000_000},
		{S2, 1, 1.667, 120, 120, 0.333, 100, 50, 1.667, 6_000_000},
		{S2, 20, 33.333, 2400, 2400, 6.667, 200, 100, 33.333, 120_000_000},
		{S3, 1, 83.333, 6000, 6000, 16.667, 500, 250, 83.333, 300_000_000},
		{S3, 10, 833.333, 60000, 60000, 166.667, 5000, 2500, 833.333, 3_000_000_000},
	} {
		l, err := For(tt.tier, tt.units)
		if err != nil {
			t.Fatal(err)
		}
		for name, pair := range map[string][2]float64{
			"registry": {l.Registry.PerSecond, tt.registry}, "connects": {l.Connects.PerSecond, tt.connects}, "telemetry": {l.Telemetry.PerSecond, tt.telemetry},
			"queries": {l.Queries.PerSecond, tt.queries}, "twin reads": {l.TwinReads.PerSecond, tt.reads}, "twin writes": {l.TwinWrites.PerSecond, tt.writes},
			"c2d": {l.C2D.PerSecond, tt.c2d}, "messages a day": {float64(l.MessagesPerDay), float64(tt.day)},
		} {
			if math.Abs(pair[0]-pair[1]) > 0.001 {
				t.Errorf("%s with %d units: %s = %v; want %v", tt.tier, tt.units, name, pair[0], pair[1])
			}
		}
	}
}

func TestOnlyStandardTiersHaveTwins(t *testing.T) {
	for _, tier := range All() {
		l, err := For(tier, 1)
		if err != nil {
			t.Fatal(err)
		}
		if want := tier[0] != 'B'; l.HasTwins != want {
			t.Errorf("%s: HasTwins = %v; want %v", tier, l.HasTwins, want)
		}
	}
}

func TestWhatCannotBeBought(t *testing.T) {
	for _, tt := range []struct {
		tier  Tier
		units int
	}{{"S4", 1}, {"", 1}, {S1, 0}, {S1, 201}, {S3, 11}, {F1, 2}, {S2, -1}} {
		if _, err := For(tt.tier, tt.units); !errors.Is(err, ErrTier) {
			t.Errorf("For(%q, %d) = %v; want ErrTier", tt.tier, tt.units, err)
		}
	}
	if l, err := For("s1", 2); err != nil || l.Tier != S1 {
		t.Errorf("lower case: %v, %v", l.Tier, err)
	}
}

func TestMetering(t *testing.T) {
	for _, tt := range []struct {
		tier  Tier
		bytes int
		want  int64
	}{{S1, 0, 1}, {S1, 1, 1}, {S1, 4096, 1}, {S1, 4097, 2}, {S1, 256 << 10, 64}, {F1, 512, 1}, {F1, 513, 2}} {
		l, err := For(tt.tier, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Messages(tt.bytes); got != tt.want {
			t.Errorf("%s: Messages(%d) = %d; want %d", tt.tier, tt.bytes, got, tt.want)
		}
	}
}

// The built-in file is read as strictly as any, and says where its numbers are from.
func TestBuiltInTable(t *testing.T) {
	table, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	if table.Source == "" || table.Date == "" || table.DevicesPerHub != 1_000_000 {
		t.Errorf("source %q, date %q, %d devices a hub", table.Source, table.Date, table.DevicesPerHub)
	}
	if len(table.Tiers) != len(All()) {
		t.Fatalf("%d tiers", len(table.Tiers))
	}
	for i, want := range All() {
		if r := table.Tiers[i]; r.Name != want || r.Production != (want != F1) {
			t.Errorf("tier %d is %s, for production %v", i, r.Name, r.Production)
		}
		if got, want := table.MaxUnits(want), map[Tier]int{F1: 1, B3: 10, S3: 10}[want]; got != cmp.Or(want, 200) {
			t.Errorf("%s has at most %d units", All()[i], got)
		}
	}
	if table.MaxUnits("S9") != 0 {
		t.Error("there is a tier S9")
	}
}

// What a file of limits lacks is told in one line, with the tier.
func TestReadTable(t *testing.T) {
	whole := string(builtIn)
	for _, tt := range []struct{ old, with, want string }{
		{`"date": "2023-02"`, `"date": ""`, "t.json: source, date"},
		{`"name": "B1"`, `"name": "F1"`, `t.json: tier 2: "F1" is no name of its own`},
		{`"max_units": 1,`, `"max_units": 0,`, "t.json: tier F1: max_units"},
		{`"queries": {"per": "min"`, `"queries": {"per": "h"`, "t.json: tier F1: limit queries must say per (s or min)"},
		{`"twin_updates": {"per": "s", "hub": 50}`, `"twin_updates": {"per": "s"}`, "t.json: tier F1: limit twin_updates"},
		{`"c2d":`, `"d2c":`, "t.json: tier F1: limit c2d"},
		{`"jobs": {`, `"more": {"per": "s", "hub": 1}, "jobs": {`, "t.json: tier F1: there are limits beside"},
		{`"twins": true`, `"twin": true`, `t.json:7: unknown member "twin"`},
	} {
		_, err := ReadTable("t.json", []byte(strings.Replace(whole, tt.old, tt.with, 1)))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s", tt.with, err, tt.want)
		}
	}
}
