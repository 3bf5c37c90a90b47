package main

import (
	"context"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
)

// hubKey finds a script's hub.
type hubKey struct{}

// hubCommand starts a hub for a script and sets TWINFLEET_HUB and TWINFLEET_CA:
//
//	hub
//	hub S1 40 750ms     so many units of a tier, with a burst, and nothing that waits behind it
func hubCommand(ts *testscript.TestScript, _ bool, args []string) {
	o := hub.Options{CertDir: ts.MkAbs("hub-certs")}
	if len(args) == 3 {
		units, err := strconv.Atoi(args[1])
		ts.Check(err)
		burst, err := time.ParseDuration(args[2])
		ts.Check(err)
		o.Tier, o.Units, o.Shape = args[0], units, bucket.Shape{Burst: burst, Backlog: -1}
	}
	h, err := hub.Open(context.Background(), o)
	ts.Check(err)
	h.Arm()
	ts.Defer(func() { ts.Check(h.Close()) })
	ts.Setenv("TWINFLEET_HUB", h.ConnectionString("iothubowner").Reveal())
	ts.Setenv("TWINFLEET_HUB_HOST", h.ConnectionString("iothubowner").HostName)
	ts.Setenv("TWINFLEET_CA", h.CA())
	*ts.Value(hubKey{}).(**hub.Hub) = h
}

// identitiesCommand waits until the script's hub has at least so many identities; with ! it says whether there
// are none:
//
//	identities 50
//	! identities
func identitiesCommand(ts *testscript.TestScript, neg bool, args []string) {
	h := *ts.Value(hubKey{}).(**hub.Hub)
	if neg {
		if n := h.Stats().Devices.Total; n != 0 {
			ts.Fatalf("the hub has %d identities", n)
		}
		return
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(time.Minute); h.Stats().Devices.Total < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("the hub has %d identities after a minute; want %d", h.Stats().Devices.Total, want)
		}
	}
}

// untilCommand waits until a command of the shell succeeds, so that a script goes on when what it needs is there:
//
//	until 'grep "stage 2 of 2" said.txt'
func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: until COMMAND")
	}
	for deadline := time.Now().Add(2 * time.Minute); ts.Exec("sh", "-c", args[0]) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("not within two minutes: %s", args[0])
		}
	}
}
