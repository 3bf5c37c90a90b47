package target

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// provisioner is a provisioning service as devices of one group reach it.
type provisioner struct {
	scope  string
	dial   link.Dialer                   // TCP, or what stands for it
	secure func(link.Dialer) link.Dialer // what is spoken on it; nil for nothing
	tls    *tls.Config                   // of devices with certificates
}

// Provisioning is how the devices of a group are assigned to the target by a provisioning service; nil for a group that does without.
func (t *Target) Provisioning(g *scenario.Group) *fleet.Provisioning {
	d := g.Identity.DPS
	if d == nil {
		return nil
	}
	s := t.provisioner(d)
	return &fleet.Provisioning{
		Link:     func(index int, id string) link.Options { return t.registration(s, index, id) },
		Assigned: func(index int, a fleet.Assignment) error { return t.assigned(t.devices.IDs[index], a) },
		Timeout:  d.Timeout,
	}
}

// provisioner is the provisioning service of a group.
func (t *Target) provisioner(d *scenario.DPS) *provisioner {
	if t.Can.InProcess { // it is on the hub's own port, and speaks MQTT there whatever the group speaks
		return &provisioner{scope: t.scope, dial: t.Dialer(true), tls: t.places[0].certTLS}
	}
	x := spec.Endpoint{Host: strings.Trim(d.Host(), "[]"), Addr: d.Address(), TLS: !t.sc.Target.Plain}
	s := &provisioner{scope: d.Scope, tls: clientTLS(x.Host, t.Roots())}
	s.dial, s.secure = t.places[0].transportTo(x)
	return s
}

// registration is what the connection of a device to its provisioning service needs (iot-mqtt-connect-to-iot-dps).
func (t *Target) registration(s *provisioner, index int, id string) link.Options {
	bare := s.dial
	if t.sc.Networks() {
		bare = t.Network.Dial(index, s.dial)
	}
	o := link.Options{ClientID: id, CleanSession: true, Dial: bare, Username: dps.Name{IDScope: s.scope, RegistrationID: id}.String()}
	if t.devices.certified(index) {
		o.Dial = t.certified(bare, s.tls, index)
		return o
	}
	if s.secure != nil {
		o.Dial = s.secure(bare)
	}
	key := t.devices.proof(index).key
	o.Password = func() string {
		return sas.Sign(dps.Resource(s.scope, id), key, dps.TokenPolicy, time.Now().Add(tokenLife))
	}
	return o
}

// certified dials over TLS with the certificate of a device, which is made when it is needed for the first time.
func (t *Target) certified(bare link.Dialer, config *tls.Config, index int) link.Dialer {
	if t.devices.proof(index).cert == nil {
		if err := t.devices.certify(index); err != nil {
			return func(context.Context) (net.Conn, error) { return nil, err }
		}
	}
	return link.TLS(bare, presenting(config, t.devices.proof(index).cert))
}

// ErrElsewhere is the class of errors of devices that a provisioning service assigned where the run does not look for them.
var ErrElsewhere = errors.New("the device was assigned elsewhere")

// elsewhereError is why a device cannot go where it was assigned: all that a run loads and measures is its target.
type elsewhereError struct{ why, detail string }

func (e *elsewhereError) Error() string   { return e.why + ": " + e.detail }
func (e *elsewhereError) Reason() string  { return e.why }
func (e *elsewhereError) Is(x error) bool { return x == ErrElsewhere }

// assigned holds an assignment to the target. Errors match ErrElsewhere.
func (t *Target) assigned(id string, a fleet.Assignment) error {
	switch {
	case !sameHub(a.Hub, t.places[0].host):
		return &elsewhereError{"assigned to another hub than the target", fmt.Sprintf("%q, not %q", a.Hub, t.places[0].host)}
	case a.Device != id:
		return &elsewhereError{"assigned as another device than it registered as", fmt.Sprintf("%q, not %q", a.Device, id)}
	}
	return nil
}

// sameHub tells whether two host names are of one hub; a port counts when both have one.
func sameHub(a, b string) bool {
	nameA, portA, errA := net.SplitHostPort(a)
	nameB, portB, errB := net.SplitHostPort(b)
	if errA != nil {
		nameA = a
	}
	if errB != nil {
		nameB = b
	}
	return strings.EqualFold(nameA, nameB) && (errA != nil || errB != nil || portA == portB)
}
