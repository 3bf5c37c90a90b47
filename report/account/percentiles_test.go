package account_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report/account"
)

// The percentiles of one's choice come with the shortest, the mean and the longest.
func ExampleParsePercentiles() {
	p, err := account.ParsePercentiles("99.9, 50,90")
	fmt.Println(p.Headings(), err)
	p, err = account.ParsePercentiles("")
	fmt.Println(p.Headings(), err)
	_, err = account.ParsePercentiles("50,101")
	fmt.Println(err)
	// Output:
	// [min mean p50 p90 p99.9 max] <nil>
	// [p50 p95 p99 max] <nil>
	// percentiles: "101" is not above 0 and at most 100, as in 50,90,95,99,99.9
}

func TestPercentiles(t *testing.T) {
	for text, want := range map[string]string{
		"50": "p50", "p50,p99": "p50 p99", "100": "p100", "99,99": "p99", "0.5": "p0.5", "99.999": "p99.999",
		"0": "", "-1": "", "NaN": "", "inf": "", "x": "", ",": "", "50,": "", "1,2,3,4,5,6,7,8,9,10,11,12,13": "",
	} {
		p, err := account.ParsePercentiles(text)
		got := ""
		if err == nil {
			got = strings.Join(p.Headings()[2:len(p.Headings())-1], " ")
		}
		if got != want || (want == "") != errors.Is(err, account.ErrPercentiles) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	if cells := (account.Percentiles{50}).Cells(histogram.Histogram{}, "–"); strings.Join(cells, "") != "––––" {
		t.Errorf("nothing was measured: %q", cells)
	}
}
