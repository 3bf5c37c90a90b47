#!/usr/bin/env bash
# Runs make test RUNS times in clean clones of what is committed, two side by side, so that both cores are busy: no test may need a
# quiet machine. Nothing is taken from go's cache of tests. Prints a line a run, keeps the output of those that failed, and exits 1
# when there are any.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-10} tree=$(pwd)
if ! [[ $runs =~ ^[1-9][0-9]*$ ]]; then
	echo "RUNS=$runs: how many runs there are to be, at least 1" >&2
	exit 2
fi
work=$(mktemp -d)
trap 'trap - TERM; rm -rf "$work"; kill 0' INT TERM # a shell's jobs do not hear Ctrl-C
lane() {
	local n start code
	for ((n = $1; n <= runs; n += 2)); do
		git clone -q "$tree" "$work/$n"
		start=$SECONDS code=0
		(cd "$work/$n" && GOFLAGS=-count=1 .ci/run) >"$work/$n.log" 2>&1 || code=$?
		rm -rf "${work:?}/$n"
		if [ $code = 0 ]; then
			echo "✓  run $n: $((SECONDS - start)) s"
			rm "$work/$n.log"
		else
			echo "✗  run $n: exit code $code after $((SECONDS - start)) s, see $work/$n.log"
		fi
	done
}
lane 1 &
one=$! failed=0
lane 2 &
wait $! || failed=1 # a lane could not do its work
wait $one || failed=1
if [ $failed = 1 ] || compgen -G "$work/*.log" >/dev/null; then exit 1; fi
rmdir "$work"
