package peer

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/deviceauth"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// Peer is who is at the other end of a connection. It is safe for concurrent use.
type Peer struct {
	front *Front
	conn  *engine.Conn

	mu     sync.Mutex // protects the following fields; the connection may be called with it held, but nobody else
	slots  map[string]*slot
	held   map[*engine.Link]claim // by what right each link is there
	values map[any]any
	alone  bool // who came by SASL PLAIN shows nothing more
	over   bool
}

// claim is the right by which a link is there: that of a device, or that of a policy to do something below a path.
type claim struct {
	slot   *slot // that gives it; nil for a certificate
	client string
	right  policy.Rights
	path   address.Address
}

var _ engine.User = (*Peer)(nil)

// Conn is the connection.
func (p *Peer) Conn() *engine.Conn { return p.conn }

// Context ends when the Front closes.
func (p *Peer) Context() context.Context { return p.front.ctx }

// Waits reports whether what is called for the connection may wait now.
func (p *Peer) Waits() bool { return p.front.patient() }

// Faults is the switch that makes the hub misbehave on purpose.
func (p *Peer) Faults() *faults.Switch { return p.front.opts.Faults }

// Value is what a kind of links keeps for the connection under a key of its own, made by make if there is none.
func (p *Peer) Value(key any, make func() any) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok := p.values[key]
	if !ok {
		v = make()
		if p.values == nil {
			p.values = map[any]any{}
		}
		p.values[key] = v
	}
	return v
}

// Plain implements engine.User: the user is {device}[/modules/{module}]@sas.{hub} or {policy}@sas.root.{hub}, the password a shared access
// signature (iot-hub-dev-guide-sas).
func (p *Peer) Plain(user, password string) error {
	at := strings.LastIndexByte(user, '@') // an id may have such a sign
	if at <= 0 {
		return iothub.ErrUnauthorized
	}
	name, hub := user[:at], user[at+1:]
	token, err := sas.Parse(password)
	if err != nil {
		return err
	}
	var s *slot
	if strings.HasPrefix(strings.ToLower(hub), "sas.root.") {
		if token.Policy != name {
			return iothub.ErrUnauthorized
		}
		s, err = p.front.check(token, password)
	} else {
		client := strings.Replace(name, "/modules/", "/", 1)
		s, err = p.front.checkDevice(client, password)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alone = true
	p.put(s)
	return nil
}

// External implements engine.User: a certificate there must be; whose it is the first link tells.
func (p *Peer) External() error {
	if len(deviceauth.Chain(p.conn.Net())) == 0 {
		return iothub.ErrUnauthorized
	}
	return nil
}

// Opened implements engine.User: who has shown the certificate of the device that it names may stay, also before it attaches a link.
func (p *Peer) Opened() {
	shown := deviceauth.Chain(p.conn.Net())
	if len(shown) == 0 {
		return
	}
	if _, err := p.front.opts.Identities.Authenticate(devices.Claim{Client: shown[0].Subject.CommonName, Chain: shown}); err == nil {
		p.conn.Identified()
	}
}

// ErrAlone is returned for a token on a connection that was opened with SASL PLAIN, which is one identity's.
var ErrAlone = errors.New("the connection is one identity's, by SASL PLAIN")

// Attach implements engine.User.
func (p *Peer) Attach(l *engine.Link, a *amqp.Attach) (engine.Grant, error) {
	grant, err := p.attach(l, a)
	if err == nil {
		grant.Handler = &holder{grant.Handler, p, l}
		return grant, nil
	}
	p.release(l)
	if p.front.opts.Logger.Enabled(p.front.ctx, slog.LevelDebug) {
		p.front.opts.Logger.Debug("an AMQP link was refused", "reason", err)
	}
	return engine.Grant{}, condition.Of(err)
}

func (p *Peer) attach(l *engine.Link, a *amqp.Attach) (engine.Grant, error) {
	sends := a.Role == amqp.RoleSender
	value := a.Source.Address
	if sends {
		value = a.Target.Address
	}
	text, _ := value.Text()
	to, err := address.Parse(text)
	if err != nil {
		return engine.Grant{}, err
	}
	for i := range p.front.opts.Kinds {
		k := &p.front.opts.Kinds[i]
		if k.Sends == sends && k.Match(to) {
			return k.Attach(p, Request{l, a, to})
		}
	}
	return engine.Grant{}, address.ErrMalformed
}

// holder is a Handler whose link holds a right.
type holder struct {
	engine.Handler
	peer *Peer
	link *engine.Link
}

// Detached implements engine.Handler.
func (h *holder) Detached() {
	h.peer.release(h.link)
	h.Handler.Detached()
}

func (p *Peer) release(l *engine.Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, l)
}

// Ended implements engine.User.
func (p *Peer) Ended(why error) {
	p.mu.Lock()
	p.over = true
	p.slots, p.values = nil, nil
	p.mu.Unlock()
	if p.front.opts.Logger.Enabled(p.front.ctx, slog.LevelDebug) {
		p.front.opts.Logger.Debug("AMQP connection ended", "peer", p.conn.Peer().Container, "reason", why)
	}
}

// AsDevice checks that the peer is a device or a module, or may act for it, and holds that right for a link: when it expires and nothing
// else gives it, the link is detached. Errors are those of devices.Table.Authenticate, and iothub.ErrUnauthorized.
func (p *Peer) AsDevice(l *engine.Link, client string) (devices.Proof, error) {
	c, shown := claim{client: client}, devices.Claim{Client: client}
	p.mu.Lock()
	if c.slot = p.find(c); c.slot != nil {
		shown.Token = c.slot.token
	}
	p.mu.Unlock()
	if shown.Token == "" {
		if shown.Chain = deviceauth.Chain(p.conn.Net()); len(shown.Chain) == 0 {
			return devices.Proof{}, iothub.ErrUnauthorized.With("Unauthorized: the connection holds no token for the device")
		}
	}
	proof, err := p.front.opts.Identities.Authenticate(shown)
	if err != nil {
		return proof, refusal(err)
	}
	p.conn.Identified()
	p.hold(l, c)
	return proof, nil
}

// AsPolicy checks that the peer has shown a token of a policy with a right, for a path, and holds that right for a link as AsDevice does.
// The error is iothub.ErrUnauthorizedAccess.
func (p *Peer) AsPolicy(l *engine.Link, right policy.Rights, path address.Address) error {
	c := claim{right: right, path: path}
	p.mu.Lock()
	c.slot = p.find(c)
	p.mu.Unlock()
	if c.slot == nil {
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: the connection holds no token of a policy that allows this")
	}
	p.hold(l, c)
	return nil
}

func (p *Peer) hold(l *engine.Link, c claim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = make(map[*engine.Link]claim)
	}
	p.held[l] = c
}

// refusal is an error of authentication as a client reads it: an unknown identity is told, all else is unauthorized.
func refusal(err error) error {
	var e *iothub.Error
	if errors.As(err, &e) {
		return e
	}
	return iothub.ErrUnauthorized.With("Unauthorized: %v", err)
}

// Alarm implements engine.User: tokens have expired.
func (p *Peer) Alarm() {
	now := time.Now()
	var orphans []*engine.Link
	p.mu.Lock()
	expired := false
	for key, s := range p.slots {
		if !s.until.After(now) {
			delete(p.slots, key)
			s.expired, expired = true, true
		}
	}
	for l, c := range p.held {
		if c.slot == nil || !c.slot.expired {
			continue
		}
		if c.slot = p.find(c); c.slot != nil {
			p.held[l] = c
			continue
		}
		orphans = append(orphans, l)
	}
	p.rearm()
	alone := p.alone && expired
	p.mu.Unlock()
	for _, l := range orphans {
		l.Detach(condition.Unauthorized(textExpired))
	}
	if alone {
		p.conn.Close(condition.Unauthorized(textExpired))
	}
}

// textExpired is what the service says when a token has expired (azure-iot-sdk-java issue 180).
const textExpired = "Token Invalid."
