package metrics

// Figure is a number that another room keeps and that /metrics shows: a counter when its name ends in "_total", else a gauge.
type Figure struct {
	Name    string   // begins with "twinfleet_"
	Help    string   // a sentence
	Labels  []string // their names; few, of bounded values, and never a device's id
	Samples []Sample // one for each combination of values of the labels
}

// One is a Figure without labels.
func One(name, help string, value float64) Figure {
	return Figure{Name: name, Help: help, Samples: []Sample{{Value: value}}}
}

// Sample is one value of a Figure, with the values of its labels in order.
type Sample struct {
	Labels []string // as many as Figure.Labels, in their order
	Value  float64  // the number
}

// Register shows numbers that another room keeps, such as the embedded hub's throttles, on /metrics. read is called once a
// scrape, and gives all of them as they are at one instant. It must be quick.
func (r *Recorder) Register(read func() []Figure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures = append(r.figures, read)
}

// Figures are the numbers that were registered, as they are now.
func (r *Recorder) Figures() []Figure {
	r.mu.Lock()
	reads := r.figures
	r.mu.Unlock()
	var all []Figure
	for _, read := range reads {
		all = append(all, read()...)
	}
	return all
}
