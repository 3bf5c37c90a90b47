// Package brokersbench runs twinfleet beside other programs that load MQTT brokers, on one Mosquitto, with the broker well and with it
// frozen for a second: what each takes and what each says, next to what was true, by make bench-brokers.
package brokersbench
