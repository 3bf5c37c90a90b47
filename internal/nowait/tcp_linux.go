package nowait

import "fmt"

// Watch implements Conn.
func (c *tcp) Watch(p *Poller, w *Watched) (stop func(), err error) {
	var fd int
	outer := c.raw.Control(func(f uintptr) {
		fd = int(f)
		err = p.system.watch(fd, w)
	})
	if outer != nil {
		return nil, fmt.Errorf("watching a connection: %w", outer)
	}
	if err != nil {
		return nil, err
	}
	return func() {
		// A connection that is closed is watched no more; its descriptor may be another's.
		_ = c.raw.Control(func(uintptr) { p.system.unwatch(fd) })
	}, nil
}
