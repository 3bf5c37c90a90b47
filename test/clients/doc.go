// Package clients runs Microsoft's own clients, in Node.js, Python, Java and Go, against the hub, and keeps the list of what
// they are held to in docs/embedded-hub.md. It carries the build tag clients; `make clients` runs it.
package clients
