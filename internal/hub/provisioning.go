package hub

import (
	"net"

	"github.com/twinfleet/twinfleet/internal/hub/dps"
)

// devicePort is where devices look for a hub that is named without a port.
const devicePort = "8883"

// provisioning is what the provisioning service is given by the hub.
func (h *Hub) provisioning() dps.Config {
	name, endpoint := h.opts.HostName, h.opts.HostName
	if _, port, err := net.SplitHostPort(h.Addr()); err == nil {
		endpoint = net.JoinHostPort(name, port)
		if port != devicePort {
			name = endpoint
		}
	}
	return dps.Config{
		Options: *h.opts.DPS, Logger: h.log, Keeper: h.keeper(), Hub: h.store, HostName: name, Endpoint: endpoint,
		Authority: h.ca.Certificate(), Issue: h.ca.Sign, Bearer: h.opts.Bearer,
	}
}

// DPS is the provisioning service beside the hub; nil when there is none.
func (h *Hub) DPS() *dps.Service { return h.dps }
