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
// A string that is nothing but one number function becomes a JSON number.
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
)

// Context is what a rendering depends on.
type Context struct {
	Device string
	Index  int   // of the device in the fleet
	Seq    int64 // of the message, from 1
	Now    time.Time
	Rand   *rand.Rand
}

// Source is where the payloads of messages come from: a Template or Rows. It is safe for concurrent use.
type Source interface {
	// Append appends the payload that a context asks for.
	Append(dst []byte, c *Context) []byte
}

var _ Source = (*Template)(nil)

// Template is a compiled payload. It is immutable and safe for concurrent use.
type Template struct{ segments []segment }

// segment is literal text, or a function that appends.
type segment struct {
	text string
	call func(dst []byte, c *Context) []byte
}

// ErrTemplate is the class of errors of Compile.
var ErrTemplate = errors.New("payload template")

// Compile compiles a value as a YAML or JSON decoder gives it: maps, slices, strings, numbers,
// booleans and nil. Members are sent in the order of their names. Errors match ErrTemplate.
func Compile(value any) (*Template, error) {
	t := &Template{}
	if err := t.add(value); err != nil {
		return nil, err
	}
	return t, nil
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

func (t *Template) add(value any) error {
	switch v := value.(type) {
	case map[string]any:
		t.literal("{")
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				t.literal(",")
			}
			name, err := json.Marshal(key)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrTemplate, err)
			}
			t.literal(string(name) + ":")
			if err := t.add(v[key]); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		t.literal("}")
	case []any:
		t.literal("[")
		for i, item := range v {
			if i > 0 {
				t.literal(",")
			}
			if err := t.add(item); err != nil {
				return err
			}
		}
		t.literal("]")
	case string:
		return t.text(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrTemplate, err)
		}
		t.literal(string(b))
	}
	return nil
}

func (t *Template) text(s string) error {
	if inner, ok := strings.CutPrefix(strings.TrimSpace(s), "{{"); ok {
		if inner, ok = strings.CutSuffix(inner, "}}"); ok && !strings.Contains(inner, "}}") {
			call, number, err := compileCall(inner)
			if err != nil {
				return err
			}
			if number {
				t.segments = append(t.segments, segment{call: call})
				return nil
			}
		}
	}
	t.literal(`"`)
	for {
		before, rest, found := strings.Cut(s, "{{")
		quoted, err := json.Marshal(before)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrTemplate, err)
		}
		t.literal(string(quoted[1 : len(quoted)-1]))
		if !found {
			break
		}
		inner, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return fmt.Errorf("%w: {{ without }} in %q", ErrTemplate, s)
		}
		call, _, err := compileCall(inner)
		if err != nil {
			return err
		}
		t.segments = append(t.segments, segment{call: call})
		s = after
	}
	t.literal(`"`)
	return nil
}

const functions = "there are normal MEAN DEVIATION with a deviation from 0, uniform LOW HIGH with the lower first, seq, now, device, pick \"A\" \"B\""

// compileCall compiles what stands between {{ and }}. number says that it yields a JSON number.
func compileCall(inner string) (call func([]byte, *Context) []byte, number bool, err error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(inner), " ")
	args, err := arguments(rest)
	if err != nil {
		return nil, false, err
	}
	bad := func() (func([]byte, *Context) []byte, bool, error) {
		return nil, false, fmt.Errorf("%w: {{%s}}; %s", ErrTemplate, inner, functions)
	}
	switch {
	case name == "seq" && len(args) == 0:
		return func(b []byte, c *Context) []byte { return strconv.AppendInt(b, c.Seq, 10) }, true, nil
	case name == "now" && len(args) == 0:
		return func(b []byte, c *Context) []byte { return c.Now.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z") }, false, nil
	case name == "device" && len(args) == 0:
		return func(b []byte, c *Context) []byte { return append(b, c.Device...) }, false, nil
	case name == "pick" && len(args) > 0:
		choices := make([]string, len(args))
		for i, a := range args {
			quoted, err := json.Marshal(a)
			if err != nil {
				return nil, false, fmt.Errorf("%w: %w", ErrTemplate, err)
			}
			choices[i] = string(quoted[1 : len(quoted)-1])
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

// arguments splits at spaces; text in double quotes is one argument.
func arguments(s string) ([]string, error) {
	var args []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '"' {
			quoted, err := strconv.QuotedPrefix(s)
			if err != nil {
				return nil, fmt.Errorf("%w: a quote without an end in %q", ErrTemplate, s)
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrTemplate, err)
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
