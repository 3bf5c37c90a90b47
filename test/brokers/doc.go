// Package brokers holds the suite that runs the real binary against brokers that none of this project wrote, Mosquitto and mochi-mqtt, in all the
// ways that a scenario can speak to one. It carries the build tag integration.
package brokers
