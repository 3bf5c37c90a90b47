package report

// Warning is the mark of what a reader must know.
func (s Style) Warning() string { return s.paint(yellow, "!") }

// Bad paints what is worse than it should be.
func (s Style) Bad(text string) string { return s.paint(red, text) }

// Doubtful paints what cannot be told.
func (s Style) Doubtful(text string) string { return s.paint(yellow, text) }

// Faint paints what only explains.
func (s Style) Faint(text string) string { return s.paint(faint, text) }
