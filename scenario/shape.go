package scenario

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/schedule"
)

// Shape is how a rate, or a number of devices, changes over a stage when that is no straight line: from point to point, or in a sine.
// It is not changed after Load.
type Shape struct {
	points []point // in order of time; nil for a sine
	wave   *wave   // nil for points
	whole  time.Duration
}

// point is a value at a time of the stage. Between two of them the value changes linearly; two at one time are a jump.
type point struct {
	at    time.Duration
	value float64
	count int // of devices, as read; value follows from it
}

// wave is a sine around a mean.
type wave struct {
	mean, amplitude float64
	of              [2]int // mean and amplitude of devices, as read
	period          time.Duration
	phase           float64 // in periods
}

// mostPeriods bounds the waves of a stage.
const mostPeriods = 10_000

// curve is the shape over a stage that lasts so long and begins with a value, from which a shape goes to its first point.
func (x *Shape) curve(before float64, lasts time.Duration) schedule.Curve {
	if w := x.wave; w != nil {
		one := schedule.Segment{Duration: x.whole, From: w.mean, To: w.mean}
		if w.amplitude > 0 {
			one.Wave = schedule.Wave{Amplitude: w.amplitude, Period: w.period, Phase: w.phase}
		}
		return schedule.Curve{one}.Over(lasts)
	}
	var c schedule.Curve
	at, from := time.Duration(0), before
	for _, p := range x.points {
		if d := p.at - at; d > 0 {
			c = append(c, schedule.Segment{Duration: d, From: from, To: p.value})
		}
		at, from = p.at, p.value
	}
	if d := x.whole - at; d > 0 || len(c) == 0 {
		c = append(c, schedule.Segment{Duration: max(0, d), From: from, To: from})
	}
	return c.Over(lasts)
}

// scaled is the shape with all its values so many times as high.
func (x *Shape) scaled(factor float64) *Shape {
	out := *x
	out.points = slices.Clone(x.points)
	for i := range out.points {
		out.points[i].value *= factor
	}
	if x.wave != nil {
		w := *x.wave
		w.mean, w.amplitude = w.mean*factor, w.amplitude*factor
		out.wave = &w
	}
	return &out
}

// text is the shape as a scenario has it, with its values written by write.
func (x *Shape) text(write func(float64) string) string {
	if w := x.wave; w != nil {
		return fmt.Sprintf("{sine: {mean: %s, amplitude: %s, period: %s, phase: %s%%}}", write(w.mean), write(w.amplitude), timing.Text(w.period),
			strconv.FormatFloat(w.phase*100, 'f', -1, 64))
	}
	parts := make([]string, len(x.points))
	for i, p := range x.points {
		parts[i] = fmt.Sprintf("[%s, %s]", timing.Text(p.at), write(p.value))
	}
	return "{points: [" + strings.Join(parts, ", ") + "]}"
}

// words is the shape for people.
func (x *Shape) words(write func(float64) string) string {
	if w := x.wave; w != nil {
		return fmt.Sprintf("%s ± %s in waves of %s", write(w.mean), write(w.amplitude), timing.Text(w.period))
	}
	const few = 5
	if len(x.points) > few {
		by := func(a, b point) int { return cmp.Compare(a.value, b.value) }
		return fmt.Sprintf("%s to %s through %d points", write(slices.MinFunc(x.points, by).value), write(slices.MaxFunc(x.points, by).value), len(x.points))
	}
	parts := make([]string, len(x.points))
	for i, p := range x.points {
		parts[i] = write(p.value)
	}
	return strings.Join(parts, ", then ")
}

// Over is the rate over a stage that lasts so long.
func (x *Range) Over(lasts time.Duration) schedule.Curve {
	if x.Shape != nil {
		return x.Shape.curve(x.From, lasts)
	}
	return schedule.Curve{{Duration: lasts, From: x.From, To: x.To}}
}

// Constant reports whether the rate stays the same.
func (x *Range) Constant() bool { return x.Shape == nil && x.From == x.To }

// Peak is the highest rate.
func (x *Range) Peak() float64 {
	if x.Shape != nil {
		return x.Shape.curve(x.From, x.Shape.whole).Most(0, x.Shape.whole)
	}
	return max(x.From, x.To)
}

// Last is a rate that stays what the rate comes to; nil for nil.
func (x *Range) Last() *Range {
	if x == nil {
		return nil
	}
	return &Range{From: x.To, To: x.To}
}

// Scaled is the rate so many times as high.
func (x *Range) Scaled(factor float64) *Range {
	out := &Range{From: x.From * factor, To: x.To * factor}
	if x.Shape != nil {
		out.Shape = x.Shape.scaled(factor)
	}
	return out
}

// String is the rate as a scenario has it.
func (x Range) String() string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) + "/s" }
	switch {
	case x.Shape != nil:
		return x.Shape.text(number)
	case x.From == x.To:
		return number(x.From)
	}
	return number(x.From) + ".." + number(x.To)
}

// Words is the rate for people, of whom each value is written by write: "100/s", "0/s to 100/s", "100/s ± 50/s in waves of 1m".
func (x *Range) Words(write func(float64) string) string {
	switch {
	case x.Shape != nil:
		return x.Shape.words(write)
	case x.From == x.To:
		return write(x.To)
	}
	return write(x.From) + " to " + write(x.To)
}

// DeviceCurve is the number of active devices over a stage that begins with so many, when points or a sine say it; nil when they do not.
func (t *Stage) DeviceCurve(before int) schedule.Curve {
	if t.Course == nil {
		return nil
	}
	return t.Course.curve(float64(before), t.Duration)
}

// MostDevices is how many devices are active in a stage at the most, given how many are when it begins.
func (t *Stage) MostDevices(before int) int {
	if c := t.DeviceCurve(before); c != nil {
		return max(before, nearest(c.Most(0, c.Total())))
	}
	return max(before, t.Devices)
}

// CourseWords says how the number of devices changes, for people; "" when it does so linearly.
func (t *Stage) CourseWords() string {
	if t.Course == nil {
		return ""
	}
	return t.Course.words(func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) })
}

// nearest is the whole number that a curve of devices comes to, as schedule.Curve.Steps has it on the way up.
func nearest(x float64) int { return int(math.Ceil(x - 0.5)) }

// shaped reads a rate, which may have a shape.
func (in *reader) shaped(into **Range) language.Value {
	line := rate(into)
	keys := func(x *Shape) []language.Key {
		return shapeKeys(x, form.RatePoints, "rate", func(p *point) language.Value { return fixedRate(&p.value) },
			func(w *wave) (mean, amplitude language.Value) { return fixedRate(&w.mean), fixedRate(&w.amplitude) })
	}
	return language.Value{Form: form.RateShape, Keys: keys(new(Shape)), Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			line.Read(r, path, n)
			return
		}
		x := new(Shape)
		if !readShape(r, path, n, x, keys(x)) {
			return
		}
		switch w := x.wave; {
		case w != nil && w.amplitude > w.mean:
			r.Fail(path+".sine.amplitude", n, "the rate would go below 0: %g/s is more than the mean, %g/s", w.amplitude, w.mean)
		case w != nil && w.mean+w.amplitude > maxRate:
			r.Fail(path+".sine", n, "mean and amplitude are %.0f/s together, which is more than one process can start; use at most %.0f/s", w.mean+w.amplitude, maxRate)
		case w == nil && x.points[0].at > 0:
			r.Fail(path+".points[0][0]", n, "the first point of a rate is at 0s")
		default:
			*into = &Range{Shape: x}
		}
	}}
}

// courseKeys are those of a number of devices that has a shape.
func (in *reader) courseKeys(x *Shape) []language.Key {
	return shapeKeys(x, form.DevicePoints, "number of devices", func(p *point) language.Value { return in.devices(&p.count) },
		func(w *wave) (mean, amplitude language.Value) { return in.devices(&w.of[0]), in.devices(&w.of[1]) })
}

// isShape reports whether a mapping says a shape, and not numbers by group: a group may be called so, too.
func isShape(n *yaml.Node) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i].Value, n.Content[i+1]
		if k == "points" && v.Kind == yaml.SequenceNode || k == "sine" && v.Kind == yaml.MappingNode {
			return true
		}
	}
	return false
}

// readShape reads a shape from a mapping; ok is false when it has mistakes, which are problems.
func readShape(r *language.Reader, path string, n *yaml.Node, x *Shape, keys []language.Key) (ok bool) {
	before := r.Problems()
	r.Object(path, n, keys)
	if r.Problems() > before {
		return false
	}
	if (x.wave == nil) == (len(x.points) == 0) {
		r.Fail(path, n, "give either points: [[0s, …], [30s, …]] or sine: {mean: …, amplitude: …, period: …}")
		return false
	}
	if w := x.wave; w != nil {
		for _, key := range []string{"mean", "amplitude", "period"} {
			if !r.Given(path + ".sine." + key) {
				r.Fail(path+".sine", n, "%s is missing; write {mean: …, amplitude: …, period: 1m}", key)
			}
		}
	}
	return r.Problems() == before
}

// shapeKeys are the keys of a shape whose values are read by others.
func shapeKeys(x *Shape, points form.Form, what string, at func(*point) language.Value, around func(*wave) (mean, amplitude language.Value)) []language.Key {
	sine := func(w *wave) []language.Key {
		mean, amplitude := around(w)
		return []language.Key{
			key("mean", mean.Required(), none, "The "+what+" around which it goes."),
			key("amplitude", amplitude.Required(), none, "How far it goes above the mean, and below; no further than to 0."),
			key("period", timing.Duration(&w.period, time.Second).Required(), none, "How long a wave lasts."),
			key("phase", value.Share(&w.phase), is("0%"), "Where in its wave it begins: 0% at the mean and going up, 25% at the highest, 75% at the lowest."),
		}
	}
	return []language.Key{
		key("points", pointsOf(&x.points, points, at), none,
			"Pairs of a time after the stage's start and the "+what+" then: [[0s, …], [30s, …]]. Between two it changes linearly, two at one time are a jump, and after "+
				"the last it stays."),
		key("sine", value.Optional(&x.wave, value.Empty, sine), none, "A sine around a mean."),
	}
}

// pointsOf reads pairs of a time and a value.
func pointsOf(into *[]point, f form.Form, at func(*point) language.Value) language.Value {
	return language.Value{Form: f, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			r.Fail(path, n, "expected pairs such as [[0s, …], [30s, …]], found %s", language.KindName(n))
			return
		}
		if len(n.Content) == 0 {
			r.Fail(path, n, "there is no point; write pairs such as [[0s, …], [30s, …]]")
			return
		}
		all := make([]point, len(n.Content)) // the values stay where they are
		for i, item := range n.Content {
			one := fmt.Sprintf("%s[%d]", path, i)
			if item.Kind != yaml.SequenceNode || len(item.Content) != 2 {
				r.Fail(one, item, "a point is a time and a value, as in [30s, …]")
				return
			}
			r.Note(one+"[0]", item.Content[0])
			r.Note(one+"[1]", item.Content[1])
			before := r.Problems()
			timing.Duration(&all[i].at, 0).Read(r, one+"[0]", item.Content[0])
			if r.Problems() == before && i > 0 && all[i].at < all[i-1].at {
				r.Fail(one+"[0]", item.Content[0], "%s comes before the point at %s; write points in the order of their times", all[i].at, all[i-1].at)
			}
			at(&all[i]).Read(r, one+"[1]", item.Content[1])
		}
		*into = all
	}}
}

// fixedRate reads a rate that stays.
func fixedRate(into *float64) language.Value {
	return language.Value{Form: form.OneRate, Read: func(r *language.Reader, path string, n *yaml.Node) {
		value.Rate(func(from, to float64) {
			if from != to {
				r.Fail(path, n, "%q changes; write one rate, such as 100/s", n.Value)
			}
			*into = to
		}, maxRate).Read(r, path, n)
	}}
}

// finishShapes gives shapes the length of their stages, and says where they begin and end.
func (r *reader) finishShapes(s *Scenario) {
	before := 0
	for i := range s.Stages {
		t := &s.Stages[i]
		for _, x := range []*Range{t.ConnectRate, t.ReportRate, t.TelemetryRate} {
			if x != nil && x.Shape != nil {
				x.Shape.whole = t.Duration
				c := x.Over(t.Duration)
				x.From, x.To = c.At(0), c.At(t.Duration)
			}
		}
		if t.Course != nil {
			r.finishCourse(i, t, s, before)
		}
		if t.Devices >= 0 {
			before = t.Devices
		}
	}
}

// finishCourse makes the shape of a stage's number of devices from the numbers that were read, of which shares are not rounded in a sine:
// what goes around a half would not stay within the fleet.
func (r *reader) finishCourse(stage int, t *Stage, s *Scenario, before int) {
	x := t.Course
	x.whole = t.Duration
	for i := range x.points {
		x.points[i].value = float64(x.points[i].count)
	}
	if w := x.wave; w != nil {
		exact := func(into *int) float64 {
			for i := range r.numbers {
				if y := &r.numbers[i]; y.into == into && y.share >= 0 {
					return y.share * float64(y.of(s))
				}
			}
			return float64(*into)
		}
		if most := s.Devices() - w.of[0]; r.wantDevices != 0 && w.of[1] > most && exact(&w.of[0])+exact(&w.of[1]) > float64(s.Devices()) && most >= 0 {
			w.of[1] = most // both were rounded
			r.rescaled(fmt.Sprintf("stages[%d].devices.sine.amplitude", stage), most)
		}
		w.mean, w.amplitude = exact(&w.of[0]), exact(&w.of[1])
	}
	c := t.DeviceCurve(before)
	end := c.At(t.Duration)
	if t.Devices = nearest(end); math.Abs(end-math.Floor(end)-0.5) < 1e-6 { // it ends on the way from one number to the next
		t.Devices = before
		for step := range c.Steps(before) {
			t.Devices = step.Count
		}
	}
}

// validateCurves holds the shapes of a stage to its length and to the fleet.
func (r *reader) validateCurves(path string, t *Stage, s *Scenario) {
	hold := func(key string, x *Shape) {
		at := path + "." + key
		switch {
		case x == nil:
			return
		case t.Duration == 0:
			r.FailAt(at, t.place, "points and a sine need the stage's duration")
			return
		case x.wave != nil && t.Duration/x.wave.period > mostPeriods:
			r.FailAt(at+".sine.period", t.place, "%s has more than %d waves of %s; make them longer", timing.Text(t.Duration), mostPeriods, timing.Text(x.wave.period))
		case x.wave != nil && x.wave.period < time.Second:
			r.FailAt(at+".sine.period", t.place, "a wave of %s is shorter than a second; ask for longer stages", timing.Text(x.wave.period))
		}
		for i, p := range x.points {
			if p.at > t.Duration {
				r.FailAt(fmt.Sprintf("%s.points[%d][0]", at, i), t.place, "%s is after the end of the stage, which lasts %s", timing.Text(p.at), timing.Text(t.Duration))
				return
			}
		}
	}
	for key, x := range map[string]*Range{"connect_rate": t.ConnectRate, "report_rate": t.ReportRate, "telemetry_rate": t.TelemetryRate} {
		if x != nil {
			hold(key, x.Shape)
		}
	}
	hold("devices", t.Course)
	if t.Course == nil || r.Overlaps("fleet") {
		return
	}
	if w := t.Course.wave; w != nil {
		switch {
		case w.amplitude > w.mean+1e-9:
			r.FailAt(path+".devices.sine.amplitude", t.place, "the number of devices would go below 0: %g is more than the mean, %g", w.amplitude, w.mean)
		case w.mean+w.amplitude > float64(s.Devices())+1e-9:
			r.FailAt(path+".devices.sine", t.place, "up to %g devices, but the groups have %d in all", w.mean+w.amplitude, s.Devices())
		}
	}
	for i, p := range t.Course.points {
		if p.count > s.Devices() {
			r.FailAt(fmt.Sprintf("%s.devices.points[%d][1]", path, i), t.place, "%d devices, but the groups have %d in all; write 100%% for all of them", p.count, s.Devices())
		}
	}
}

// scaleShape makes a shape longer or shorter with its stage.
func (r *reader) scaleShape(path string, x *Shape, factor float64, before, longest time.Duration) {
	if x == nil {
		return
	}
	for i := range x.points {
		if p := &x.points[i]; p.at > 0 && p.at <= before {
			p.at = min(scaledTime(p.at, factor), longest)
			r.rescaled(fmt.Sprintf("%s.points[%d][0]", path, i), p.at)
		}
	}
	if w := x.wave; w != nil {
		w.period = max(timing.Shortest, scaledTime(w.period, factor))
		r.rescaled(path+".sine.period", w.period)
	}
}
