#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME each, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-30s}
git ls-files '*_test.go' | xargs grep -lE '^func Fuzz' | while read -r file; do
	grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" | awk '{print $2}' | while read -r target; do
		echo "fuzz: ./$(dirname "$file") $target for $time"
		go test -run '^$' -fuzz "^${target}\$" -fuzztime "$time" "./$(dirname "$file")"
	done
done
