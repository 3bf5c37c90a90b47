// Package price reads price lists of Azure IoT Hub: a built-in one, or the user's own.
package price

import (
	_ "embed" // for the built-in list
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/strictjson"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/regular"
	"github.com/twinfleet/twinfleet/report/clean"
)

// List is a price list. A tier that it does not name cannot be bought.
type List struct {
	About    string                `json:"about,omitempty"`    // for who reads the file
	Source   string                `json:"source"`             // where the prices are from
	Date     string                `json:"date"`               // of which they are: 2026-11 or 2026-11-01
	Currency string                `json:"currency"`           // such as USD
	Region   string                `json:"region"`             // in which they hold
	PerUnit  map[tier.Tier]float64 `json:"per_unit_and_month"` // of a unit of each tier, for a month
}

//go:embed prices.json
var builtIn []byte

// builtInList is read once: the file is a part of the program, and a test reads it.
var builtInList = sync.OnceValues(func() (List, error) { return Read("the built-in prices", builtIn) })

// BuiltIn is the list of the program. It must not be changed.
func BuiltIn() (List, error) { return builtInList() }

// maxFile bounds a price list; it is larger than any that a person would write.
const maxFile = 1 << 20

// Load reads a price list from a file.
func Load(file string) (List, error) {
	text, err := regular.ReadGiven(file, maxFile)
	if err != nil {
		return List{}, fmt.Errorf("reading prices: %w; docs/plan.md has the format", err)
	}
	return Read(file, text)
}

// Read reads a price list strictly.
func Read(file string, text []byte) (List, error) {
	var l List
	if err := strictjson.Decode(file, text, &l); err != nil {
		return List{}, fmt.Errorf("%w; docs/plan.md has the format", err)
	}
	for _, x := range []struct{ name, value string }{{"currency", l.Currency}, {"region", l.Region}, {"date", l.Date}, {"source", l.Source}} {
		if strings.TrimSpace(x.value) == "" {
			return List{}, fmt.Errorf("%s: %s is missing: a price says of which currency, region, date and source it is", file, x.name)
		}
	}
	for _, x := range []*string{&l.About, &l.Source, &l.Date, &l.Currency, &l.Region} { // they are shown on terminals
		*x = clean.Text(*x)
	}
	if _, err := time.Parse("2006-01-02", l.Date); err != nil {
		if _, err := time.Parse("2006-01", l.Date); err != nil {
			return List{}, fmt.Errorf("%s: date: %q is none; write 2026-11 or 2026-11-01, of when the prices are", file, l.Date)
		}
	}
	if len(l.PerUnit) == 0 {
		return List{}, fmt.Errorf(`%s: per_unit_and_month names no tier; write {"S1": 25, "S2": 250, "S3": 2500}`, file)
	}
	for _, t := range slices.Sorted(maps.Keys(l.PerUnit)) {
		if !slices.Contains(tier.All(), t) {
			return List{}, fmt.Errorf("%s: per_unit_and_month: there is no tier %q; there are F1, B1, B2, B3, S1, S2 and S3", file, t)
		}
		if p := l.PerUnit[t]; p < 0 || p > 1e9 {
			return List{}, fmt.Errorf("%s: per_unit_and_month: %s costs %v; a price is 0 or more", file, t, p)
		}
	}
	return l, nil
}
