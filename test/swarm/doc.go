// Package swarm holds the suite that tries one run on many machines with real processes: agents that are killed, a NATS server that goes and comes
// back, a broker that none of us wrote, network namespaces with delays between them and clocks that are wrong. It carries the build tag integration.
package swarm
