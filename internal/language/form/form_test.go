package form_test

import (
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/language/form"
)

// A number with a unit is read in the base unit of its kind, and what the pattern takes is what is read.
func TestNumbersWithUnits(t *testing.T) {
	rate := func(s string) (float64, bool) { from, to, ok := form.ParseRate(s); return from + 1000*to, ok }
	for _, x := range []struct {
		form  form.Form
		parse func(string) (float64, bool)
		good  map[string]float64
		bad   []string
	}{
		{form.Share, form.ParseShare, map[string]float64{"80%": 0.8, "0%": 0, "100%": 1, "0.5%": 0.005}, []string{"80", "", "%", "a%"}},
		{form.Rate, rate, map[string]float64{"100/s": 100_100, "600/m": 10_010, "3600/h": 1001, "0/s..2/s": 2000}, []string{"100", "5/d", "1/s..", "/s", ""}},
		{
			form.Size, func(s string) (float64, bool) { n, ok := form.ParseSize(s); return float64(n), ok },
			map[string]float64{"0B": 0, "512B": 512, "64KB": 64_000, "1KiB": 1024, "1.5 MiB": 3 << 19, "2MB": 2e6, "0.5KiB": 512},
			[]string{"64", "KB", "-1B", "1kB", "1GB", "1KB/s", "B", ""},
		},
		{
			form.Bytes, form.ParseBandwidth,
			map[string]float64{"64KB/s": 64_000, "1.5MB/s": 1.5e6, "32KiB/s": 32 << 10, "250kbit/s": 31_250, "1 Mbit/s": 125_000, "1B/s": 1},
			[]string{"64", "64KB", "KB/s", "5GB/s", ""},
		},
	} {
		pattern := regexp.MustCompile(x.form.Pattern())
		for text, want := range x.good {
			if got, ok := x.parse(text); !ok || math.Abs(got-want) > 1e-9 || !pattern.MatchString(text) {
				t.Errorf("%s %q = %v, %v; want %v, and the pattern %s to take it", x.form, text, got, ok, want, pattern)
			}
		}
		for _, text := range x.bad {
			if got, ok := x.parse(text); ok || pattern.MatchString(text) {
				t.Errorf("%s %q = %v; want neither that nor the pattern to take it", x.form, text, got)
			}
		}
	}
	for _, text := range []string{"101%", "-1%"} {
		if _, ok := form.ParseShare(text); ok {
			t.Errorf("%s is taken as a share", text)
		}
	}
	for _, text := range []string{"0.5B", "0.3KiB", "9999999MB", "1.1.1B"} {
		if n, ok := form.ParseSize(text); ok {
			t.Errorf("%s is taken as %d bytes", text, n)
		}
	}
	for _, n := range []int{0, 1, 999, 1000, 1024, 1536, 64_000, 256 << 10, 2 << 20, 3_000_000, 300<<10 + 1} {
		if got, ok := form.ParseSize(form.FormatSize(n)); !ok || got != n {
			t.Errorf("%d bytes are written %s, which is read as %d", n, form.FormatSize(n), got)
		}
	}
	if _, ok := form.ParseBandwidth("0.5B/s"); ok {
		t.Error("less than a byte a second is taken as a bandwidth")
	}
}

func TestNames(t *testing.T) {
	pattern := regexp.MustCompile(form.Name.Pattern())
	for text, want := range map[string]bool{
		"robots": true, "a-1": true, "7": true, "": false, "-a": false, "Robots": false, "a_b": false, "ä": false,
		strings.Repeat("x", 60): true, strings.Repeat("x", 61): false,
	} {
		if got := form.IsName(text); got != want || pattern.MatchString(text) != want {
			t.Errorf("IsName(%q) = %v, pattern %v; want %v", text, got, pattern.MatchString(text), want)
		}
	}
}
