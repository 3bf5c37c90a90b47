// Package kube writes the manifests with which Kubernetes runs one scenario on many machines: agents, a coordinator, NATS, and what they
// need. How large they are follows from the plan of the scenario. No secret is in them: they name Secrets that are there already.
package kube

import (
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// ErrOptions is returned for options that cannot be carried out, and for a scenario that cannot run in pods.
var ErrOptions = errors.New("no manifests can be made of this")

// DefaultImage is the image unless another is named.
const DefaultImage = "twinfleet:0.1.0"

// MaxAgents is how many agents a run has at the most.
const MaxAgents = 1000

// What a pod has towards one target: every port but those that only root may use. The kernel's usual range is less than half of it.
const (
	firstPort = 1024
	podPorts  = 65535 - firstPort + 1
)

// Usual is what an agent is taken to have where nobody says how many there are: two processors, 4 GB, and descriptors as a usual runtime
// allows them at the least.
func Usual() host.Facts {
	return host.Facts{Cores: 2, Memory: 4e9, MemoryAvailable: 4e9, Descriptors: 20_000, Ports: podPorts}
}

// Options of Make.
type Options struct {
	File string           // the scenario's name, which files that it names are beside
	Text []byte           // the scenario
	Read scenario.Options // how to read it; a variable that is not set need not be
	// Agents is how many there are; 0 for as many as PerAgent makes.
	Agents int
	// PerAgent is how many devices one runs at the most, when Agents is 0; 0 for what an agent like Usual holds.
	PerAgent int
	// Redistributes says that devices of an agent that is lost go to the others, which must have room for them.
	Redistributes bool
	Args          []string // further arguments of the coordinator
	Namespace     string   // "" leaves it to whoever applies the manifests
	Image         string   // with registry and tag; DefaultImage when ""
}

// Manifests are what was made.
type Manifests struct {
	Scenario *scenario.Scenario // as it was read
	Warnings []string           // what is worth a look, a line each, beside those of the scenario

	share int // devices of an agent
	model model
}

// model is what templates are filled with.
type model struct {
	Namespaced                                                string // the namespace; Namespace is only set where each manifest names it
	Namespace, PodImage, ImageName, ImageTag, ImageDigest     string
	Agents, Deadline, AgentGrace, CoordinatorGrace, FirstPort int
	AgentCPU, AgentMemory, CoordinatorCPU, CoordinatorMemory  string
	AgentsWord, ShareWord, DescriptorsWord, PortsWord         string
	PodPortsWord, NATSVersion, NATSConf, Head                 string
	Args                                                      []string // of the coordinator
	Variables                                                 []variable
	Plain, Secret                                             []file
	HasBinary                                                 bool
}

// natsVersion is that of the server that the program has in itself.
const natsVersion = "2.15.2"

// namespaces are those that Kubernetes takes (RFC 1123).
var namespaces = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// images are a name, perhaps with the port of a registry, a tag and a digest.
var images = regexp.MustCompile(`^([a-zA-Z0-9._/-]+(?::[0-9]+/[a-zA-Z0-9._/-]+)?)(?::([a-zA-Z0-9_][a-zA-Z0-9_.-]*))?(?:@([a-z0-9]+:[0-9a-f]+))?$`)

// Make makes the manifests. Mistakes in the scenario are a problem.List; ErrOptions for what no manifests can be made of.
func Make(o Options) (*Manifests, error) {
	if o.Image == "" {
		o.Image = DefaultImage
	}
	image := images.FindStringSubmatch(o.Image)
	switch {
	case image == nil:
		return nil, fmt.Errorf("%w: the image %q is none: write registry/name:tag", ErrOptions, o.Image)
	case o.Namespace != "" && !namespaces.MatchString(o.Namespace):
		return nil, fmt.Errorf("%w: the namespace %q has other than a to z, 0 to 9 and hyphens", ErrOptions, o.Namespace)
	case o.Agents > 0 && o.PerAgent > 0:
		return nil, fmt.Errorf("%w: how many agents there are and how many devices each has say the same; leave one out", ErrOptions)
	case o.Agents < 0 || o.PerAgent < 0 || o.Agents > MaxAgents:
		return nil, fmt.Errorf("%w: a run has 1 to %s agents", ErrOptions, human.Count(MaxAgents))
	}
	sc, names, err := read(&o)
	if err != nil {
		return nil, err
	}
	if err := reachable(sc, names); err != nil {
		return nil, err
	}
	m := &Manifests{Scenario: sc}
	m.model = model{
		Namespaced: o.Namespace, PodImage: o.Image, ImageName: image[1], ImageTag: image[2], ImageDigest: image[3], FirstPort: firstPort,
		PodPortsWord: human.Number(podPorts, "local port"), NATSVersion: natsVersion,
		Variables: names.variables, Plain: names.plain, Secret: names.secret,
	}
	for i := range m.model.Plain {
		m.model.HasBinary = m.model.HasBinary || m.model.Plain[i].Binary()
	}
	if err := m.size(sc, &o); err != nil {
		return nil, err
	}
	m.arguments(sc, &o)
	m.head(sc)
	return m, nil
}

// reachable refuses targets that agents in other pods do not reach. What a variable says here, a Secret may say otherwise there.
func reachable(sc *scenario.Scenario, n *names) error {
	if sc.Target.Can().InProcess {
		return fmt.Errorf("%w: the target is the embedded hub, at an address that agents in other pods do not reach; "+
			"name a hub: --set 'target.hub=${TWINFLEET_HUB}' takes it from a Secret", ErrOptions)
	}
	if host, err := sc.Target.Opened(); err == nil && local(host) && !n.says(host) {
		what := "the target"
		if sc.Target.Through() != nil {
			what = "the proxy"
		}
		return fmt.Errorf("%w: %s is at %s, which is another machine for each pod; name one that all of them reach", ErrOptions, what, host)
	}
	if len(sc.Fleet.SourceAddresses) > 0 {
		return fmt.Errorf("%w: fleet.source_addresses are addresses of a machine; a pod has one of its own: leave them out", ErrOptions)
	}
	return nil
}

// local reports whether a host is the machine that connects to it.
func local(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || ip.IsLoopback() || ip.IsUnspecified()
}

// size settles how many agents there are, and what they and the coordinator ask for.
func (m *Manifests) size(sc *scenario.Scenario, o *Options) error {
	if sc.Fleet.Client == scenario.AnyClient { // else each agent would choose for itself
		sc.Fleet.Client = "lean"
		o.Read.Set = append(o.Read.Set[:len(o.Read.Set):len(o.Read.Set)], "fleet.client=lean")
	}
	fleet := sc.Devices()
	per := o.PerAgent
	if o.Agents == 0 && per == 0 {
		per = max(1, fit.Hold(sc, Usual(), 1).Devices)
	}
	n := o.Agents
	if n == 0 {
		n = max(1, (fleet+per-1)/per)
		if o.Redistributes && n > 1 {
			n++ // so that the others hold what one more had
		}
	}
	if n > fleet {
		return fmt.Errorf("%w: %s for %s: each needs one at the least", ErrOptions, human.Number(n, "agent"), human.Number(fleet, "device"))
	}
	if n > MaxAgents {
		return fmt.Errorf("%w: %s with %s each make %s agents; a run has %s at the most", ErrOptions,
			human.Number(fleet, "device"), human.Count(per), human.Count(n), human.Count(MaxAgents))
	}
	among := n
	if o.Redistributes && n > 1 {
		among--
	}
	share := (fleet + among - 1) / among
	for i := range sc.Fleet.Groups { // those of a connection stay together
		share = min(fleet, share+sc.Fleet.Groups[i].PerConnection()-1)
	}
	agent, leads := fit.Agent(sc, share), fit.Coordinator(sc, n)
	if agent.Ports > podPorts {
		return fmt.Errorf("%w: an agent of %s needs %s, and a pod has %s towards one target; more agents have fewer devices each", ErrOptions,
			human.Number(share, "device"), human.Number(agent.Ports, "local port"), human.Count(podPorts))
	}
	if most := Usual().Descriptors; agent.Descriptors > most {
		m.Warnings = append(m.Warnings, fmt.Sprintf("an agent opens %s; see that the runtime of the nodes allows them, or take more agents",
			human.Number(agent.Descriptors, "descriptor")))
	}
	x := &m.model
	m.share, x.Agents = share, n
	x.AgentsWord, x.ShareWord = human.Number(n, "agent"), human.Number(share, "device")
	x.DescriptorsWord, x.PortsWord = human.Number(agent.Descriptors, "descriptor"), human.Number(agent.Ports, "local port")
	x.AgentCPU, x.AgentMemory = processors(agent.Processors, 500), memory(agent.Memory, 0)
	x.CoordinatorCPU, x.CoordinatorMemory = processors(leads.Processors, 1000), memory(leads.Memory, reports)
	x.AgentGrace, x.CoordinatorGrace = grace(30, share), grace(120, fleet)
	x.Deadline = deadline(sc, fleet)
	return nil
}

// reports is what the coordinator has for its page and its reports, in bytes.
const reports = 128 << 20

// beginning is what a process has already when it asks how much is there, in bytes.
const beginning = 64 << 20

// memory is an estimate with room to breathe, in steps of 64 Mi.
func memory(bytes uint64, more float64) string {
	const step = 64
	n := (float64(bytes)/plan.Tight + beginning + more) / (1 << 20)
	return strconv.Itoa(int(math.Ceil(n/step))*step) + "Mi"
}

// processors is an estimate with room to breathe, in steps of 100 m.
func processors(n float64, least int) string {
	const step = 100
	return strconv.Itoa(max(least, int(math.Ceil(n/plan.Tight*1000/step))*step)) + "m"
}

// grace is how many seconds a process has to end: some, and a second for each thousand devices, as many as may leave at once.
func grace(least, devices int) int { return min(600, least+(devices+999)/1000) }

// deadline is the seconds after which an agent is there for nothing; 0 where the run is over when its steps are.
func deadline(sc *scenario.Scenario, fleet int) int {
	spans := span.Of(sc)
	for i := range spans {
		if spans[i].WithSteps() {
			return 0
		}
	}
	const identitiesAMinute = 100 // of one unit of S1 (iot-hub-devguide-quotas-throttling)
	return int((2*span.EndOf(spans) + time.Hour + time.Duration(fleet)*time.Minute/identitiesAMinute) / time.Second)
}

// arguments are those of the coordinator.
func (m *Manifests) arguments(sc *scenario.Scenario, o *Options) {
	args := []string{"run", "/scenario/" + sc.Name + ".yaml"}
	for _, set := range o.Read.Set {
		args = append(args, "--set", set)
	}
	if o.Read.Devices > 0 {
		args = append(args, "--devices", strconv.Itoa(o.Read.Devices))
	}
	if o.Read.Duration > 0 {
		args = append(args, "--duration", o.Read.Duration.String())
	}
	args = append(args, "--nats", "nats://twinfleet-nats:4222", "--agents", strconv.Itoa(m.model.Agents), "--agent-wait", "15m")
	args = append(args, o.Args...)
	args = append(args, "--out", "/runs", "--metrics-addr", "0.0.0.0:9464", "--ui-addr", "127.0.0.1:9466", "--linger", "30s")
	for _, a := range args {
		m.model.Args = append(m.model.Args, strings.ReplaceAll(a, "$(", "$$(")) // Kubernetes would expand it
	}
}

// head says what the manifests are, and what must be there before them.
func (m *Manifests) head(sc *scenario.Scenario) {
	b := &strings.Builder{}
	into := ""
	if m.model.Namespaced != "" {
		into = "--namespace " + m.model.Namespaced + " "
	}
	line := func(format string, a ...any) { fmt.Fprintf(b, "# "+format+"\n", a...) }
	line("Scenario %s: %s in %s of about %s. Made by twinfleet kube.", sc.Name, human.Number(sc.Devices(), "device"), m.model.AgentsWord, human.Count(m.share))
	line("What must be there before, so that no secret is in a manifest; docs/kubernetes.md says how it is made:")
	line("  kubectl %screate secret generic twinfleet-tokens --from-env-file=tokens.env         # TWINFLEET_JOIN_TOKEN=…, TWINFLEET_NATS_TOKEN=…", into)
	if len(m.model.Variables) > 0 {
		var names []string
		for _, v := range m.model.Variables {
			word := v.Name + "=…"
			if v.Optional {
				word = "[" + word + "]"
			}
			names = append(names, word)
		}
		line("  kubectl %screate secret generic twinfleet-variables --from-env-file=variables.env   # %s", into, strings.Join(names, ", "))
	}
	if len(m.model.Secret) > 0 {
		var names []string
		for i := range m.model.Secret {
			names = append(names, "--from-file="+shell(m.model.Secret[i].Source()))
		}
		line("  kubectl %screate secret generic twinfleet-files %s", into, strings.Join(names, " "))
	}
	m.model.Head = b.String()
}

// shell is a word of a command line, with quotation marks where it needs them.
func shell(word string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_./=-]+$`).MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
