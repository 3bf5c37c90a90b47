package front

import "github.com/twinfleet/twinfleet/internal/mqtt"

// idleWorkers is how many workers stay when there is nothing to do.
const idleWorkers = 64

// work lets a worker take a step of the connection and waits for it. Handling a packet needs a deep
// stack, which the reader of every connection would keep for as long as it lives: so the readers
// borrow the stacks of few workers, for a microsecond or two a packet. A reader whose stack TLS has
// made deep already takes its steps itself. err is what the step finds in the reader's err.
func (c *conn) work(step func(*conn, mqtt.Packet) error, p mqtt.Packet, err ...error) error {
	r := c.read
	r.step, r.packet, r.err = step, p, nil
	if len(err) > 0 {
		r.err = err[0]
	}
	if r.deep {
		r.err = step(c, p)
		return r.err
	}
	r.busy.Add(1)
	select {
	case c.front.steps <- c:
	default:
		c.front.conns.Go(func() { c.front.worker(c) })
	}
	r.busy.Wait()
	return r.err
}

// worker takes a step, and then those of other connections until the Front closes or enough others wait.
func (f *Front) worker(c *conn) {
	for {
		c.read.err = c.read.step(c, c.read.packet)
		c.read.busy.Done()
		if f.waiting.Add(1) > idleWorkers {
			f.waiting.Add(-1)
			return
		}
		select {
		case c = <-f.steps:
			f.waiting.Add(-1)
		case <-f.ctx.Done():
			return
		}
	}
}
