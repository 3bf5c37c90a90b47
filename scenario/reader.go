package scenario

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/schedule"
)

// field is one key of the language, whole: the same table makes the decoder, with its defaults, the reference and the JSON Schema.
type field struct {
	key   string
	value value
	def   def    // what acts when the key is left out
	doc   string // what it means, for people
}

// value is what a key takes: what it looks like, in which bounds, and how it is read.
type value struct {
	form      form
	choices   []string // of a text: nothing else is taken; nil for anything
	low, high string   // bounds of a number or a time; empty for none
	fields    []field  // of an object, or of the items of a list of objects
	always    bool     // of an object that is part of another: its defaults act also when it is left out
	must      bool     // the key may not be left out
	read      func(r *reader, path string, n *yaml.Node)
}

// as is the value with a form that says more.
func (v value) as(f form) value {
	v.form = f
	return v
}

// part is the value of an object whose defaults act also when it is left out.
func (v value) part() value {
	v.always = true
	return v
}

// required is the value of a key that may not be left out.
func (v value) required() value {
	v.must = true
	return v
}

// def is what acts when a key is left out: a value, as one would write it, behind an equals sign, or in words.
type def string

// none is the default of a key whose absence needs no words.
const none def = ""

func is(value string) def    { return def("=" + value) }
func means(words string) def { return def(words) }

// acts is the value that acts; ok is false for words.
func (d def) acts() (value string, ok bool) { return strings.CutPrefix(string(d), "=") }

// text is the default as the reference has it.
func (d def) text() string { return strings.TrimPrefix(string(d), "=") }

// form is what a value looks like.
type form string

const (
	formText    form = "text"
	formName    form = "name"
	formCount   form = "whole number"
	formDevices form = "number of devices"
	formGoals   form = "number of devices, or one by group"
	formSwitch  form = "true or false"
	formTime    form = "time"
	formTimes   form = "random time"
	formGaps    form = "time, or random gaps"
	formShare   form = "share"
	formRate    form = "rate"
	formObject  form = "object"
	formList    form = "list"
	formWeights form = "weights"
	formAny     form = "any object"
	formMap     form = "object by name"
	formTexts   form = "list of texts"
	formBytes   form = "bandwidth"
	formBounds  form = "thresholds by operation"
)

// reader decodes a file and collects its problems.
type reader struct {
	file     string
	problems Problems
	lookup   func(name string) (string, bool) // of environment variables
	files    func(name string) ([]byte, error)
	devices  int           // that were asked for; 0 for those of the file
	duration time.Duration // likewise

	places     map[string]place // of values, by path
	validating bool
	decoded    int // problems that decoding found

	fromEnvironment []string        // values that were substituted
	unfilled        map[string]bool // paths of values for which the environment has nothing

	numbers    []number    // of devices
	scaled     []string    // keys with the values that they have for the size that was asked for: key=value
	groupNames []reference // names of groups that must exist
	thresholds []reference // one for each of the scenario's
	stageNames []reference // names of stages that must exist
}

// reference is a name that must be one of others in the file.
type reference struct {
	path, name string
	at         place
}

func (r *reader) fail(path string, n *yaml.Node, format string, a ...any) {
	r.failAt(path, placeOf(n), format, a...)
}

func (r *reader) failAt(path string, at place, format string, a ...any) {
	if r.unfilled[path] {
		return // its value is not known
	}
	if r.validating && r.overlaps(path) {
		return // what is wrong there was said, and this may only follow from it
	}
	if own, ok := r.places[path]; ok && r.validating {
		at = own
	} else if at == (place{}) {
		at = r.placeOf(path)
	}
	text := fmt.Sprintf(format, a...)
	for _, value := range r.fromEnvironment {
		text = strings.ReplaceAll(text, value, "[from the environment]") // it may be a secret
	}
	r.problems = append(r.problems, Problem{r.file, at.line, at.column, path, text})
}

// placeOf is where a key stands in the file, or the nearest key above it that does.
func (r *reader) placeOf(path string) place {
	for path != "" {
		if at, ok := r.places[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	return place{}
}

// overlaps reports whether decoding found a problem at a path, above or below it.
func (r *reader) overlaps(path string) bool {
	for _, p := range r.problems[:r.decoded] {
		if path == p.Path || below(path, p.Path) || below(p.Path, path) {
			return true
		}
	}
	return false
}

func below(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && (rest[0] == '.' || rest[0] == '[')
}

func placeOf(n *yaml.Node) place {
	if n == nil {
		return place{}
	}
	return place{n.Line, n.Column}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// kindName is a node's kind as messages name it.
func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	default:
		switch n.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!bool":
			return "true or false"
		case "!!int", "!!float":
			return "a number"
		}
		return "text"
	}
}

// object reads a mapping by its table of fields: unknown and repeated keys are problems.
func (r *reader) object(path string, n *yaml.Node, fields []field) {
	if n.Kind != yaml.MappingNode {
		r.fail(path, n, "expected an object, found %s", kindName(n))
		return
	}
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
	}
	r.defaults(path, fields)
	r.pairs(path, n, func(key string, k, v *yaml.Node) {
		i := slices.Index(known, key)
		if i < 0 {
			r.fail(join(path, key), k, "unknown key; %s", didYouMean(key, known))
			return
		}
		r.places[join(path, key)] = placeOf(v)
		fields[i].value.read(r, join(path, key), v)
	})
}

// defaults gives an object the values that act when its keys are left out.
func (r *reader) defaults(path string, fields []field) {
	for _, f := range fields {
		if text, ok := f.def.acts(); ok {
			f.value.read(r, join(path, f.key), &yaml.Node{Kind: yaml.ScalarNode, Tag: plainTag(text), Value: text})
		}
		if f.value.always {
			r.defaults(join(path, f.key), f.value.fields)
		}
	}
}

// plainTag is the YAML type of a plain scalar of the language's defaults.
func plainTag(text string) string {
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return "!!int"
	}
	if text == "true" || text == "false" {
		return "!!bool"
	}
	return "!!str"
}

// pairs walks through a mapping; a repeated key is a problem and is passed over.
func (r *reader) pairs(path string, n *yaml.Node, each func(key string, k, v *yaml.Node)) {
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if first, twice := seen[k.Value]; twice {
			r.fail(join(path, k.Value), k, "repeated key; it stands in line %d already", first)
			continue
		}
		seen[k.Value] = k.Line
		each(k.Value, k, v)
	}
}

// scalar is the text of a node, and whether it is a scalar of one of the YAML types.
func (r *reader) scalar(path string, n *yaml.Node, want string, tags ...string) (string, bool) {
	if r.unfilled[path] {
		return "", false
	}
	tag := n.ShortTag()
	if tag == "!!timestamp" {
		tag = "!!str" // the language has no dates
	}
	if n.Kind != yaml.ScalarNode || (len(tags) > 0 && !slices.Contains(tags, tag)) {
		r.fail(path, n, "expected %s, found %s", want, kindName(n))
		return "", false
	}
	return n.Value, true
}

// The functions below make the read function of a field that goes into a variable.

func text(into *string) value {
	return value{form: formText, read: func(r *reader, path string, n *yaml.Node) {
		if s, ok := r.scalar(path, n, "text", "!!str", "!!int", "!!float"); ok {
			*into = s
		}
	}}
}

func oneOf(into *string, choices ...string) value {
	return value{form: formText, choices: choices, read: func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, strings.Join(choices, " or "), "!!str")
		if ok && !slices.Contains(choices, s) {
			r.fail(path, n, "unknown value %q; %s", s, didYouMean(s, choices))
			return
		}
		*into = s
	}}
}

// validName reports whether a name can be a metric label and part of a device id.
func validName(s string) bool {
	if s == "" || len(s) > 60 {
		return false
	}
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (c != '-' || i == 0) {
			return false
		}
	}
	return true
}

func name(into *string) value {
	return value{form: formName, read: func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, "a name", "!!str", "!!int")
		if ok && !validName(s) {
			r.fail(path, n, "%q is no name; use small letters, digits and hyphens, 60 at most", s)
		}
		*into = s
	}}
}

func boolean(into *bool) value {
	return value{form: formSwitch, read: func(r *reader, path string, n *yaml.Node) {
		if s, ok := r.scalar(path, n, "true or false", "!!bool"); ok {
			*into = strings.EqualFold(s, "true")
		}
	}}
}

func count(into *int, low, high int) value {
	return value{form: formCount, low: strconv.Itoa(low), high: strconv.Itoa(high), read: func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, "a whole number", "!!int", "!!str")
		if !ok {
			return
		}
		v, err := strconv.Atoi(strings.ReplaceAll(s, "_", ""))
		switch {
		case err != nil:
			r.fail(path, n, "%q is not a whole number", s)
		case v < low || v > high:
			r.fail(path, n, "%d is out of range; use %d to %d", v, low, high)
		default:
			*into = v
		}
	}}
}

func seed(into *uint64) value {
	return value{form: formCount, read: func(r *reader, path string, n *yaml.Node) {
		if s, ok := r.scalar(path, n, "a whole number", "!!int", "!!str"); ok {
			v, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				r.fail(path, n, "%q is not a whole number from 0 to %d", s, uint64(math.MaxUint64))
				return
			}
			*into = v
		}
	}}
}

func duration(into *time.Duration, low time.Duration) value {
	return value{form: formTime, low: shortest(low), read: func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, "a time such as 30s", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			r.fail(path, n, "%q is not a time; write a number with a unit, such as 500ms, 30s, 5m, 1h", s)
		case d < low:
			r.fail(path, n, "%s is too short; use at least %s", s, shortest(low))
		case d > maxDuration:
			r.fail(path, n, "%s is too long; use at most %s", s, maxDuration)
		default:
			*into = d
		}
	}}
}

// keepAlive reads a time in whole seconds, as many as fit into CONNECT (MQTT 3.1.1 section 3.1.2.10).
func keepAlive(into *time.Duration) value {
	return value{form: formTime, read: func(r *reader, path string, n *yaml.Node) {
		before := len(r.problems)
		var d time.Duration
		duration(&d, time.Second).read(r, path, n)
		switch {
		case len(r.problems) > before:
		case d > math.MaxUint16*time.Second:
			r.fail(path, n, "%s is too long; MQTT has at most 65535s, which is 18h12m15s", n.Value)
		case d%time.Second != 0:
			r.fail(path, n, "%s is no whole number of seconds, which is all that MQTT has", n.Value)
		default:
			*into = d
		}
	}}
}

// maxDuration is longer than any run and short enough that sums of such times do not overflow.
const maxDuration = 10_000 * time.Hour

func shortest(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	return d.String()
}

func distribution(into *schedule.Distribution) value {
	return value{form: formTimes, read: func(r *reader, path string, n *yaml.Node) {
		if s, ok := r.scalar(path, n, "a time such as 20m or 1m..5m", "!!str", "!!int", "!!float"); ok {
			d, err := schedule.ParseDistribution(s)
			if err != nil {
				r.fail(path, n, "%v", err)
				return
			}
			*into = d
		}
	}}
}

// gaps reads how often something is done: a time, or a random one with a mean.
func gaps(mean *time.Duration, into *schedule.Distribution) value {
	return value{form: formGaps, read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || !strings.ContainsAny(n.Value, "~.(") || n.ShortTag() != "!!str" {
			duration(mean, moment).read(r, path, n)
			return
		}
		if _, err := time.ParseDuration(n.Value); err == nil { // 1.5s
			duration(mean, moment).read(r, path, n)
			return
		}
		d, err := schedule.ParseDistribution(n.Value)
		switch {
		case err != nil || strings.HasPrefix(strings.TrimSpace(n.Value), "normal"):
			r.fail(path, n, "%q does not say how often; write 15s, 10s..20s for random gaps, or ~15s for independent ones with that mean", n.Value)
		case d.Mean() < moment:
			r.fail(path, n, "%s is too short; use at least %s in the mean", n.Value, shortest(moment))
		case d.Mean() > maxDuration:
			r.fail(path, n, "%s is too long; use at most %s", n.Value, maxDuration)
		default:
			*mean, *into = d.Mean(), d
		}
	}}
}

func share(into *float64) value {
	return value{form: formShare, read: func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, "a share such as 80%", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		number, percent := strings.CutSuffix(s, "%")
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || !percent || !(v >= 0 && v <= 100) {
			r.fail(path, n, "%q is not a share; write 0%% to 100%%", s)
			return
		}
		*into = v / 100
	}}
}

func rate(into **Range) value {
	return value{form: formRate, read: func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, "a rate such as 100/s", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		first, second, ramp := strings.Cut(s, "..")
		if !ramp {
			second = first
		}
		from, ok1 := perSecond(first)
		to, ok2 := perSecond(second)
		if !ok1 || !ok2 {
			r.fail(path, n, "%q is not a rate; write 100/s, 600/m, or 0/s..100/s for a ramp over the stage", s)
			return
		}
		if fastest := max(from, to); fastest > maxRate {
			r.fail(path, n, "%s is more than one process can start; use at most %.0f/s", s, maxRate)
			return
		}
		*into = &Range{from, to}
	}}
}

// maxRate, per second, is more than one process starts of anything.
const maxRate = 1e6

func perSecond(s string) (float64, bool) {
	number, unit, ok := strings.Cut(strings.TrimSpace(s), "/")
	v, err := strconv.ParseFloat(number, 64)
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if !ok || err != nil || seconds == 0 || !(v >= 0 && v <= 1e15) {
		return 0, false
	}
	return v / seconds, true
}

// weights reads {cellular: 60, wifi: 40}, or one name that always holds.
func weights(into *[]Weight) value {
	return value{form: formWeights, read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && n.Value != "" {
			*into = []Weight{{n.Value, 1}}
			return
		}
		if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
			r.fail(path, n, "expected names with weights such as {cellular: 60, wifi: 40}, found %s", kindName(n))
			return
		}
		var sum float64
		var all []Weight
		r.pairs(path, n, func(key string, _, v *yaml.Node) {
			w, err := strconv.ParseFloat(v.Value, 64)
			if v.Kind != yaml.ScalarNode || err != nil || !(w >= 0 && w < 1e12) {
				r.fail(join(path, key), v, "%q is not a weight; use a number from 0", v.Value)
				return
			}
			sum += w
			all = append(all, Weight{key, w})
		})
		if sum <= 0 {
			r.fail(path, n, "all weights are 0; one must be above")
			return
		}
		*into = all
	}}
}

func texts(into *[]string) value {
	return value{form: formTexts, read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			r.fail(path, n, "expected a list, found %s", kindName(n))
			return
		}
		for i, item := range n.Content {
			var s string
			at := fmt.Sprintf("%s[%d]", path, i)
			r.places[at] = placeOf(item)
			text(&s).read(r, at, item)
			*into = append(*into, s)
		}
	}}
}

// list reads a list of objects.
func list[T any](into *[]T, fresh func() T, fields func(*T) []field, at func(*T, place)) value {
	return value{form: formList, fields: fields(new(T)), read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			r.fail(path, n, "expected a list, found %s", kindName(n))
			return
		}
		*into = slices.Grow(*into, len(n.Content)) // the items stay where they are
		for i, item := range n.Content {
			*into = append(*into, fresh())
			t := &(*into)[len(*into)-1]
			if at != nil {
				at(t, placeOf(item))
			}
			r.object(fmt.Sprintf("%s[%d]", path, i), item, fields(t))
		}
	}}
}

// object is the read function of an object whose fields go into variables.
func object(fields []field) value {
	return value{form: formObject, fields: fields, always: true, read: func(r *reader, path string, n *yaml.Node) { r.object(path, n, fields) }}
}

// optional is object for a part that is nil when it is absent.
func optional[T any](into **T, fresh func() T, fields func(*T) []field) value {
	return value{form: formObject, fields: fields(new(T)), read: func(r *reader, path string, n *yaml.Node) {
		t := fresh()
		r.object(path, n, fields(&t))
		*into = &t
	}}
}

// empty is a part of a scenario before its defaults.
func empty[T any]() (x T) { return x }
