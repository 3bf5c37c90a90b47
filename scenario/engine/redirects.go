package engine

import (
	"slices"
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// mostServers is how many servers are named to which a target sent devices: a balancer may have one for each.
const mostServers = 3

// redirectedTo is between a target and the servers to which it sent devices.
const redirectedTo = ", redirected to "

// redirects are the servers to which a target sent the devices of a run, in bounded space: the first of them, and all others together.
type redirects struct {
	mu      sync.Mutex // protects the following fields
	servers []server
}

// server is one of them.
type server struct {
	name    string // host:port, or "others"
	devices int    // that were connected to it
	had     []bool // which of the run's
}

// add notes that one of so many devices is connected to a server; it is true for the first there.
func (x *redirects) add(name string, index, devices int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := slices.IndexFunc(x.servers, func(s server) bool { return s.name == name })
	if i < 0 {
		if len(x.servers) >= mostServers {
			name = "others"
		}
		if i = min(len(x.servers), mostServers); i == len(x.servers) {
			x.servers = append(x.servers, server{name: name, had: make([]bool, devices)})
		}
	}
	s := &x.servers[i]
	if index < 0 || index >= len(s.had) || s.had[index] {
		return false
	}
	s.had[index] = true
	s.devices++
	return s.devices == 1
}

// target is what was loaded, of which a target sent devices to other servers: with how many, or without.
func (x *redirects) target(name string, counted bool) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.servers) == 0 {
		return name
	}
	texts := make([]string, len(x.servers))
	for i, s := range x.servers {
		if texts[i] = s.name; counted {
			texts[i] += " (" + human.Number(s.devices, "device") + ")"
		}
	}
	return name + redirectedTo + strings.Join(texts, ", ")
}

// redirected takes to which server the target sent a device: what is loaded is no longer the target alone, and nobody shall think so.
func (c *conductor) redirected(server string, index int) {
	if !c.redirects.add(server, index, c.sc.Devices()) {
		return
	}
	name := c.redirects.target(c.target.Name, false)
	c.ledger.Write(func(r *report.Run) { r.Target = name })
	c.ledger.Tell(report.Event{Kind: report.KindTarget, OK: true, Text: "target", Detail: name})
}

// noteRedirects writes down how many devices were where.
func (c *conductor) noteRedirects() {
	if text := c.redirects.target(c.target.Name, true); text != c.target.Name {
		c.ledger.Note("target %s", text)
	}
}
