// Package amqp holds the hub's AMQP endpoints to Microsoft's clients for Go: azeventhubs, and the AMQP library below it as a generic
// client for what no SDK that runs here does. It is a module of its own: the product's go.mod stays without them and what they bring along.
package amqp
