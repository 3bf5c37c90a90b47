// Package doctor checks, before a run, what would spoil it: what the machine allows, whether the target is there
// and takes the credentials, and what its tier will not take. Each finding comes with its remedy.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Level is how grave a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // the run can be made; its figures may not be those one wants
	Problem Level = "problem" // the run would fail
)

// Finding is what one check found.
type Finding struct {
	Check  string `json:"check"`            // what was checked
	Level  Level  `json:"level"`            // how bad it is
	Text   string `json:"text"`             // what was found, in one line
	Remedy string `json:"remedy,omitempty"` // one line; empty when all is well
}

// Problems are the findings that would fail a run.
func Problems(all []Finding) []Finding {
	var out []Finding
	for _, f := range all {
		if f.Level == Problem {
			out = append(out, f)
		}
	}
	return out
}

// Machine checks what a plan needs of this machine: descriptors, local ports, memory and source addresses. It
// asks the target nothing, and takes no time worth mentioning.
func Machine(sc *scenario.Scenario, p *plan.Plan, facts host.Facts) []Finding {
	m := p.Machine
	var all []Finding
	for _, note := range sc.Fitted {
		all = append(all, Finding{Check: "settled", Level: OK, Text: note})
	}
	return append(all, descriptors(m, facts), ports(sc, m, facts), memory(m, facts), processors(m, facts), addresses(sc.Fleet.SourceAddresses, bind))
}

func descriptors(m plan.Machine, facts host.Facts) Finding {
	if facts.Descriptors == 0 {
		return Finding{Check: "descriptors", Level: OK, Text: fmt.Sprintf("%s needed, no limit known", count(m.Descriptors))}
	}
	f := level("descriptors", float64(m.Descriptors), float64(facts.Descriptors))
	f.Text = fmt.Sprintf("%s needed, %s allowed", count(m.Descriptors), count(facts.Descriptors))
	if f.Level != OK {
		f.Remedy = fmt.Sprintf("ulimit -n %d", roundUp(float64(m.Descriptors)/plan.Tight, 1000))
	}
	return f
}

func ports(sc *scenario.Scenario, m plan.Machine, facts host.Facts) Finding {
	if sc.Target.Transport == spec.Memory {
		return Finding{Check: "local ports", Level: OK, Text: "none needed: connections are in memory"}
	}
	needed := count(m.PerAddress) + " needed of each source address"
	if m.Destinations > 1 {
		needed += fmt.Sprintf(" towards each of %d hubs", m.Destinations)
	}
	if facts.Unknown.Has(host.UnknownPorts) {
		return Finding{Check: "local ports", Level: OK, Text: needed + "; this system does not tell how many there are"}
	}
	f := level("local ports", float64(m.PerAddress), float64(facts.Ports))
	f.Text = fmt.Sprintf("%s, %s there", needed, count(facts.Ports))
	if f.Level != OK {
		need := plan.Addresses(m.PerAddress*m.Addresses, facts.Ports)
		f.Remedy = fmt.Sprintf("name %d addresses of this machine in fleet.source_addresses; towards loopback 127.0.0.1 to 127.0.0.%d", need, need)
	}
	return f
}

func memory(m plan.Machine, facts host.Facts) Finding {
	if facts.Unknown.Has(host.UnknownMemory) {
		return Finding{Check: "memory", Level: OK, Text: fmt.Sprintf("about %s MB needed; this system does not tell how much there is", count(int(m.Memory/1e6)))}
	}
	f := level("memory", float64(m.Memory), float64(facts.MemoryAvailable))
	f.Text = fmt.Sprintf("about %s MB needed, %s MB available", count(int(m.Memory/1e6)), count(int(facts.MemoryAvailable/1e6)))
	if f.Level != OK {
		f.Remedy = "give the machine or its container more memory, or run fewer devices" + cheaper(m)
	}
	return f
}

// processors never fails a run: how fast this machine is nobody knows before.
func processors(m plan.Machine, facts host.Facts) Finding {
	f := Finding{Check: "processors", Level: OK, Text: fmt.Sprintf("about %.1f of %d needed in the busiest second, with the client %s", m.Processors, facts.Cores, m.Client)}
	if m.Processors > plan.Tight*float64(facts.Cores) {
		f.Level, f.Remedy = Warning, "let devices connect over more time, or give the machine more processors"+cheaper(m)
	}
	return f
}

// cheaper says that there is a client that takes less.
func cheaper(m plan.Machine) string {
	if m.Client == "lean" {
		return ""
	}
	return ", or write fleet.client: lean"
}

// level compares what is needed with what there is.
func level(check string, needed, there float64) Finding {
	switch {
	case needed > there:
		return Finding{Check: check, Level: Problem}
	case needed > plan.Tight*there:
		return Finding{Check: check, Level: Warning}
	default:
		return Finding{Check: check, Level: OK}
	}
}

// addresses tries to use every source address.
func addresses(all []string, bind func(address string) error) Finding {
	f := Finding{Check: "source addresses", Level: OK, Text: "the system's choice"}
	if len(all) == 0 {
		return f
	}
	f.Text = fmt.Sprintf("%d, all of this machine", len(all))
	for _, a := range all {
		if err := bind(a); err != nil {
			f.Level, f.Text = Problem, fmt.Sprintf("%s cannot be used: %v", a, plain(err))
			f.Remedy = fmt.Sprintf("take %s out of fleet.source_addresses, or give it to this machine: ip address add %s dev lo", a, a)
			break
		}
	}
	return f
}

// bind opens a port of an address and closes it.
func bind(address string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return err
	}
	return l.Close()
}

// Tier checks the limits of a plan's tier that it will exceed for sure, and its daily quota; they are no problem of
// the run, which may want to show just that.
func Tier(sc *scenario.Scenario, p *plan.Plan) []Finding {
	if p.Tier == nil {
		if !sc.Target.Can().Registry {
			return nil
		}
		f := Finding{Check: "tier", Level: OK, Text: "not told; give --tier and --units to hold the scenario to the hub's"}
		if p.Steady != nil {
			f.Text += fmt.Sprintf(". A day that goes on %s counts for up to %s messages", p.Steady, count(int(math.Ceil(p.Metering.Day-1e-6))))
		}
		return []Finding{f}
	}
	use, text := p.Quota()
	quota := Finding{Check: "daily quota", Level: OK, Text: text}
	if use != plan.QuotaFits {
		quota.Level = Warning
	}
	remedy, lasting := purchase(p)
	if len(p.Tier.Exceeded) == 0 && use == plan.QuotaFits && lasting != "" {
		return []Finding{{Check: "tier", Level: Warning, Text: "a run keeps within the limits of " + p.Tier.Name() + "; a day of it does not: " + lasting, Remedy: remedy}, quota}
	}
	if len(p.Tier.Exceeded) == 0 && use == plan.QuotaFits {
		return []Finding{{Check: "tier", Level: OK, Text: "within the limits of " + p.Tier.Name()}, quota}
	}
	var all []Finding
	for _, x := range p.Tier.Exceeded {
		all = append(all, Finding{Check: "tier", Level: Warning, Text: x, Remedy: remedy})
	}
	if all == nil {
		all = []Finding{{Check: "tier", Level: OK, Text: "within the rates of " + p.Tier.Name()}}
	}
	if quota.Level != OK {
		quota.Remedy = remedy
	}
	return append(all, quota)
}

// purchase is what to do about a tier that does not take a plan, and which of its limits a day of it exceeds for sure; "" for none.
func purchase(p *plan.Plan) (remedy, lasting string) {
	remedy = "lower the rates, or spread them over more time: no tier takes them"
	market, err := buy.BuiltIn()
	if err != nil {
		return remedy, ""
	}
	found, err := market.Find(&p.Need, buy.Options{Tier: p.Tier.Tier, Units: p.Tier.Units})
	if err != nil {
		return remedy, ""
	}
	if b := found.Best; b != nil {
		remedy = fmt.Sprintf("take %s of %s, or lower the rates", human.Number(b.Units, "unit"), b.Tier)
	}
	if len(found.Held.Fails) > 0 {
		lasting = found.Held.Fails[0]
	}
	return remedy, lasting
}

// Target is what can be asked of a target without loading it.
type Target interface {
	Address() string
	Secure() bool
	Resolve(ctx context.Context) ([]string, error)
	Dial(ctx context.Context) error
	// Handshake says what was agreed on in it, or "" for nothing that is worth a word.
	Handshake(ctx context.Context) (agreed string, err error)
	// Proxy is the one on the way, host:port; empty for none. Dial opens a connection to it, Through has it open one to the target.
	Proxy() string
	Through(ctx context.Context) error
	// Unchecked reports whether the target's certificate is not checked.
	Unchecked() bool
	// Version is that of MQTT which devices of a broker speak; empty for another target.
	Version() string
	Identities(ctx context.Context) (int, error)
	// Redirected is to which server, host:port, a broker sent the device with which Identities asked, and which followed; empty for none.
	Redirected() string
	Clock(ctx context.Context) (at time.Time, ok bool, err error)
}

func count(n int) string { return human.Count(n) }

func roundUp(x float64, to int) int { return int(math.Ceil(x/float64(to))) * to }

// plain is the last part of an error: what the system said, without where.
func plain(err error) error {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return errors.New(strings.TrimSpace(err.Error()))
}
