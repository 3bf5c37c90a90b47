package price

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// The built-in list has all tiers, and says of when and where it is.
func TestBuiltIn(t *testing.T) {
	l, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	want := map[tier.Tier]float64{tier.F1: 0, tier.B1: 10, tier.B2: 50, tier.B3: 500, tier.S1: 25, tier.S2: 250, tier.S3: 2500}
	for _, name := range tier.All() {
		if got, ok := l.PerUnit[name]; !ok || got != want[name] {
			t.Errorf("%s costs %v; want %v", name, got, want[name])
		}
	}
	if l.Currency != "USD" || l.Region == "" || l.Date == "" || l.Source == "" {
		t.Errorf("%+v", l)
	}
}

// A bad file is one line that says what, where and what to do.
func TestRead(t *testing.T) {
	const good = `{"source": "contract", "date": "2026-11-01", "currency": "EUR", "region": "West Europe", "per_unit_and_month": {"S1": 21.5}}`
	l, err := Read("p.json", []byte(good))
	if err != nil || l.PerUnit["S1"] != 21.5 || l.Currency != "EUR" {
		t.Fatalf("%+v, %v", l, err)
	}
	l, err = Read("p.json", []byte(strings.NewReplacer("contract", `contract\u001b[2J`, "EUR", `\u001b[31mEUR`, "2026-11-01", "2026-11").Replace(good)))
	if err != nil || strings.Contains(fmt.Sprint(l), "\x1b") || !strings.Contains(l.Currency, "EUR") {
		t.Fatalf("%+v, %v", l, err)
	}
	for _, tt := range []struct{ old, with, want string }{
		{`"EUR"`, `""`, "p.json: currency is missing"},
		{`"region": "West Europe", `, ``, "p.json: region is missing"},
		{`"2026-11-01"`, `" "`, "p.json: date is missing"},
		{`"contract"`, `""`, "p.json: source is missing"},
		{`{"S1": 21.5}`, `{}`, "p.json: per_unit_and_month names no tier"},
		{`"S1"`, `"S9"`, `p.json: per_unit_and_month: there is no tier "S9"; there are F1`},
		{`21.5`, `-1`, "p.json: per_unit_and_month: S1 costs -1"},
		{`21.5`, `"much"`, "p.json:1: per_unit_and_month: expected a number, found a string"},
		{`"source"`, `"sauce"`, `p.json:1: unknown member "sauce"`},
		{`"2026-11-01"`, `"gestern"`, `p.json: date: "gestern" is none; write 2026-11`},
		{`"2026-11-01"`, `"2026-13"`, `p.json: date: "2026-13" is none`},
		{`{"S1": 21.5}`, `{"S1": 21.5, "S2": 3, "S1": 2}`, `p.json:1: member "S1" is there twice`},
		{`}}`, `}`, "p.json: the JSON object ends too early"},
	} {
		_, err := Read("p.json", []byte(strings.Replace(good, tt.old, tt.with, 1)))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %s", tt.with, err, tt.want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.json")
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "docs/plan.md") || strings.Count(err.Error(), file) != 1 {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a folder is a price list")
	}
	if err := os.WriteFile(file, builtIn, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Load(file); err != nil || l.PerUnit["S3"] != 2500 {
		t.Errorf("%+v, %v", l, err)
	}
}
