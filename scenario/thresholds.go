package scenario

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// longThreshold is a threshold in its long form.
type longThreshold struct {
	expr string
	threshold.Scope
}

func thresholdFields(t *longThreshold) []field {
	return []field{
		{"threshold", text(&t.expr).required(), none, "The condition: a figure, a comparison (<, <=, >, >=, == or !=) and a value with its unit. Times: p(95) < 250ms, avg, min, med, max. Operations done a second: rate > 10/s. Numbers: count (done), scheduled, on_time, late, dropped, errors, timeouts, refused, throttled, unanswered == 0. Shares: success_rate > 99.9%, on_time_rate, late_rate, dropped_rate, error_rate, timeout_rate, refused_rate, throttled_rate, unanswered_rate. Of queries: expected_rate, correct_rate. Of devices: connected_rate > 99%, connected."},
		{"stage", name(&t.Stage), means("the whole run"), "The one stage whose operations count. A figure of the whole run hides what happened in a part of it."},
		{"window", duration(&t.Window, second), means("all at once"), "The condition must hold in every stretch of this length, not only over all: 30s. A stretch in which nothing was due is passed over, one in which work was due and none ended is missed."},
		{"for", duration(&t.For, 0), is("0s"), "Windows only: how long they must go on missing before that counts."},
		{"abort_on_fail", boolean(&t.Abort), is("false"), "End the run as soon as the threshold is missed; it is looked at once a second."},
		{"delay_abort", duration(&t.Delay, 0), is("0s"), "Do not end the run before so much of the stage, or of the run, is over."},
	}
}

// readThresholds reads thresholds by selector: a text, an object, or a list of both.
func readThresholds(s *Scenario) value {
	return value{form: formBounds, fields: thresholdFields(new(longThreshold)), read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.fail(path, n, "expected thresholds by operation, found %s", kindName(n))
			return
		}
		r.pairs(path, n, func(selector string, _, v *yaml.Node) {
			items := []*yaml.Node{v}
			if v.Kind == yaml.SequenceNode {
				items = v.Content
			}
			for i, item := range items {
				at := join(path, selector)
				if v.Kind == yaml.SequenceNode {
					at = fmt.Sprintf("%s[%d]", at, i)
				}
				t, ok := r.threshold(at, selector, item)
				if !ok {
					continue
				}
				s.Thresholds = append(s.Thresholds, t)
				r.thresholds = append(r.thresholds, reference{at, selector, placeOf(item)})
				if t.Scope.Stage != "" {
					r.stageNames = append(r.stageNames, reference{at + ".stage", t.Scope.Stage, placeOf(item)})
				}
			}
		})
	}}
}

// threshold reads one threshold.
func (r *reader) threshold(at, selector string, item *yaml.Node) (threshold.Threshold, bool) {
	long, where := longThreshold{}, at
	if item.Kind == yaml.MappingNode {
		before := len(r.problems)
		r.object(at, item, thresholdFields(&long))
		if len(r.problems) > before {
			return threshold.Threshold{}, false
		}
		where = at + ".threshold"
	} else {
		var ok bool
		if long.expr, ok = r.scalar(at, item, `a text such as "p(95) < 250ms"`, "!!str"); !ok {
			return threshold.Threshold{}, false
		}
	}
	t, err := threshold.Parse(selector, long.expr)
	switch {
	case err != nil:
		r.fail(where, item, "%v", err)
	case long.Window > threshold.MaxWindow:
		r.fail(at+".window", item, "%s is too long; the longest window is %s", long.Window, threshold.MaxWindow)
	case long.For > 0 && long.Window == 0:
		r.fail(at+".for", item, "for needs a window, such as window: 10s")
	case long.Delay > 0 && !long.Abort:
		r.fail(at+".delay_abort", item, "delay_abort needs abort_on_fail: true")
	default:
		t.Scope = long.Scope
		return t, true
	}
	return threshold.Threshold{}, false
}
