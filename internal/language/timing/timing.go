// Package timing is values of a language that say when something is due and how long it lasts.
package timing

import (
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/schedule/chance"
	"github.com/twinfleet/twinfleet/schedule/cron"
)

const (
	// Longest is longer than any run and short enough that sums of such times do not overflow.
	Longest = 10_000 * time.Hour
	// Shortest is the shortest time between two things, and of a thing that lasts.
	Shortest = time.Millisecond
)

// Duration is a time of at least low.
func Duration(into *time.Duration, low time.Duration) language.Value {
	return language.Value{Form: form.Time, Low: written(low), Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a time such as 30s", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			r.Fail(path, n, "%q is not a time; write a number with a unit, such as 500ms, 30s, 5m, 1h", s)
		case d < low:
			r.Fail(path, n, "%s is too short; use at least %s", s, written(low))
		case d > Longest:
			r.Fail(path, n, "%s is too long; use at most %s", s, Longest)
		default:
			*into = d
		}
	}}
}

// Text writes a time as a scenario would, without the parts that are 0: 2m, not 2m0s.
func Text(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

func written(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	return Text(d)
}

// Seconds is a time in whole seconds, which is all that MQTT 5 has.
func Seconds(into *time.Duration) language.Value {
	return language.Value{Form: form.Time, Read: func(r *language.Reader, path string, n *yaml.Node) {
		before := r.Problems()
		var d time.Duration
		Duration(&d, 0).Read(r, path, n)
		switch {
		case r.Problems() > before:
		case d%time.Second != 0:
			r.Fail(path, n, "%s is no whole number of seconds, which is all that MQTT has", n.Value)
		default:
			*into = d
		}
	}}
}

// KeepAlive is a time in whole seconds, as many as fit into CONNECT (MQTT 3.1.1 section 3.1.2.10).
func KeepAlive(into *time.Duration) language.Value {
	return language.Value{Form: form.Time, Read: func(r *language.Reader, path string, n *yaml.Node) {
		before := r.Problems()
		var d time.Duration
		Duration(&d, time.Second).Read(r, path, n)
		switch {
		case r.Problems() > before:
		case d > math.MaxUint16*time.Second:
			r.Fail(path, n, "%s is too long; MQTT has at most 65535s, which is 18h12m15s", n.Value)
		case d%time.Second != 0:
			r.Fail(path, n, "%s is no whole number of seconds, which is all that MQTT has", n.Value)
		default:
			*into = d
		}
	}}
}

// Random is a time, or a random one.
func Random(into *chance.Distribution) language.Value {
	return language.Value{Form: form.Times, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if s, ok := r.Scalar(path, n, "a time such as 20m or 1m..5m", "!!str", "!!int", "!!float"); ok {
			d, err := chance.ParseDistribution(s)
			if err != nil {
				r.Fail(path, n, "%v", err)
				return
			}
			*into = d
		}
	}}
}

// Gaps is how often something is done: a time, or a random one with a mean.
func Gaps(mean *time.Duration, into *chance.Distribution) language.Value {
	return language.Value{Form: form.Gaps, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || !strings.ContainsAny(n.Value, "~.(") || n.ShortTag() != "!!str" {
			Duration(mean, Shortest).Read(r, path, n)
			return
		}
		if _, err := time.ParseDuration(n.Value); err == nil { // 1.5s
			Duration(mean, Shortest).Read(r, path, n)
			return
		}
		d, err := chance.ParseDistribution(n.Value)
		switch {
		case err != nil || strings.HasPrefix(strings.TrimSpace(n.Value), "normal"):
			r.Fail(path, n, "%q does not say how often; write 15s, 10s..20s for random gaps, or ~15s for independent ones with that mean", n.Value)
		case d.Mean() < Shortest:
			r.Fail(path, n, "%s is too short; use at least %s in the mean", n.Value, written(Shortest))
		case d.Mean() > Longest:
			r.Fail(path, n, "%s is too long; use at most %s", n.Value, Longest)
		default:
			*mean, *into = d.Mean(), d
		}
	}}
}

// Cron is a cron expression.
func Cron(into **cron.Expression) language.Value {
	return language.Value{Form: form.Text, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a cron expression such as */5 * * * *", "!!str")
		if !ok {
			return
		}
		c, err := cron.Parse(s)
		if err != nil {
			r.Fail(path, n, "%v", err)
			return
		}
		*into = c
	}}
}
