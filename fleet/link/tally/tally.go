// Package tally drives devices with another driver and counts the messages that they publish.
package tally

import (
	"context"
	"sync/atomic"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
)

// Driver makes the connections.
type Driver struct {
	under link.Driver
	sent  atomic.Int64
}

// New is a Driver over Paho's.
func New() *Driver { return &Driver{under: paho.New()} }

// Sent is how many messages went out.
func (d *Driver) Sent() int64 { return d.sent.Load() }

// Connect makes a connection.
func (d *Driver) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	c, err := d.under.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return &conn{c, d}, nil
}

type conn struct {
	link.Conn
	d *Driver
}

func (c *conn) Publish(m link.Message, done func(error)) {
	c.d.sent.Add(1)
	c.Conn.Publish(m, done)
}
