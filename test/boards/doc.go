// Package boards holds the suite that scrapes real runs with a real Prometheus, configured as it ships, asks it what the boards ask, and draws
// the boards with Grafana's own components. It carries the build tag integration.
package boards
