package payload

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// call appends what a function yields.
type call = func(dst []byte, c *Context) []byte

// function is what stands between {{ and }}, compiled.
type function struct {
	value    call   // what it yields as a JSON value of its own; nil for a text
	text     call   // as it stands in a text; nil for what is always the same
	constant string // that, without escapes
	least    int    // bytes, at least
}

// number is a function of a number, which is written alike everywhere.
func number(f call) *function { return &function{value: f, text: f, least: 1} }

// kind is a function by its name.
type kind struct {
	name, args, note string // how it is written, and what more there is to know of that
	// compile makes one of its arguments; nil says that they are none of its own.
	compile func(c *compiler, args []string) (*function, error)
}

// usage is how the function is written.
func (k *kind) usage() string { return strings.TrimSuffix(k.name+" "+k.args, " ") }

// kinds are the functions, those of values first.
func kinds() []kind {
	return []kind{
		{"normal", "MEAN DEVIATION", ", with a deviation from 0, or normal alone", (*compiler).normal},
		{"uniform", "LOW HIGH", ", with the lower first, or uniform alone", (*compiler).uniform},
		{"int", "LOW HIGH", ", which are whole numbers, with the lower first", (*compiler).whole},
		{"walk", "START STEP LOW HIGH", ", with a step from 0 and the start between low and high, which may be left out", (*compiler).walk},
		{"seq", "", ", without arguments", alone(func(b []byte, c *Context) []byte { return strconv.AppendInt(b, c.Seq, 10) })},
		{"index", "", ", without arguments", alone(func(b []byte, c *Context) []byte { return strconv.AppendInt(b, int64(c.Number), 10) })},
		{"epoch", "UNIT", ", which is s, ms, us or ns; ms when left out", (*compiler).epoch},
		{"bool", "", ", without arguments", (*compiler).bool},
		{"data", `"COLUMN"`, ", which is one name", (*compiler).column},
		{"now", "", ", without arguments", (*compiler).now},
		{"uuid", "", ", without arguments", (*compiler).uuid},
		{"hex", "DIGITS", ", which are 1 to 4096", (*compiler).hex},
		{"device", "", ", without arguments", (*compiler).device},
		{"group", "", ", without arguments", (*compiler).group},
		{"pick", `"A" "B"`, ", with one text at least", (*compiler).pick},
	}
}

// function compiles what stands between {{ and }}.
func (c *compiler) function(inner string) (*function, error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(inner), " ")
	args, err := arguments(rest)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, k := range kinds() {
		if k.name != name {
			all = append(all, k.usage())
			continue
		}
		f, err := k.compile(c, args)
		if f == nil && err == nil {
			err = fmt.Errorf("{{%s}} is not how %s is written; write %s%s", inner, name, k.usage(), k.note)
		}
		return f, err
	}
	return nil, fmt.Errorf("{{%s}} is none of the functions; there are %s", inner, strings.Join(all, ", "))
}

// alone is a number without arguments.
func alone(f call) func(*compiler, []string) (*function, error) {
	return func(_ *compiler, args []string) (*function, error) {
		if len(args) > 0 {
			return nil, nil
		}
		return number(f), nil
	}
}

// numbers are arguments that are all finite numbers.
func numbers(args []string) (x []float64, ok bool) {
	for _, a := range args {
		v, err := strconv.ParseFloat(a, 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, false
		}
		x = append(x, v)
	}
	return x, true
}

func (c *compiler) normal(args []string) (*function, error) {
	x, ok := numbers(args)
	switch {
	case ok && len(x) == 0:
		return number(func(b []byte, c *Context) []byte { return appendNumber(b, c.Rand.NormFloat64()) }), nil
	case ok && len(x) == 2 && x[1] >= 0:
		return number(func(b []byte, c *Context) []byte { return appendNumber(b, x[0]+x[1]*c.Rand.NormFloat64()) }), nil
	}
	return nil, nil
}

func (c *compiler) uniform(args []string) (*function, error) {
	x, ok := numbers(args)
	switch {
	case ok && len(x) == 0:
		return number(func(b []byte, c *Context) []byte { return appendNumber(b, c.Rand.Float64()) }), nil
	case ok && len(x) == 2 && x[0] <= x[1]:
		return number(func(b []byte, c *Context) []byte { return appendNumber(b, x[0]+(x[1]-x[0])*c.Rand.Float64()) }), nil
	}
	return nil, nil
}

func (c *compiler) whole(args []string) (*function, error) {
	if len(args) != 2 {
		return nil, nil
	}
	low, err1 := strconv.ParseInt(args[0], 10, 64)
	high, err2 := strconv.ParseInt(args[1], 10, 64)
	if err1 != nil || err2 != nil || high < low {
		return nil, nil
	}
	span := uint64(high) - uint64(low) + 1 // 0 when it is all of them
	return number(func(b []byte, c *Context) []byte {
		draw := uint64(0)
		if span == 0 {
			draw = c.Rand.Uint64()
		} else {
			draw = c.Rand.Uint64N(span)
		}
		return strconv.AppendInt(b, int64(uint64(low)+draw), 10)
	}), nil
}

func (c *compiler) epoch(args []string) (*function, error) {
	unit := "ms"
	if len(args) == 1 {
		unit = args[0]
	}
	per, ok := map[string]int64{"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1}[unit]
	if !ok || len(args) > 1 {
		return nil, nil
	}
	return number(func(b []byte, c *Context) []byte { return strconv.AppendInt(b, c.Now.UnixNano()/per, 10) }), nil
}

func (c *compiler) bool(args []string) (*function, error) {
	if len(args) > 0 {
		return nil, nil
	}
	f := number(func(b []byte, c *Context) []byte { return strconv.AppendBool(b, c.Rand.Uint64()&1 == 1) })
	f.least = len("true")
	return f, nil
}

func (c *compiler) now(args []string) (*function, error) {
	const layout = "2006-01-02T15:04:05.000Z"
	if len(args) > 0 {
		return nil, nil
	}
	return &function{text: func(b []byte, c *Context) []byte { return c.Now.UTC().AppendFormat(b, layout) }, least: len(layout)}, nil
}

func (c *compiler) uuid(args []string) (*function, error) {
	if len(args) > 0 {
		return nil, nil
	}
	return &function{text: func(b []byte, c *Context) []byte {
		high, low := c.Rand.Uint64(), c.Rand.Uint64()
		high, low = high&^0xf000|0x4000, low&^(3<<62)|2<<62 // RFC 9562 section 5.4
		b = append(appendHex(b, high>>32, 8), '-')
		b = append(appendHex(b, high>>16, 4), '-')
		b = append(appendHex(b, high, 4), '-')
		b = append(appendHex(b, low>>48, 4), '-')
		return appendHex(b, low, 12)
	}, least: 36}, nil
}

func (c *compiler) hex(args []string) (*function, error) {
	if len(args) != 1 {
		return nil, nil
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n > 4096 {
		return nil, nil
	}
	return &function{text: func(b []byte, c *Context) []byte {
		for left := n; left > 0; left -= 16 {
			b = appendHex(b, c.Rand.Uint64(), min(16, left))
		}
		return b
	}, least: n}, nil
}

// appendHex appends the last digits of a number.
func appendHex(b []byte, x uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, "0123456789abcdef"[x>>(4*i)&15])
	}
	return b
}

func (c *compiler) device(args []string) (*function, error) {
	return c.named(args, func(c *Context) string { return c.Device })
}

func (c *compiler) group(args []string) (*function, error) {
	return c.named(args, func(c *Context) string { return c.Group })
}

// named is a text of the context.
func (c *compiler) named(args []string, of func(*Context) string) (*function, error) {
	if len(args) > 0 {
		return nil, nil
	}
	if c.raw {
		return &function{text: func(b []byte, c *Context) []byte { return append(b, of(c)...) }}, nil
	}
	return &function{text: func(b []byte, c *Context) []byte { return appendEscaped(b, of(c)) }}, nil
}

func (c *compiler) pick(args []string) (*function, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if len(args) == 1 {
		return &function{constant: args[0]}, nil // a way to write {{ and }} themselves
	}
	choices := make([]string, len(args))
	for i, a := range args {
		choices[i] = c.escaped(a)
	}
	least := len(slices.MinFunc(choices, func(a, b string) int { return len(a) - len(b) }))
	return &function{text: func(b []byte, c *Context) []byte { return append(b, choices[c.Rand.IntN(len(choices))]...) }, least: least}, nil
}

// column is the values of a column of the data.
func (c *compiler) column(args []string) (*function, error) {
	if len(args) != 1 {
		return nil, nil
	}
	if c.data == nil {
		return nil, fmt.Errorf("there is no file that {{ data %q }} could take from; the key data beside a payload names one, for that payload", args[0])
	}
	c.asks = true
	values, rows, raw := c.data.Column(args[0]), c.data.Len(), c.raw
	if values == nil {
		return nil, fmt.Errorf("the file of data has no column %q; there are %s", args[0], strings.Join(c.data.Columns(), ", "))
	}
	return &function{
		value: func(b []byte, c *Context) []byte {
			if v := values(c.Row(rows)); v != nil {
				return append(b, v...)
			}
			return append(b, "null"...)
		},
		text: func(b []byte, c *Context) []byte { return appendWithin(b, values(c.Row(rows)), raw) },
	}, nil
}

// appendWithin appends a JSON value as it stands in a text: strings without their quotes, nothing for none.
func appendWithin(b, v []byte, raw bool) []byte {
	isText := len(v) > 0 && v[0] == '"'
	switch {
	case isText && (!raw || !slices.Contains(v, '\\')):
		return append(b, v[1:len(v)-1]...)
	case isText:
		var s string
		_ = json.Unmarshal(v, &s) // it is JSON
		return append(b, s...)
	case raw:
		return append(b, v...)
	}
	return appendEscaped(b, string(v))
}

// appendNumber writes three decimals, as sensors do.
func appendNumber(b []byte, x float64) []byte {
	if math.Abs(x) < 1e12 { // above there is nothing to round, and below infinity nothing to lose
		x = math.Round(x*1000) / 1000
	}
	return strconv.AppendFloat(b, max(-math.MaxFloat64, min(x, math.MaxFloat64)), 'f', -1, 64)
}
