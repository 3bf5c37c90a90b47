package html_test

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report/html"
)

// colour is linear red, green and blue, 0 to 1.
type colour [3]float64

func readColour(t *testing.T, text string) (c colour) {
	t.Helper()
	for i := range c {
		n, err := strconv.ParseUint(text[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		if v := float64(n) / 255; v <= 0.04045 {
			c[i] = v / 12.92
		} else {
			c[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return c
}

// contrast is that of WCAG 2.
func contrast(a, b colour) float64 {
	light := func(c colour) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }
	x, y := light(a), light(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// eyes are how colours look to those who lack one kind of cones (Machado, Oliveira and Fernandes 2009), and to all others.
func eyes() map[string][3][3]float64 {
	return map[string][3][3]float64{
		"no reds":     {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
		"no greens":   {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
		"no blues":    {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
		"all colours": {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
	}
}

// apart is how different two colours look to eyes: the distance in CIELAB.
func apart(a, b colour, eye [3][3]float64) float64 {
	lab := func(c colour) (l [3]float64) {
		var seen colour
		for i := range seen {
			seen[i] = min(1, max(0, eye[i][0]*c[0]+eye[i][1]*c[1]+eye[i][2]*c[2]))
		}
		f := func(v float64) float64 {
			if v > 0.008856 {
				return math.Cbrt(v)
			}
			return 7.787*v + 16.0/116
		}
		x := f((0.4124*seen[0] + 0.3576*seen[1] + 0.1805*seen[2]) / 0.95047)
		y := f(0.2126*seen[0] + 0.7152*seen[1] + 0.0722*seen[2])
		z := f((0.0193*seen[0] + 0.1192*seen[1] + 0.9505*seen[2]) / 1.08883)
		return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
	}
	x, y := lab(a), lab(b)
	return math.Sqrt(math.Pow(x[0]-y[0], 2) + math.Pow(x[1]-y[1], 2) + math.Pow(x[2]-y[2], 2))
}

// The colours of lines stand out from both backgrounds of both themes and can be told apart, also by those who see fewer colours; those of
// texts can be read.
func TestColours(t *testing.T) {
	css, err := html.Asset("report.css")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(string(css), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of colours; want those of light and dark", len(blocks))
	}
	for i, theme := range []string{"light", "dark"} {
		colours := make(map[string]colour)
		for _, m := range regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(blocks[i][1], -1) {
			colours[m[1]] = readColour(t, m[2])
		}
		least := func(name, on string, want float64) {
			a, ok := colours[name]
			b, there := colours[on]
			if !ok || !there {
				t.Errorf("%s: there is no --%s or --%s", theme, name, on)
			} else if got := contrast(a, b); got < want {
				t.Errorf("%s: --%s on --%s has a contrast of %.2f; want %.1f", theme, name, on, got, want)
			}
		}
		var lines []string
		for n := range 8 {
			lines = append(lines, fmt.Sprintf("series-%d", n+1))
		}
		for _, on := range []string{"bg", "panel"} {
			for _, name := range lines {
				least(name, on, 3)
			}
			for _, name := range strings.Fields("ink faint good bad warn accent") {
				least(name, on, 4.5)
			}
		}
		for _, on := range strings.Fields("good bad warn accent faint") {
			least("on", on, 4.5)
		}
		for eye, seen := range eyes() {
			for k, a := range lines {
				for _, b := range lines[k+1:] {
					if d := apart(colours[a], colours[b], seen); d < 15 {
						t.Errorf("%s, %s: --%s and --%s are %.1f apart; want 15", theme, eye, a, b, d)
					}
				}
			}
		}
	}
}
