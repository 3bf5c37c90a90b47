// Package payload renders what devices send: JSON documents with {{ … }} in their strings, compiled
// once, rendered often, decided by the device's own stream of chance.
//
//	{{ normal 21 3 }}      a normally distributed number: mean and standard deviation, 0 and 1 when left out
//	{{ uniform 0 10 }}     an evenly distributed number from the first to the second, 0 and 1 when left out
//	{{ seq }}              1 for the device's first message, then 2, and so on
//	{{ now }}              the time, RFC 3339 with milliseconds, UTC
//	{{ device }}           the device's id
//	{{ pick "a" "b" }}     one of the texts
//
// A string that is nothing but one number function becomes a JSON number. Names of members may hold functions,
// too. {{ pick "{{" }} is {{ itself.
package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Context is what a rendering depends on.
type Context struct {
	Device string     // id
	Index  int        // of the device in the fleet
	Seq    int64      // of the message, from 1
	Now    time.Time  // of the rendering
	Rand   *rand.Rand // is drawn from in the order of the template
}

// Source is where the payloads of messages come from: a Template or Rows. It is safe for concurrent use.
type Source interface {
	// Append appends the payload that a context asks for.
	Append(dst []byte, c *Context) []byte
}

var _ Source = (*Template)(nil)

// Template is a compiled payload. It is immutable and safe for concurrent use.
type Template struct {
	segments []segment
	variable []string
}

// segment is literal text, or a function that appends.
type segment struct {
	text string
	call func(dst []byte, c *Context) []byte
}

// Object is a JSON object whose members are sent in their order.
type Object []Member

// Member is one member of an Object. Its name may hold templates, too.
type Member struct {
	Name  string // differs from those of other members
	Value any    // an Object, a list, or what encoding/json takes
}

// ErrTemplate is the class of errors of Compile.
var ErrTemplate = errors.New("payload template")

// Error is one mistake in a value that Compile was given. It matches ErrTemplate.
type Error struct {
	Path string // of the member, such as position.lat or values[2]; empty for the value itself
	Err  error  // what is wrong with it, and what would be right
}

// Error is path and mistake.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%v: %v", ErrTemplate, e.Err)
	}
	return fmt.Sprintf("%v: %s: %v", ErrTemplate, e.Path, e.Err)
}

// Is reports whether the target is ErrTemplate.
func (e *Error) Is(target error) bool { return target == ErrTemplate }

// Unwrap is what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Compile compiles a value: an Object, or what a JSON decoder gives, that is maps, slices, strings, numbers,
// booleans and nil. Members of maps are sent in the order of their names. All mistakes are returned at once,
// joined, each an *Error.
func Compile(value any) (*Template, error) {
	c := &compiler{}
	c.add("", value)
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return &c.Template, nil
}

// Variable is the paths of the members that depend on the context, in their order.
func (t *Template) Variable() []string { return t.variable }

// Constant is what the template renders when that depends on nothing.
func (t *Template) Constant() (text []byte, ok bool) {
	for _, s := range t.segments {
		if s.call != nil {
			return nil, false
		}
		text = append(text, s.text...)
	}
	return text, true
}

// Append renders the template.
func (t *Template) Append(dst []byte, c *Context) []byte {
	for _, s := range t.segments {
		if s.call != nil {
			dst = s.call(dst, c)
		} else {
			dst = append(dst, s.text...)
		}
	}
	return dst
}

// literal adds text to the last literal segment, or begins one.
func (t *Template) literal(s string) {
	if n := len(t.segments); n > 0 && t.segments[n-1].call == nil {
		t.segments[n-1].text += s
		return
	}
	t.segments = append(t.segments, segment{text: s})
}

// compiler is a template that grows, with the mistakes that were found.
type compiler struct {
	Template
	errs []error
}

func (c *compiler) fail(path string, err error) { c.errs = append(c.errs, &Error{path, err}) }

func (c *compiler) call(path string, f func([]byte, *Context) []byte) {
	c.segments = append(c.segments, segment{call: f})
	if n := len(c.variable); n == 0 || c.variable[n-1] != path {
		c.variable = append(c.variable, path)
	}
}

func (c *compiler) add(path string, value any) {
	switch v := value.(type) {
	case Object:
		c.object(path, v)
	case map[string]any:
		members := make(Object, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			members = append(members, Member{key, v[key]})
		}
		c.object(path, members)
	case []any:
		c.literal("[")
		for i, item := range v {
			if i > 0 {
				c.literal(",")
			}
			c.add(fmt.Sprintf("%s[%d]", path, i), item)
		}
		c.literal("]")
	case string:
		c.value(path, v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			c.fail(path, err)
			return
		}
		c.literal(string(b))
	}
}

func (c *compiler) object(path string, members Object) {
	c.literal("{")
	for i, m := range members {
		if i > 0 {
			c.literal(",")
		}
		below := m.Name
		if path != "" {
			below = path + "." + m.Name
		}
		c.text(below, m.Name)
		c.literal(":")
		c.add(below, m.Value)
	}
	c.literal("}")
}

// value compiles a string that stands for a value: nothing but one number function becomes a number.
func (c *compiler) value(path, s string) {
	if inner, ok := strings.CutPrefix(strings.TrimSpace(s), "{{"); ok {
		if inner, ok = strings.CutSuffix(inner, "}}"); ok && !strings.Contains(inner, "}}") {
			if call, number, err := compileCall(inner); err == nil && number {
				c.call(path, call)
				return
			}
		}
	}
	c.text(path, s)
}

// text compiles a string that stays one.
func (c *compiler) text(path, s string) {
	c.literal(`"`)
	for {
		before, rest, found := strings.Cut(s, "{{")
		c.literal(quoted(before))
		if !found {
			break
		}
		inner, after, closed := strings.Cut(rest, "}}")
		if !closed {
			c.fail(path, fmt.Errorf("{{ without }} in %q", s))
			break
		}
		switch call, _, err := compileCall(inner); {
		case err != nil:
			c.fail(path, err)
		case call == nil:
			c.literal(only(inner))
		default:
			c.call(path, call)
		}
		s = after
	}
	c.literal(`"`)
}

// AppendString appends a text as a JSON string.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return append(append(dst, quoted(s)...), '"')
		}
	}
	return append(append(dst, s...), '"')
}

// quoted is a text as it stands between the quotes of JSON.
func quoted(s string) string {
	b, _ := json.Marshal(s) // strings are always encoded
	return string(b[1 : len(b)-1])
}

const functions = "there are normal MEAN DEVIATION with a deviation from 0, uniform LOW HIGH with the lower first, seq, now, device, pick \"A\" \"B\""

// compileCall compiles what stands between {{ and }}. number says that it yields a JSON number; a call that
// always yields the same is nil.
func compileCall(inner string) (call func([]byte, *Context) []byte, number bool, err error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(inner), " ")
	args, err := arguments(rest)
	if err != nil {
		return nil, false, err
	}
	bad := func() (func([]byte, *Context) []byte, bool, error) {
		return nil, false, fmt.Errorf("{{%s}} is none of the functions; %s", inner, functions)
	}
	switch {
	case name == "seq" && len(args) == 0:
		return func(b []byte, c *Context) []byte { return strconv.AppendInt(b, c.Seq, 10) }, true, nil
	case name == "now" && len(args) == 0:
		return func(b []byte, c *Context) []byte { return c.Now.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z") }, false, nil
	case name == "device" && len(args) == 0:
		return func(b []byte, c *Context) []byte { return append(b, c.Device...) }, false, nil
	case name == "pick" && len(args) > 0:
		if len(args) == 1 {
			return nil, false, nil
		}
		choices := make([]string, len(args))
		for i, a := range args {
			choices[i] = quoted(a)
		}
		return func(b []byte, c *Context) []byte { return append(b, choices[c.Rand.IntN(len(choices))]...) }, false, nil
	case name == "normal" && len(args) == 0:
		return func(b []byte, c *Context) []byte { return appendNumber(b, c.Rand.NormFloat64()) }, true, nil
	case name == "uniform" && len(args) == 0:
		return func(b []byte, c *Context) []byte { return appendNumber(b, c.Rand.Float64()) }, true, nil
	case (name == "normal" || name == "uniform") && len(args) == 2:
		x, err1 := strconv.ParseFloat(args[0], 64)
		y, err2 := strconv.ParseFloat(args[1], 64)
		if err1 != nil || err2 != nil || math.IsInf(x, 0) || math.IsInf(y, 0) || math.IsNaN(x) || math.IsNaN(y) {
			return bad()
		}
		if (name == "normal" && y < 0) || (name == "uniform" && y < x) {
			return bad()
		}
		if name == "normal" {
			return func(b []byte, c *Context) []byte { return appendNumber(b, x+y*c.Rand.NormFloat64()) }, true, nil
		}
		return func(b []byte, c *Context) []byte { return appendNumber(b, x+(y-x)*c.Rand.Float64()) }, true, nil
	}
	return bad()
}

// appendNumber writes three decimals, as sensors do.
func appendNumber(b []byte, x float64) []byte {
	if math.Abs(x) < 1e12 { // above there is nothing to round, and below infinity nothing to lose
		x = math.Round(x*1000) / 1000
	}
	return strconv.AppendFloat(b, max(-math.MaxFloat64, min(x, math.MaxFloat64)), 'f', -1, 64)
}

// only is the one choice of a pick that has no other: a way to write {{ and }} themselves.
func only(inner string) string {
	_, rest, _ := strings.Cut(strings.TrimSpace(inner), " ")
	args, err := arguments(rest)
	if err != nil || len(args) != 1 {
		return ""
	}
	return quoted(args[0])
}

// arguments splits at spaces; text in double quotes is one argument.
func arguments(s string) ([]string, error) {
	var args []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '"' {
			quoted, err := strconv.QuotedPrefix(s)
			if err != nil {
				return nil, fmt.Errorf("a quote without an end in %q", s)
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", quoted, err)
			}
			args = append(args, text)
			s = s[len(quoted):]
			continue
		}
		word, rest, _ := strings.Cut(s, " ")
		args = append(args, word)
		s = rest
	}
	return args, nil
}
