package peer

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// maxTokens is how many tokens a connection holds (iotedge-lorawan-starterkit issue 1337).
const maxTokens = 1000

// maxToken is the longest token that is kept, in bytes: those of SDKs have a few hundred.
const maxToken = 8 << 10

// ErrTooManyTokens is returned for one more.
var ErrTooManyTokens = fmt.Errorf("the maximum number of tokens per connection (%d) has been reached", maxTokens)

// slot is a token that the peer has shown. What is in it changes under the lock of the Peer when the token is renewed.
type slot struct {
	key     string // which token it renews
	token   string
	client  string          // the device or module whose own token it is; empty for a policy's
	rights  policy.Rights   // of a policy's
	path    address.Address // below which a policy's token is good; none for anywhere
	until   time.Time       // when it is of no more use, grace and all
	expired bool
}

// devicesBelow is how many devices' links a token of a policy may open on one connection.
const devicesBelow = 1000

// MaxLinks is how many links each identity has at most, and one connection beside them: one with everything has six, or eight with two twin
// pairs.
const MaxLinks = 16

// sessionsOf is how many sessions each identity has at most.
const sessionsOf = 2

// PutToken takes a token that the peer shows. It is known for what it is by the token itself, and replaces the one before of the same
// identity. Errors: those of package sas, of devices.Table.Authenticate, ErrAlone, ErrTooManyTokens.
func (p *Peer) PutToken(text string) error {
	if len(text) > maxToken {
		return sas.ErrMalformed
	}
	token, err := sas.Parse(text)
	if err != nil {
		return err
	}
	s, err := p.front.check(token, text)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.alone:
		return ErrAlone
	case p.slots[s.key] == nil && len(p.slots) >= maxTokens:
		return ErrTooManyTokens
	}
	p.put(s)
	return nil
}

// put takes a token that was checked. The caller holds the lock.
func (p *Peer) put(s *slot) {
	if p.over {
		return
	}
	if old := p.slots[s.key]; old != nil {
		*old = *s
	} else {
		if p.slots == nil {
			p.slots = make(map[string]*slot)
		}
		p.slots[s.key] = s
	}
	n := len(p.slots)
	for _, s := range p.slots {
		if s.rights&policy.DeviceConnect != 0 {
			n = devicesBelow
			break
		}
	}
	p.conn.Identified()
	p.conn.SetLimits(MaxLinks*(n+1), MaxLinks+sessionsOf*n)
	p.rearm()
}

// rearm sets the alarm to the first token that expires. The caller holds the lock.
func (p *Peer) rearm() {
	var first time.Time
	for _, s := range p.slots {
		if first.IsZero() || s.until.Before(first) {
			first = s.until
		}
	}
	p.conn.Wake(first)
}

// find is a token that gives a right; nil for none. The caller holds the lock.
func (p *Peer) find(c claim) *slot {
	right, path := c.right, c.path
	if c.client != "" {
		if s := p.slots[c.client]; s != nil {
			return s
		}
		right, path = policy.DeviceConnect, devicePath(c.client)
	}
	for _, s := range p.slots {
		if s.client == "" && s.rights&right == right && covers(s.path, path, c.client != "") {
			return s
		}
	}
	return nil
}

func devicePath(client string) address.Address {
	device, module := entity.Split(client)
	if module == "" {
		return address.Address{"devices", device}
	}
	return address.Address{"devices", device, "modules", module}
}

// covers reports whether what begins with a path is a given one. Only ids of devices have a case.
func covers(path, want address.Address, ofDevice bool) bool {
	if len(path) > len(want) {
		return false
	}
	for i, s := range path {
		if s != want[i] && (ofDevice && i%2 == 1 || !strings.EqualFold(s, want[i])) {
			return false
		}
	}
	return true
}

// check checks a token by what it is for.
func (f *Front) check(token sas.Token, text string) (*slot, error) {
	path := pathOf(token.Resource)
	if token.Policy == "" {
		client, rest, ok := path.Device()
		if !ok || len(rest) > 0 {
			return nil, iothub.ErrUnauthorized.With("Unauthorized: the token is for no device, and names no policy")
		}
		s, err := f.checkDevice(client, text)
		if errors.Is(err, iothub.ErrDeviceNotFound) || errors.Is(err, iothub.ErrModuleNotFound) {
			if again, _, ok := decodedPath(path).Device(); ok { // .NET encodes ids twice
				return f.checkDevice(again, text)
			}
		}
		return s, err
	}
	p, ok := f.opts.Policies[token.Policy]
	if !ok {
		return nil, iothub.ErrUnauthorized.With("Unauthorized: no such shared access policy")
	}
	keys := []sas.Key{p.Primary, p.Secondary}
	if len(path) > 0 && !strings.EqualFold(path[0], "devices") {
		keys = append(keys, p.Primary.OfText(), p.Secondary.OfText()) // clients of Event Hubs sign with the text of a key
	}
	if err := token.Verify(time.Now(), keys...); err != nil {
		return nil, err
	}
	return &slot{
		key: token.Policy + "\n" + strings.ToLower(token.Resource), token: text, rights: p.Rights, path: path, until: token.Expiry.Add(f.opts.TokenGrace),
	}, nil
}

// checkDevice checks a token for a device or a module.
func (f *Front) checkDevice(client, text string) (*slot, error) {
	proof, err := f.opts.Identities.Authenticate(devices.Claim{Client: client, Token: text})
	if err != nil {
		return nil, err
	}
	return &slot{key: client, token: text, client: client, until: proof.Expiry.Add(f.opts.TokenGrace)}, nil
}

// pathOf is the path of a resource, without scheme, host and port.
func pathOf(resource string) address.Address {
	for range 2 { // a resource that is still encoded counts as what it stands for
		_, rest, ok := strings.Cut(resource, "://")
		if !ok {
			rest = resource
		}
		host, path, _ := strings.Cut(strings.Trim(rest, "/"), "/")
		if !strings.Contains(host, "%") {
			if path == "" {
				return nil
			}
			return strings.Split(path, "/")
		}
		decoded, err := url.PathUnescape(resource)
		if err != nil {
			break
		}
		resource = decoded
	}
	return address.Address{"?"} // covers nothing
}

// decodedPath is a path whose segments are decoded once more; nil when that changes nothing.
func decodedPath(path address.Address) address.Address {
	changed := false
	decoded := make(address.Address, len(path))
	for i, s := range path {
		d, err := url.PathUnescape(s)
		if err != nil {
			return nil
		}
		decoded[i] = d
		changed = changed || d != s
	}
	if !changed {
		return nil
	}
	return decoded
}
