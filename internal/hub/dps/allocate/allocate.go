// Package allocate decides which hub a device is given: evenly, as its enrollment says, as a webhook says, or by rules.
package allocate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"path"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/dps/enrollment"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
)

// Rule stands in for a webhook, so that a custom allocation needs no other program: it decides about the devices whose
// registration ids match a pattern, when their enrollment has the allocation policy custom and no webhook.
type Rule struct {
	// Match is a pattern of a registration id in lower case: * stands for any text, ? for a character, [a-f] for one of
	// several (path.Match).
	Match string `json:"match"`
	// Hub is the name of a linked hub; the first one when empty.
	Hub string `json:"hub,omitempty"`
	// InitialTwin takes the place of the enrollment's; nil for that.
	InitialTwin *enrollment.InitialTwin `json:"initialTwin,omitempty"`
	// Payload goes to the device in its registration state; any JSON, nil for none.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Refuse lets the registration fail, as a webhook does that answers with an error.
	Refuse bool `json:"refuse,omitempty"`
}

// Check refuses a rule that could never match, or names a hub that is not linked.
func (r Rule) Check(linked []string) error {
	if _, err := path.Match(r.Match, ""); r.Match == "" || err != nil {
		return fmt.Errorf("allocation rule: match %q is no pattern", r.Match)
	}
	if r.Match != dps.Fold(r.Match) {
		return fmt.Errorf("allocation rule: match %q has upper case; registration ids are compared in lower case", r.Match)
	}
	if _, ok := among(linked, r.Hub); r.Hub != "" && !ok {
		return fmt.Errorf("allocation rule: the hub %q is not linked; linked: %s", r.Hub, strings.Join(linked, ", "))
	}
	return nil
}

// Request is a device that needs a hub.
type Request struct {
	Enrollment     *enrollment.Enrollment // that admits it
	RegistrationID string                 // as the device wrote it
	X509           bool                   // it showed a certificate
	Payload        json.RawMessage        // that it sent; nil for none
	CurrentHub     string                 // empty for a device that has none yet
	CurrentDevice  string                 // its device id there
}

// Decision is where a device goes.
type Decision struct {
	Hub         string                  // its name, as the service has it
	InitialTwin *enrollment.InitialTwin // nil for an empty one
	Payload     json.RawMessage         // for the device; nil for none
}

// Allocator decides.
type Allocator struct {
	Linked  []string // names of the hubs; at least one
	Rules   []Rule   // the first that matches holds
	Webhook *Webhook // nil refuses webhooks
}

// ErrFailed is the class of errors of a custom allocation that did not decide; the text is for the device.
var ErrFailed = errors.New("custom allocation failed")

type failure string

func (f failure) Error() string        { return string(f) }
func (f failure) Is(target error) bool { return target == ErrFailed }

// Decide gives a device a hub. Errors match ErrFailed.
func (a *Allocator) Decide(ctx context.Context, r Request) (Decision, error) {
	hubs := r.Enrollment.AllowedHubs(a.Linked)
	d := Decision{InitialTwin: r.Enrollment.InitialTwin}
	switch r.Enrollment.Allocation {
	case enrollment.Custom:
		return a.custom(ctx, r, hubs)
	case enrollment.Hashed:
		h := fnv.New32a()
		_, _ = h.Write([]byte(dps.Fold(r.RegistrationID))) // never fails
		d.Hub = hubs[int(h.Sum32())%len(hubs)]
	default: // the first is named, or as near as any
		d.Hub = hubs[0]
	}
	d.Hub, _ = among(a.Linked, d.Hub)
	if d.Hub == "" { // what was linked when the enrollment was written is not any more
		d.Hub = a.Linked[0]
	}
	return d, nil
}

func (a *Allocator) custom(ctx context.Context, r Request, hubs []string) (Decision, error) {
	if r.Enrollment.Webhook != nil && r.Enrollment.Webhook.URL != "" {
		if a.Webhook == nil {
			return Decision{}, failure("Custom allocation failed: this service asks no webhooks")
		}
		d, err := a.Webhook.ask(ctx, r, hubs)
		if err != nil {
			return Decision{}, err
		}
		return a.allowed(d, hubs)
	}
	id := dps.Fold(r.RegistrationID)
	for _, rule := range a.Rules {
		if ok, _ := path.Match(rule.Match, id); !ok {
			continue
		}
		if rule.Refuse {
			return Decision{}, failure("Custom allocation failed: a rule refuses the device")
		}
		d := Decision{Hub: rule.Hub, InitialTwin: rule.InitialTwin, Payload: rule.Payload}
		if d.Hub == "" {
			d.Hub = hubs[0]
		}
		if d.InitialTwin == nil {
			d.InitialTwin = r.Enrollment.InitialTwin
		}
		return a.allowed(d, hubs)
	}
	return Decision{}, failure("Custom allocation failed: no rule matches the registration id")
}

// allowed spells the hub of a decision as the service does, and refuses one that is not among the hubs.
func (a *Allocator) allowed(d Decision, hubs []string) (Decision, error) {
	name, ok := among(a.Linked, d.Hub)
	if _, listed := among(hubs, d.Hub); !ok || !listed {
		return Decision{}, failure("Custom allocation failed: the hub that was chosen is not one of the linked hubs")
	}
	d.Hub = name
	return d, nil
}

// among finds a name without regard to case.
func among(names []string, name string) (string, bool) {
	i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	if i < 0 {
		return "", false
	}
	return names[i], true
}
