#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: a C compiler for the race
# detector, a Mosquitto and its clients, two proxies, curl, openssl, iproute2, a Prometheus, a Pushgateway and a Chromium from Debian's
# packages; a Python, Qpid Proton and a Java with Maven; Microsoft's device and service clients: from the npm lock file, from PyPI by their
# hashes into test/python/.venv, and from Maven Central by their versions; Grafana's components, from the npm lock file; and a
# Prometheus that knows the settings of configs/prometheus.yml, which Debian's does not. Says nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2")
}
need gcc gcc
need mosquitto mosquitto
need mosquitto_pub mosquitto-clients
need tinyproxy tinyproxy
need microsocks microsocks
need curl curl
need openssl openssl
need ip iproute2
need prometheus prometheus
need promtool prometheus
need prometheus-pushgateway prometheus-pushgateway
need chromium chromium
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
/usr/bin/python3 -c 'import proton' 2>/dev/null || missing+=(python3-qpid-proton) # for Debian's own Python
need javac default-jdk-headless
need mvn maven

if [ "${#missing[@]}" -gt 0 ]; then
	sudo=()
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null 2>&1; then
			echo "setup: install these packages first, then run make test again: ${missing[*]}" >&2
			exit 1
		fi
		sudo=(sudo)
	fi
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "setup: no apt-get here; install these programs by hand: ${missing[*]}" >&2
		exit 1
	fi
	echo "setup: installing ${missing[*]}"
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	# The packaged servers must not start on their own: the tests start their own copies.
	if ! { "${sudo[@]}" apt-get update -qq &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
			apt-get install -y -qq --no-install-recommends libc6-dev "${missing[@]}"; } >"$log" 2>&1; then
		cat "$log" >&2
		exit 1
	fi
fi

# What follows installs side by side: it waits for the network more than it computes.
fresh() { # fresh MARKER SOURCE: whether what SOURCE pins was installed to its end
	cmp -s "$2" "$1"
}

npm_packages() { # npm_packages FOLDER WHAT
	local marker=$1/node_modules/.installed-lock.json
	if ! fresh "$marker" "$1/package-lock.json"; then
		echo "setup: installing $2 under $1"
		(cd "$1" && npm ci --no-audit --no-fund --silent)
		cp "$1/package-lock.json" "$marker"
	fi
}

from_npm() {
	npm_packages test/boards "Grafana's components (460 MB)"
	npm_packages test/sdk "the SDKs"
	npm_packages test/page "axe-core, which looks over pages,"
}

prometheus() {
	local marker=test/prometheus/bin/.built-go.sum
	if ! fresh "$marker" test/prometheus/go.sum; then
		echo "setup: building Prometheus under test/prometheus (a few minutes)"
		(cd test/prometheus && go build -tags remove_all_sd -o bin/ github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool)
		cp test/prometheus/go.sum "$marker"
	fi
}

from_pypi() {
	local marker=test/python/.venv/.installed-requirements.txt
	if ! fresh "$marker" test/python/requirements.txt || ! test/python/.venv/bin/python -c '' 2>/dev/null; then
		if ! python3 -c 'import sys; sys.exit(not (3, 9) <= sys.version_info < (3, 15))'; then
			echo "setup: Microsoft's clients for Python want Python 3.9 to 3.14; here is $(python3 --version)" >&2
			return 1
		fi
		echo "setup: installing the clients under test/python"
		rm -rf test/python/.venv
		python3 -m venv test/python/.venv
		test/python/.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r test/python/requirements.txt
		cp test/python/requirements.txt "$marker"
	fi
}

# Maven takes part of what it needs only when a test runs: one that needs no hub does, and afterwards Maven needs no network.
from_maven() {
	local marker=test/java/target/.installed-pom.xml
	if ! fresh "$marker" test/java/pom.xml; then
		echo "setup: installing the clients of test/java"
		(cd test/java && mvn --quiet --batch-mode -Dstyle.color=never test -Dtest=KeyCases)
		cp test/java/pom.xml "$marker"
	fi
}

# In subshells that -e ends at the first failure.
parts=()
for part in from_npm prometheus from_pypi from_maven; do
	(set -e; "$part") &
	parts+=("$!")
done
failed=0
for part in "${parts[@]}"; do
	wait "$part" || failed=1
done
if [ "$failed" -ne 0 ]; then
	echo "setup: not all could be installed; run make test again when the reason above is gone" >&2
	exit 1
fi
