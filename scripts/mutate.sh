#!/usr/bin/env bash
# Switches off, one at a time, each mechanism that keeps a verdict from lying, and expects a test to fail for it.
# Works on a copy of the tree; prints a line a mechanism and exits 1 when one is missed by no test.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git archive HEAD | tar -x -C "$copy"
cd "$copy"
missed=0

# mutate NAME FILE OLD NEW PACKAGES [RUN]: OLD, a fixed string, must be there.
mutate() {
	local name=$1 file=$2 old=$3 new=$4 packages=$5 run=${6:-.}
	cp "$file" "$file.orig"
	OLD=$old NEW=$new perl -0pi -e 's/\Q$ENV{OLD}\E/$ENV{NEW}/' "$file"
	if cmp -s "$file" "$file.orig"; then
		echo "?  $name: $file has no longer: $old"
		missed=1
	elif ! go vet $packages >vet.log 2>&1; then
		echo "?  $name: does not compile: $(tail -n 1 vet.log)"
		missed=1
	elif go test -count=1 -timeout 5m -run "$run" $packages >test.log 2>&1; then
		echo "✗  $name: no test fails"
		missed=1
	else
		echo "✓  $name: $(grep -m 1 -oE -- '--- FAIL: [^ ]+' test.log | cut -d ' ' -f 3)"
	fi
	mv "$file.orig" "$file"
}

mutate "the wait for answers when a session ends" fleet/session.go 'd.underWay(now.Before(d.deaf)) == 0' 'd.underWay(now.Before(d.deaf)) >= 0' ./fleet
mutate "what has no answer is an error" metrics/snapshot.go ' + s.Count(Unanswered)' '' ./metrics/...
mutate "what has no answer took its time" metrics/snapshot.go '{OK, Throttled, Timeout, Failed, Unanswered}' '{OK, Throttled, Timeout, Failed}' ./metrics/...
mutate "a window in which nothing ended" metrics/threshold/window.go 'n := t.stuck(window); n > 0' 'n := t.stuck(window); n > 1<<60' ./metrics/judge
mutate "what is under way for too long" metrics/snapshot.go 'o.Least > than' 'o.Least < 0' ./metrics/...
mutate "an operation belongs to its stage" metrics/stages.go 'if !at.Before(marks[i].from) {' 'if at.IsZero() || true {' ./metrics/...
mutate "the last window of a scope" metrics/judge/judge.go '	r.take(last)' '	_ = last' ./metrics/judge
mutate "what is due while disconnected" fleet/queue.go 'series.Drop(at, reason)' '_ = reason' ./fleet
mutate "connecting has a time-out" fleet/device.go 'ctx, cancel := context.WithTimeout(ctx, d.group.Timeout)
	defer cancel()
	conn' 'ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn' ./fleet
mutate "an absence begins when the session was to end" fleet/life.go 'intended = d.ends.Add(offline)' 'intended = now.Add(offline)' ./fleet
mutate "time in which nobody was connected is counted once" fleet/life.go 'intended.Before(d.back)' 'false' ./scenario/engine SessionEndsWhileGone
mutate "devices that are stopped while gone did not come back" internal/outage/finder.go 'f.now.Recovered = f.now.Left <= f.before/share' 'f.now.Recovered = true' ./internal/outage StoppedWhileGone
mutate "a stage ended by hand is no fault of the target" internal/verdict/byhand/byhand.go 'v.Pass, v.CannotSay, v.Why = false, true, acts.String()' '_ = v' ./scenario/engine EndedByHand
mutate "a stop over the beginning of a stage" internal/generator/judge/judge.go 'r.Explains(&j.last)' 'r.Explains(&generator.Sample{})' ./internal/generator/judge
mutate "the target's delay is not the generator's" metrics/series.go 'own = max(0, sent.Sub(free))' 'own = lag' ./fleet
mutate "an answer that is being counted when the fleet stops" fleet/delivery.go 'len(d.deliveries) + d.ending' 'len(d.deliveries)' ./fleet WhatIsBeingCounted
mutate "a delivery after its time" fleet/delivery.go 'inTime(x.deadline, now, metrics.OK)' 'metrics.OK' ./fleet LateDelivery
mutate "the last device of a ramp" schedule/curve.go 'float64(n) - 0.5' 'float64(n)' './schedule ./fleet'
mutate "nothing is due after the end" fleet/queue.go 'now = d.fleet.end' '_ = d.fleet.end' ./fleet
mutate "the worker waits for its calls" internal/worker/call/call.go 'if hard, ok := ctx.Value(hardKey{}).(context.Context); ok {' 'if hard, ok := ctx.Value(hardKey{}).(context.Context); ok && false {' ./internal/worker/call
mutate "throughput is of what was done" metrics/threshold/figure.go 'rate := float64(x.Count(metrics.OK))' 'rate := float64(x.Ended())' ./metrics/threshold
mutate "the whole machine's processors" internal/generator/rules/rules.go 'return s.Processors > 0 && s.Machine > busy*float64(s.Processors) || s.Waiting > crowded' 'return false' ./internal/generator/judge
mutate "operations that start late" internal/generator/judge/judge.go 'float64(o.Late) > lateShare*float64(o.Started)' 'false' ./internal/generator/judge
mutate "few that start very late" internal/generator/judge/judge.go 'float64(o.VeryLate) > veryLateShare*float64(o.Started)' 'false' ./internal/generator/judge
mutate "steal" internal/generator/rules/rules.go 'return s.Steal > stolen*float64(max(1, s.Processors))' 'return false' ./internal/generator/judge
mutate "a control group's limit" internal/generator/rules/rules.go 'Explains: func(s *generator.Sample) bool { return s.Held > held }' 'Explains: func(s *generator.Sample) bool { return false }' ./internal/generator/judge
mutate "the processors that the process may run on" internal/host/processors.go '|| !may(cpu)' '|| !may(cpu) && false' ./internal/host
mutate "a delivery waits with its message" fleet/delivery.go 'StartAfter(intended, free, sent)' 'StartAfter(intended, intended, sent)' ./fleet LatenessOf
mutate "a sample where a stage ends" scenario/engine/stages.go 'c.measured(c.generator.Stage(name, now, c.connections()))' '_ = now' ./scenario/engine NotAsAsked
mutate "a generator's lateness ends no run" metrics/judge/judge.go ' && j.doubts(r) == ""' '' ./metrics/judge Doubt
mutate "nobody connected for want of descriptors" internal/verdict/verdict.go ' && !e.outOfMeans()' '' ./scenario/engine NobodyFor
mutate "a process that stood still" internal/generator/rules/rules.go 'Bad:      func(s *generator.Sample) bool { return max(s.Stopped, s.Suspended) >= still }' 'Bad:      func(s *generator.Sample) bool { return false }' ./internal/generator/judge
mutate "of an undelivered stage nothing can be said" metrics/judge/doubt.go 'v.CannotSay, v.Why, v.Pass = true, why, false' 'v.Why = why' ./metrics/judge
mutate "no device ever connected" internal/verdict/vain/vain.go 'return "no device ever connected: " + why(all)' 'return ""' ./scenario/engine NothingHappened
mutate "no operation of a kind ever succeeded" internal/verdict/vain/vain.go 'case due(x) == 0, x.Count' 'case due(x) >= 0, x.Count' ./scenario/engine NothingHappened
mutate "a target that contradicts itself" scenario/engine/contradictions.go 'if len(c.kinds) == 0 {' 'if true {' ./scenario/engine SwallowedReports
mutate "wrong rows of a query" internal/backend/auditor/verify.go 'n == 0 || a.judgesRows' 'n >= 0 || a.judgesRows' ./scenario/engine WrongRows
mutate "the wait for the last answers of a run" scenario/engine/conductor.go '	c.fleet.Stop(hard)' '	cancelHard()
	c.fleet.Stop(hard)' ./scenario/engine 'ExamplesRunShort/tier|TheWait'
mutate "every refusal of a connection" fleet/link/paho/incoming.go 'code := b[header+1]; code != 0' 'code := b[header+1]; code != 0 && code < 6' ./fleet/link/paho
mutate "what vanished is worse" report/compare/compare.go 'r.Verdict == Worse || r.Verdict == Vanished' 'r.Verdict == Worse' ./report/compare 'Told|Golden|Groups|Differs'
mutate "what comes while a connection is read" internal/hub/stream/stream.go 'c.more = true' 'c.more = false' ./internal/hub/front
mutate "what a slow reader has yet to take" internal/nowait/tcp_linux.go '		c.flush()' '		_ = 0' ./internal/nowait
mutate "room that comes while something is kept" internal/nowait/tcp_linux.go '	c.push() // who' '	// who' ./internal/nowait RoomThat
mutate "an end that comes with the last words" internal/nowait/tcp_linux.go 'n < len(b) && !c.hungUp' 'n < len(b)' ./internal/nowait
mutate "a connection that another closes" internal/nowait/tcp_linux.go '		c.watched.Later() // the' '		_ = 0 // the' ./internal/nowait
mutate "figures that have changed since they were copied" metrics/histogram/live.go 'if changes == r.seen' 'if r.copied != nil' ./metrics/histogram
mutate "a client that the machine carries" internal/fit/fit.go 'case m.Processors > plan.Tight*float64(facts.Cores)' 'case false' ./internal/fit
mutate "connections in memory take no ports" scenario/size.go 'return 0, baseDescriptors' 'return devices, baseDescriptors' ./scenario/plan
mutate "a peer that is gone is noticed" fleet/link/lean/lean.go 'c.wire.End(errSilent)' 'c.asked = now' ./fleet/link/lean
exit "$missed"
