// Package amqpservers drives devices over AMQP against servers that none of this project wrote: rhea, on which Microsoft's clients for
// Node.js stand, and Apache Qpid Proton. They do little, but hold the driver to the standard.
package amqpservers
