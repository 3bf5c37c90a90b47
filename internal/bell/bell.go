// Package bell rings the terminal's bell when a run is over.
package bell

import (
	"io"

	"github.com/twinfleet/twinfleet/report"
)

// To rings on a terminal.
func To(w io.Writer) report.Observer {
	return report.Funcs{OnEnd: func(*report.Run) error {
		_, err := io.WriteString(w, "\a")
		return err
	}}
}
