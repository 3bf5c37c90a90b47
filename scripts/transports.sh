#!/usr/bin/env bash
# Runs test/scenarios/every-transport.yaml over TCP, fleet and hub in a process of their own each, since together they need more
# descriptors than one has. Prints the run's summary, and then the most memory that the hub took. Its exit code is that of the run.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
ulimit -n "$(ulimit -H -n)"
bin/twinfleet hub --json --listen 127.0.0.1:0 --page=false --dps=false --cert-dir "$work" >"$work/said" 2>"$work/log" &
hub=$!
trap 'kill "$hub"; wait "$hub" || true; rm -rf "$work"' EXIT
for _ in {1..100}; do
	[ -s "$work/said" ] && break
	sleep 0.1
done
[ -s "$work/said" ] || { cat "$work/log" >&2; exit 1; }
code=0
TWINFLEET_HUB=$(sed -E 's/.*"connectionString":"([^"]+)".*/\1/' "$work/said") bin/twinfleet run test/scenarios/every-transport.yaml --plain --no-ui --metrics-addr "" --out "" "$@" || code=$?
if [ -r "/proc/$hub/status" ]; then
	echo "the hub took $(($(sed -nE 's/^VmHWM:[^0-9]+([0-9]+) kB/\1/p' "/proc/$hub/status") / 1000)) MB at most"
fi
exit "$code"
