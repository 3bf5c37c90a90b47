package text

import (
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/findings"
)

// writeFindings writes the findings, a line each.
func writeFindings(b *strings.Builder, r *report.Run, style color.Style) {
	for _, f := range findings.Of(r) {
		switch f.Mark {
		case findings.None:
			fmt.Fprintf(b, "  %s\n", f.Text)
		case findings.Warn:
			fmt.Fprintf(b, "  %s %s\n", style.Warning(), f.Text)
		default:
			fmt.Fprintf(b, "  %s %s\n", style.Mark(f.Mark == findings.Good), f.Text)
		}
	}
}

func writeGenerator(b *strings.Builder, r *report.Run, style color.Style) {
	switch {
	case r.Generator == nil:
	case r.Generator.Saturated:
		for _, line := range r.GeneratorLines() {
			fmt.Fprintf(b, "  %s generator: %s\n", style.Mark(false), line)
		}
	default:
		fmt.Fprintf(b, "  generator: %s\n", r.GeneratorLine())
	}
}
