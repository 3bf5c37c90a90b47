package scenario

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// longThreshold is a threshold in its long form.
type longThreshold struct {
	expr string
	threshold.Scope
}

func thresholdKeys(t *longThreshold) []language.Key {
	return []language.Key{
		key("threshold", value.Text(&t.expr).Required(), none,
			"The condition: a figure, a comparison (<, <=, >, >=, == or !=) and a value with its unit. Times: p(95) < 250ms, avg, "+
				"min, med, max. Operations done a second: rate > 10/s. Numbers: count (done), scheduled, on_time, late, dropped, errors, "+
				"timeouts, refused, throttled, unanswered == 0. Shares: success_rate > 99.9%, on_time_rate, late_rate, dropped_rate, "+
				"error_rate, timeout_rate, refused_rate, throttled_rate, unanswered_rate. Of deliveries: duplicates == 0, out_of_order, missing, duplicate_rate, out_of_order_rate, missing_rate. Of queries: expected_rate, correct_rate. Of "+
				"devices: connected_rate > 99%, connected."),
		key("stage", value.Name(&t.Stage), means("the whole run"),
			"The one stage whose operations count: those that were due in it, whenever they end, and whenever a message of it comes twice, out of order or not at all. A figure of the whole run hides what happened in a part of it."),
		key("window", timing.Duration(&t.Window, time.Second), means("all at once"),
			"The condition must hold in every stretch of this length, not only over all: 30s. A stretch in which nothing was due is "+
				"passed over, one in which work was due and none ended is missed."),
		key("for", timing.Duration(&t.For, 0), is("0s"), "Windows only: how long they must go on missing before that counts."),
		key("abort_on_fail", value.Bool(&t.Abort), is("false"), "End the run as soon as the threshold is missed; it is looked at once a second."),
		key("delay_abort", timing.Duration(&t.Delay, 0), is("0s"), "Do not end the run before so much of the stage, or of the run, is over."),
	}
}

// readThresholds reads thresholds by selector: a text, an object, or a list of both.
func (in *reader) readThresholds(s *Scenario) language.Value {
	return language.Value{Form: form.Bounds, Keys: thresholdKeys(new(longThreshold)), Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.Fail(path, n, "expected thresholds by operation, found %s", language.KindName(n))
			return
		}
		r.Pairs(path, n, func(selector string, _, v *yaml.Node) {
			items := []*yaml.Node{v}
			if v.Kind == yaml.SequenceNode {
				items = v.Content
			}
			for i, item := range items {
				at := language.Join(path, selector)
				if v.Kind == yaml.SequenceNode {
					at = fmt.Sprintf("%s[%d]", at, i)
				}
				t, ok := readThreshold(r, at, selector, item)
				if !ok {
					continue
				}
				s.Thresholds = append(s.Thresholds, t)
				in.thresholds = append(in.thresholds, reference{at, selector, language.PlaceOf(item)})
				if t.Scope.Stage != "" {
					in.stageNames = append(in.stageNames, reference{at + ".stage", t.Scope.Stage, language.PlaceOf(item)})
				}
			}
		})
	}}
}

// readThreshold reads one threshold.
func readThreshold(r *language.Reader, at, selector string, item *yaml.Node) (threshold.Threshold, bool) {
	long, where := longThreshold{}, at
	if item.Kind == yaml.MappingNode {
		before := r.Problems()
		r.Object(at, item, thresholdKeys(&long))
		if r.Problems() > before {
			return threshold.Threshold{}, false
		}
		where = at + ".threshold"
	} else {
		var ok bool
		if long.expr, ok = r.Scalar(at, item, `a text such as "p(95) < 250ms"`, "!!str"); !ok {
			return threshold.Threshold{}, false
		}
	}
	t, err := threshold.Parse(selector, long.expr)
	switch {
	case err != nil:
		r.Fail(where, item, "%v", err)
	case long.Window > threshold.MaxWindow:
		r.Fail(at+".window", item, "%s is too long; the longest window is %s", long.Window, threshold.MaxWindow)
	case long.For > 0 && long.Window == 0:
		r.Fail(at+".for", item, "for needs a window, such as window: 10s")
	case long.Delay > 0 && !long.Abort:
		r.Fail(at+".delay_abort", item, "delay_abort needs abort_on_fail: true")
	default:
		t.Scope = long.Scope
		return t, true
	}
	return threshold.Threshold{}, false
}
