package main

import (
	"context"
	"os"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

func main() {
	runtime.MemProfileRate = 512
	sc, err := scenario.Load(os.Args[1], scenario.Options{Set: os.Args[2:]})
	if err != nil {
		panic(err)
	}
	e := engine.New(engine.Options{Scenario: sc, Recorder: metrics.NewRecorder(metrics.Options{}), AllowSaturated: true})
	go func() {
		time.Sleep(22 * time.Second)
		runtime.GC()
		f, _ := os.Create("/tmp/lm/heap.pprof")
		_ = pprof.Lookup("heap").WriteTo(f, 0)
		f.Close()
	}()
	e.Run(context.Background())
}
