package text_test

import (
	"fmt"
	"os"

	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/text"
)

func ExampleWrite() {
	if err := text.Write(os.Stdout, reporttest.Well(10), color.Style{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// PASSED  example in 10.0s · 3,000 devices · embedded hub · client paho · seed 42
	//
	//   ✓ twin_report: p(99) < 250ms  p(99) = 116ms
	//   ✗ connect: error_rate < 0.1%  no data
	//
	//   operation      count    rate  throttled  errors     p50     p95     p99     max
	//   connect          200  20.0/s          0       0  7.00ms  7.00ms  7.00ms  7.00ms
	//   subscribe        200  20.0/s          0       0  7.00ms  7.00ms  7.00ms  7.00ms
	//   twin_get         200  20.0/s          0       0  7.00ms  7.00ms  7.00ms  7.00ms
	//   twin_report      200  20.0/s          0       0  7.00ms  7.00ms  7.00ms  7.00ms
	//   telemetry        400  40.0/s          0       0  7.00ms  9.00ms  9.00ms  9.00ms
	//   query redmond     10  1.00/s          0       0  30.0ms  30.0ms  30.0ms  30.0ms
	//   freshness        200  20.0/s          0       0  7.00ms  7.00ms  7.00ms  7.00ms
	//
	//   scheduled 1,410 = ok 1,410
	//     all ok: stage ramp 705, stage hold 705, group robots 1,200, group vehicles 200
	//   query redmond found 3,000 devices in its last result; 10 runs, 30 pages
	//   ! outage at 1.00s: 2,500 connections were lost, 2,400 devices were gone at once; 99 % were back after 2.00s
	//     came back ▂█▄▁  at most 1,500/s, 1.00s after it began; all were back after 3.00s
	//   generator: ok (at most 0.7 of 2 processors, 290 MB, 6,026 of 20,000 descriptors, timers 2.00ms late)
}
