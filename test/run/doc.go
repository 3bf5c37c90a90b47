// Package run holds the suites that run the real binary against real programs: a Mosquitto, a
// Prometheus, a hub in a process of its own. They carry the build tag integration.
package run
