// Package payload makes what devices send: JSON documents and texts with {{ … }} in them, compiled once, rendered often,
// decided by the device's own stream of chance; bytes of a file, or of a generator; and all of them filled to a size.
//
//	{{ normal 21 3 }}      a normally distributed number: mean and standard deviation, 0 and 1 when left out
//	{{ uniform 0 10 }}     an evenly distributed number from the first to the second, 0 and 1 when left out
//	{{ int 1 6 }}          a whole number from the first to the second, both included
//	{{ walk 20 0.5 0 40 }} a number that goes its way from message to message: where it starts, the standard
//	                       deviation of a step, and the bounds that throw it back, which may be left out
//	{{ seq }}              1 for the device's first message, then 2, and so on
//	{{ index }}            the number of the device in its group, as {index} in ids, without zeros before it
//	{{ epoch ms }}         the time since 1970 as a whole number of s, ms, us or ns; of ms when left out
//	{{ bool }}             true or false
//	{{ data "site" }}      the value that a row of the data file has in a column
//	{{ now }}              the time, RFC 3339 with milliseconds, UTC
//	{{ uuid }}             a random UUID, of version 4
//	{{ hex 8 }}            so many random hexadecimal digits
//	{{ device }}           the device's id
//	{{ group }}            the name of its group
//	{{ pick "a" "b" }}     one of the texts
//
// A string of a JSON document that is nothing but one function of a number, of true or false, or of data becomes such a value,
// and no text. Names of members may hold functions, too. {{ pick "{{" }} is {{ itself.
package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Context is what a rendering depends on.
type Context struct {
	Device  string     // id
	Group   string     // name
	Index   int        // of the device in the fleet
	Number  int        // of the device in its group, as {index} has it
	Seq     int64      // of the message, from 1
	Now     time.Time  // of the rendering
	Rand    *rand.Rand // is drawn from in the order of the template
	Chance  uint64     // by chance, and the same for all messages of the device: what walks go by
	Reserve int        // bytes that the payload gets afterwards, and that a filler leaves room for
}

// Row is the row, of so many, that the context's device has for its message: (Index + Seq - 1) mod rows. Devices go through the
// same rows, each from another place.
func (c *Context) Row(rows int) int { return int((int64(c.Index) + c.Seq - 1) % int64(rows)) }

// Source is where the payloads of messages come from: a Template, Rows, Bytes, Random, Zeros, or one of them Filled. It is safe for
// concurrent use. One whose payloads are JSON objects, all of them, says so by a method Objects() bool; one that knows how many bytes
// they have on average, by a method Mean() int.
type Source interface {
	// Append appends the payload that a context asks for.
	Append(dst []byte, c *Context) []byte
}

// Objects reports whether every payload of a source is a JSON object. nil, for which devices send {}, has no others.
func Objects(s Source) bool {
	if s == nil {
		return true
	}
	x, ok := s.(interface{ Objects() bool })
	return ok && x.Objects()
}

var _ Source = (*Template)(nil)

// Template is a compiled payload. It is immutable and safe for concurrent use.
type Template struct {
	segments []segment
	variable []string
	form     form
	least    int  // bytes of functions, at least
	asks     bool // for data
}

// form is what a payload is, as a filler has to know it.
type form int

const (
	plain   form = iota // any text
	anyJSON             // any JSON
	object              // a JSON object
	list                // a JSON array
	raw                 // any bytes
)

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

// Compile is that of a Compiler without data.
func Compile(value any) (*Template, error) { return Compiler{}.Compile(value) }

// CompileText is that of a Compiler without data.
func CompileText(text string) (*Template, error) { return Compiler{}.CompileText(text) }

// Compiler compiles templates. The zero value is one for templates that ask for no data.
type Compiler struct {
	Data Data // what {{ data "COLUMN" }} takes from; nil refuses it
}

// Data is rows of values by name, such as those of a file. It is safe for concurrent use.
type Data interface {
	Len() int                                        // how many rows there are; at least 1
	Columns() []string                               // the names, in their order
	Column(name string) (value func(row int) []byte) // values of a name as JSON, nil where a row has none; nil of one that no row has
}

// Compile compiles a JSON document: an Object, or what a JSON decoder gives, that is maps, slices, strings, numbers,
// booleans and nil. Members of maps are sent in the order of their names. All mistakes are returned at once,
// joined, each an *Error.
func (x Compiler) Compile(value any) (*Template, error) {
	c := &compiler{data: x.Data}
	c.form = anyJSON
	switch value.(type) {
	case Object, map[string]any:
		c.form = object
	case []any:
		c.form = list
	}
	c.add("", value)
	return c.end()
}

// CompileText compiles a text that is sent as it is, without quotes around it: what is in it need not be JSON. Mistakes are
// those of Compile.
func (x Compiler) CompileText(s string) (*Template, error) {
	c := &compiler{data: x.Data, raw: true}
	c.inner("", s)
	return c.end()
}

// end is the template, or what is wrong.
func (c *compiler) end() (*Template, error) {
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return &c.Template, nil
}

// Objects reports whether the template is one of a JSON object.
func (t *Template) Objects() bool { return t.form == object }

// Asks reports whether the template asks for data.
func (t *Template) Asks() bool { return t.asks }

// Least is how many bytes a payload has at least. There may be none with so few.
func (t *Template) Least() int {
	n := t.least
	for _, s := range t.segments {
		n += len(s.text)
	}
	return n
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
	data  Data
	raw   bool // a text, and no JSON
	walks int  // of the template, so far
	errs  []error
}

func (c *compiler) fail(path string, err error) { c.errs = append(c.errs, &Error{path, err}) }

func (c *compiler) call(path string, f call, least int) {
	c.least += least
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
			if f, err := c.function(inner); err == nil && f.value != nil {
				c.call(path, f.value, f.least)
				return
			}
		}
	}
	c.text(path, s)
}

// text compiles a string that stays one.
func (c *compiler) text(path, s string) {
	c.literal(`"`)
	c.inner(path, s)
	c.literal(`"`)
}

// inner compiles what stands in a text.
func (c *compiler) inner(path, s string) {
	for {
		before, rest, found := strings.Cut(s, "{{")
		c.literal(c.escaped(before))
		if !found {
			return
		}
		inner, after, closed := strings.Cut(rest, "}}")
		if !closed {
			c.fail(path, fmt.Errorf("{{ without }} in %q", s))
			return
		}
		switch f, err := c.function(inner); {
		case err != nil:
			c.fail(path, err)
		case f.text == nil:
			c.literal(c.escaped(f.constant))
		default:
			c.call(path, f.text, f.least)
		}
		s = after
	}
}

// escaped is a text as it stands in the template: between the quotes of JSON, or as it is.
func (c *compiler) escaped(s string) string {
	if c.raw {
		return s
	}
	return quoted(s)
}

// AppendString appends a text as a JSON string.
func AppendString(dst []byte, s string) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

// appendEscaped appends a text as it stands between the quotes of JSON.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return append(dst, quoted(s)...)
		}
	}
	return append(dst, s...)
}

// quoted is a text as it stands between the quotes of JSON.
func quoted(s string) string {
	b, _ := json.Marshal(s) // strings are always encoded
	return string(b[1 : len(b)-1])
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
