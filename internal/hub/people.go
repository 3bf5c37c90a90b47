package hub

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
	dpsfaults "github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/page"
	"github.com/twinfleet/twinfleet/internal/hub/pointing"
	"github.com/twinfleet/twinfleet/internal/hub/servicetime"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// people is the hub as its page sees it.
type people struct {
	*Hub

	mu       sync.Mutex // protects the following fields
	sessions page.Sessions
	counted  time.Time
}

var _ page.Hub = (*people)(nil)

// recount is how often sessions are counted, which walks over all of them.
const recount = 10 * time.Second

func (p *people) List(after, search string, top int) []*twin.Twin {
	return p.store.List(after, search, top)
}

func (p *people) Twin(key string) (*twin.Twin, error) { return p.store.Twin(key) }

func (p *people) Session(key string) page.Session {
	s := p.devices.Session(key)
	out := page.Session{Connected: s.Connected, Kept: s.Kept, Waiting: s.Waiting, Listens: []string{}}
	words := map[devices.Kind]string{
		devices.TwinResponses: "answers to twin requests", devices.Desired: "desired properties", devices.Methods: "direct methods",
		devices.Messages: "messages", devices.Inputs: "inputs",
	}
	for _, kind := range s.Listens {
		out.Listens = append(out.Listens, words[kind])
	}
	return out
}

func (p *people) Query(ctx context.Context, text string, size int, continuation string) (out paging.Page, err error) {
	q, err := query.Parse(text)
	if err != nil {
		return out, err
	}
	switch q.From {
	case tree.Jobs:
		out, err = p.jobs.Query(ctx, q, size, continuation)
	case tree.Modules:
		out, err = q.Plan(p.store.Modules()).Run(ctx, size, continuation)
	default:
		out, err = q.Plan(p.store).Run(ctx, size, continuation)
	}
	if errors.Is(err, paging.ErrContinuation) {
		return out, iothub.ErrArgumentInvalid.With("%v", err)
	}
	return out, err
}

func (p *people) Numbers() page.Numbers {
	s := p.Stats()
	f := p.Faults().State()
	n := page.Numbers{
		Host: p.opts.HostName, Address: p.Addr(), Tier: p.opts.Tier, Units: p.opts.Units, Devices: s.Devices, Connected: s.Connected,
		Sockets: s.Front.Connections, Packets: s.Front.Packets, Telemetry: s.Telemetry, Sessions: p.countSessions(),
		QuotaUsed: s.QuotaUsed, Quota: s.Quota, Refused: s.Refused,
		Faults: page.Faults{Refuse: f.Refuse.Seconds(), Stall: f.Stall.Seconds(), DropAcks: f.DropAcks, Slow: f.Slow},
	}
	if d := p.DPS(); d != nil {
		s, f := d.Stats(), d.Faults().Now()
		n.DPS = &page.Provisioning{
			Scope: d.IDScope(), Endpoint: d.Endpoint(), Known: s.Known, Assigning: s.Assigning, Results: s.Registrations,
			Faults: page.ProvisioningFaults{Throttle: f.Throttle, Fail: f.Fail, Disable: f.Disable, Mute: f.Mute, Close: f.Close, Slow: f.Slow.Seconds()},
		}
	}
	for _, class := range tier.Classes() {
		c := page.Class{Name: string(class), Served: s.Served[class]}
		for _, t := range s.Throttles {
			if t.Class == class {
				c.Rate, c.Tokens, c.Waiting, c.Wait, c.Delayed, c.Rejected = t.Rate, t.Tokens, t.Waiting, t.Wait.Seconds(), t.Delayed, t.Rejected
			}
		}
		n.Classes = append(n.Classes, c)
	}
	return n
}

// countSessions counts them now and then.
func (p *people) countSessions() page.Sessions {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counted.IsZero() || time.Since(p.counted) >= recount {
		n := p.devices.Sessions()
		p.sessions, p.counted = page.Sessions{Kept: n.Kept, Away: n.Away, Waiting: n.Waiting}, time.Now()
	}
	return p.sessions
}

func (p *people) Switch(f page.Fault) {
	d := time.Duration(f.Seconds * float64(time.Second))
	switch s := p.Faults(); f.Kind {
	case "stall":
		s.Stall(d)
	case "refuse":
		s.Refuse(d)
	case "restart":
		p.Restart(d)
	case "drop":
		s.DropAcks(f.Share)
	case "slow":
		var m *servicetime.Model
		if f.Servers > 0 {
			m = &servicetime.Model{Servers: f.Servers, Time: time.Duration(f.Time * float64(time.Millisecond)), Exponential: f.Exponential, Seed: 1}
		}
		s.Serve(m)
	case "dps":
		if d := p.DPS(); d != nil {
			d.Faults().Set(dpsfaults.Faults{
				Throttle: f.DPS.Throttle, Fail: f.DPS.Fail, Disable: f.DPS.Disable, Mute: f.DPS.Mute, Close: f.DPS.Close,
				Slow: time.Duration(f.DPS.Slow * float64(time.Second)),
			})
		}
	}
}

func (p *people) Modules(id string) ([]string, error) {
	all, err := p.store.DeviceModules(id)
	ids := make([]string, len(all))
	for i, m := range all {
		ids[i] = m.ModuleID
	}
	return ids, err
}

func (p *people) Identity(key string) (registry.Identity, error) { return p.store.Device(key) }

func (p *people) Sign(i *registry.Identity, life time.Duration) string {
	expiry := time.Now().Add(life)
	if i == nil {
		return sas.Sign(p.opts.HostName, p.policies["iothubowner"].Primary, "iothubowner", expiry)
	}
	return sas.Sign(p.opts.HostName+entity.Path(i.Key()), i.Authentication.SymmetricKey.Primary, "", expiry)
}

func (p *people) Pointing() pointing.Options {
	o := pointing.Options{Host: p.opts.HostName, CA: p.CA(), OwnerKey: p.policies["iothubowner"].Primary.Base64()}
	for i, l := range p.listeners {
		_, port, _ := net.SplitHostPort(l.Addr().String()) // a TCP address has one
		n, _ := strconv.Atoi(port)
		if i == 0 {
			o.Port = n
		}
		o.MQTTS, o.HTTPS = o.MQTTS || n == 8883, o.HTTPS || n == 443
	}
	return o
}

// pageFor makes the page; nil when there is to be none.
func (h *Hub) pageFor(rest http.Handler) *page.Server {
	if !h.opts.Page {
		return nil
	}
	return page.New(page.Options{
		Hub: &people{Hub: h}, REST: rest, Tap: &h.tap, Host: h.opts.HostName, Remote: h.opts.AllowRemote, Logger: h.log,
	})
}

// PageURL is where a person finds the hub's page, with the token to act there, which is a secret; empty when there is no page.
func (h *Hub) PageURL() string {
	if h.page == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(h.Addr())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); h.opts.HostName != "localhost" && ip != nil && !ip.IsLoopback() {
		host = h.opts.HostName
	} else {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, cmp.Or(port, "80")) + "/#token=" + h.page.Token()
}
