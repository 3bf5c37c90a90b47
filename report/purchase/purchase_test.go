package purchase_test

import (
	"flag"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/purchase"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

// all are purchases of every kind.
func all() map[string]*report.Purchase {
	best := reporttest.Purchase()
	held := reporttest.Purchase()
	cut := *held.Next
	cut.Units, cut.PerMonth, cut.Possible = 2, 50, []string{"if queries find the whole fleet, queries: 1/s all day as in stage hold; 2 units allow 40/min"}
	held.Held, held.Against, held.Changes = &cut, cut, nil
	held.Tried = &report.Tried{Changes: 1234, Keys: strings.Fields("stages.s.storm.within stages.s.storm.drop a b c d e f g h --devices")}
	fine := reporttest.Purchase()
	fine.Held = fine.Best
	none := reporttest.Purchase()
	none.Best, none.BestLeast, none.Next, none.Against, none.Tiers, none.Changes[0].Saves = nil, nil, nil, cut, none.Tiers[3:], 0
	none.Hubs, none.Measured = &report.Hubs{Count: 4, Each: report.Offer{Tier: "S3", Units: 10}, PerMonth: 100_000}, true
	none.Unknown = []string{"latency with 1,000,000 devices"}
	never := reporttest.Purchase()
	never.Best, never.Hubs, never.Against = nil, &report.Hubs{}, cut
	return map[string]*report.Purchase{"best": best, "held": held, "fine": fine, "hubs": none, "never": never}
}

func TestGolden(t *testing.T) {
	for name, p := range all() {
		t.Run(name, func(t *testing.T) {
			reporttest.Golden(t, "testdata/"+name+".txt.golden", func(w io.Writer) error { return purchase.Text(w, p) })
			reporttest.Golden(t, "testdata/"+name+".md.golden", func(w io.Writer) error { return purchase.Markdown(w, p) })
		})
	}
}

// The text fits a terminal, and what comes from a file stays text in Markdown.
func TestText(t *testing.T) {
	for name, p := range all() {
		b := &strings.Builder{}
		if err := purchase.Text(b, p); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > human.Width {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
	}
	p := reporttest.Purchase()
	p.Notes = []string{"<img> | [x](y)"}
	b := &strings.Builder{}
	if err := purchase.Markdown(b, p); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `&lt;img> \| \[x\](y)`) {
		t.Errorf("%s", b)
	}
}

func TestMoney(t *testing.T) {
	p := report.PurchasePrices{Currency: "EUR"}
	for x, want := range map[float64]string{0: "0 EUR", 250: "250 EUR", 21.5: "21.50 EUR", 1234.567: "1,234.57 EUR", 2.999: "3.00 EUR", 0.1: "0.10 EUR"} {
		if got := p.Money(x); got != want {
			t.Errorf("Money(%v) = %s; want %s", x, got, want)
		}
	}
}

// Numbers have the digits that decide.
func TestDigits(t *testing.T) {
	for _, x := range []struct {
		row  report.PurchaseRow
		want string
	}{
		{report.PurchaseRow{Day: true, NeededLeast: 3_182_000, Needed: 3_189_000, Allowed: 3_200_000, Headroom: 0.0034}, "3.18 M to 3.19 M, 3,200,000, <1 %"},
		{report.PurchaseRow{Day: true, NeededLeast: 3_199_100, Needed: 3_199_900, Allowed: 3_200_000, Headroom: 0.00003}, "3.1991 M to 3.1999 M, 3,200,000, <1 %"},
		{report.PurchaseRow{Day: true, NeededLeast: 1_100_000, Needed: 3_200_000, Allowed: 3_200_000}, "1.1 M to 3.2 M, 3,200,000, 0 %"},
		{report.PurchaseRow{Day: true, NeededLeast: 3_199_999, Needed: 3_200_001, Allowed: 3_200_000, Headroom: -1e-6}, "3,199,999 to 3,200,001, 3,200,000, too little"},
		{report.PurchaseRow{NeededLeast: 50.02, Needed: 50.02, Allowed: 50, Headroom: -0.0004}, "50.02/s, 50/s, too little"},
		{report.PurchaseRow{NeededLeast: 50, Needed: 50, Allowed: 50}, "50/s, 50/s, 0 %"},
		{report.PurchaseRow{NeededLeast: 12.0 / 60, Needed: 12.0 / 60, Allowed: 20.0 / 60, Headroom: 1 - 12.0/20}, "12/min, 20/min, 40 %"},
	} {
		row := purchase.Rows(&report.Purchase{Classes: []report.PurchaseRow{x.row}})[0]
		if got := strings.Join(row[3:], ", "); got != x.want {
			t.Errorf("%s; want %s", got, x.want)
		}
	}
}
