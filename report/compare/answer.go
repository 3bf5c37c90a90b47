package compare

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report/human"
)

// Sentence is the answer in a line.
func (c *Comparison) Sentence() string {
	worse, unsure, judged := len(c.Regressions()), len(c.Unsure()), len(c.judged())
	switch {
	case len(c.Unfit) > 0:
		text := "cannot tell: the figures are the generator's, not the target's"
		if judged > 0 {
			text += fmt.Sprintf("; %s of %d would be worse", count(worse, "figure"), judged)
		}
		return text
	case worse > 0:
		return fmt.Sprintf("worse: %s of %d", count(worse, "figure"), judged)
	case judged == 0:
		return "cannot tell: there is no figure that both runs have enough of"
	case len(c.late()) > 0:
		return fmt.Sprintf("cannot tell: for %s of %d the machine was too busy; run both on a quiet one", count(len(c.late()), "figure"), judged)
	case unsure > 0:
		return fmt.Sprintf("too short to tell: %s of %d may be worse by more than the margin; run both longer", count(unsure, "figure"), judged)
	case len(c.Doubts) > 0:
		return fmt.Sprintf("cannot tell: nothing is worse in the %s that both runs have, but that is not all there is to know",
			human.Duration(c.Compared.Round(time.Second)))
	default:
		return fmt.Sprintf("not worse by more than the margins: %s", count(judged, "figure"))
	}
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Regressions are the rows that are worse.
func (c *Comparison) Regressions() []Row { return c.rows((*Row).Bad) }

// Unsure are the rows of whole operations that cannot be told. Of a group it is only asked whether it is worse.
func (c *Comparison) Unsure() []Row {
	return c.rows(func(r *Row) bool { return (r.Verdict == TooShort || r.Verdict == LateStart) && r.Group == "" })
}

func (c *Comparison) late() []Row {
	return c.rows(func(r *Row) bool { return r.Verdict == LateStart && r.Group == "" })
}

func (c *Comparison) rows(which func(*Row) bool) []Row {
	var out []Row
	for i := range c.Rows {
		if which(&c.Rows[i]) {
			out = append(out, c.Rows[i])
		}
	}
	return out
}

// judged are the rows from which the answer follows.
func (c *Comparison) judged() []Row {
	return c.rows(func(r *Row) bool { return r.Verdict != TooFew })
}

// Answer is what the whole comparison says.
func (c *Comparison) Answer() Answer {
	switch {
	case len(c.Unfit) > 0:
		return CannotTell
	case len(c.Regressions()) > 0:
		return SomethingWorse
	case len(c.Doubts) > 0 || len(c.Unsure()) > 0 || len(c.judged()) == 0:
		return CannotTell
	default:
		return NothingWorse
	}
}
