#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: a C compiler for the race
# detector, a Mosquitto and its clients, curl, a Prometheus, a Pushgateway and a Chromium from Debian's
# packages; a Python and a Java with Maven; and Microsoft's device and service clients: from the npm lock file, from PyPI by their
# hashes into test/python/.venv, and from Maven Central by their versions. Says nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2")
}
need gcc gcc
need mosquitto mosquitto
need mosquitto_pub mosquitto-clients
need curl curl
need prometheus prometheus
need promtool prometheus
need prometheus-pushgateway prometheus-pushgateway
need chromium chromium
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
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

# npm writes its own copy of the lock file when it has finished; equal means installed.
marker=test/sdk/node_modules/.installed-lock.json
if ! cmp -s test/sdk/package-lock.json "$marker"; then
	echo "setup: installing the SDKs under test/sdk"
	(cd test/sdk && npm ci --no-audit --no-fund --silent)
	cp test/sdk/package-lock.json "$marker"
fi

# axe-core, with which the tests look over the live page.
if ! cmp -s test/page/package-lock.json test/page/node_modules/.installed-lock.json; then
	echo "setup: installing axe-core under test/page"
	(cd test/page && npm ci --no-audit --no-fund --silent)
	cp test/page/package-lock.json test/page/node_modules/.installed-lock.json
fi

marker=test/python/.venv/.installed-requirements.txt
if ! cmp -s test/python/requirements.txt "$marker" || ! test/python/.venv/bin/python -c '' 2>/dev/null; then
	if ! python3 -c 'import sys; sys.exit(not (3, 9) <= sys.version_info < (3, 15))'; then
		echo "setup: Microsoft's clients for Python want Python 3.9 to 3.14; here is $(python3 --version)" >&2
		exit 1
	fi
	echo "setup: installing the clients under test/python"
	rm -rf test/python/.venv
	python3 -m venv test/python/.venv
	test/python/.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r test/python/requirements.txt
	cp test/python/requirements.txt "$marker"
fi

# Maven takes part of what it needs only when a test runs: one that needs no hub does, and afterwards Maven needs no network.
marker=test/java/target/.installed-pom.xml
if ! cmp -s test/java/pom.xml "$marker"; then
	echo "setup: installing the clients of test/java"
	(cd test/java && mvn --quiet --batch-mode -Dstyle.color=never test -Dtest=KeyCases)
	cp test/java/pom.xml "$marker"
fi
