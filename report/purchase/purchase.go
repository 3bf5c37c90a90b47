// Package purchase writes what must be bought for people: on a terminal, in Markdown, and as the rows of a table.
package purchase

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/human"
)

// Mark is how a line is to be taken.
type Mark string

// The marks, as terminals show them.
const (
	Good Mark = "✓"
	Bad  Mark = "✗"
	Warn Mark = "!"
	None Mark = " "
)

// Line is a line of the answer.
type Line struct {
	Mark Mark
	Text string
}

// Headline says what to buy, in a line.
func Headline(p *report.Purchase) string {
	switch {
	case p.Best != nil:
		return fmt.Sprintf("%s: %s a month", p.Best.Name(), p.Prices.Money(p.Best.PerMonth))
	case p.Hubs != nil && p.Hubs.Count > 0:
		return fmt.Sprintf("no single hub carries it: %s of %s each, %s a month", human.Number(p.Hubs.Count, "hub"), p.Hubs.Each.Name(), p.Prices.Money(p.Hubs.PerMonth))
	default:
		return "no purchase carries it, nor does any number of hubs"
	}
}

// Columns are the headings of Rows.
func Columns() []string {
	return []string{"limit", "all day", "peak", "needed", "allowed", "head-room"}
}

// Rows are the limits, and what the load asks of them.
func Rows(p *report.Purchase) [][]string {
	var rows [][]string
	for i := range p.Classes {
		r := &p.Classes[i]
		write := rate
		if r.Day {
			write = count
		}
		allowed, head := write(r.Allowed), fmt.Sprintf("%.0f %%", math.Floor(100*r.Headroom+1e-6))
		if r.Headroom > 0 && r.Headroom < 0.01 {
			head = "<1 %"
		}
		if r.PerHub && !r.Day {
			allowed += " a hub"
		}
		if r.Headroom < 0 {
			head = "too little"
		}
		if r.Binds {
			head += ", binds"
		}
		peak := ""
		if r.Peak > 0 {
			peak = rate(r.Peak)
		}
		rows = append(rows, []string{r.Class, between(write, r.MeanLeast, r.Mean, r.Allowed), peak, between(write, r.NeededLeast, r.Needed, r.Allowed), allowed, head})
	}
	return rows
}

// Caption says to what the rows are held.
func Caption(p *report.Purchase) string {
	text := fmt.Sprintf("held to %s", p.Against.Name())
	if p.Steady != "" {
		text += "; all day: " + p.Steady
	}
	return text
}

// Lines say why it is this purchase, and what else there is.
func Lines(p *report.Purchase) []Line {
	var all []Line
	add := func(m Mark, format string, a ...any) { all = append(all, Line{m, fmt.Sprintf(format, a...)}) }
	if h := p.Held; h != nil {
		if h.Carries {
			add(Good, "%s, %s a month, carries the load all day and in its peaks", h.Name(), p.Prices.Money(h.PerMonth))
		}
		for _, x := range h.Fails {
			add(Bad, "%s: %s", h.Name(), x)
		}
		for _, x := range h.Possible {
			add(Warn, "%s: %s", h.Name(), x)
		}
	}
	if p.Best == nil && p.Held == nil {
		for _, x := range append(append([]string(nil), p.Against.Fails...), p.Against.Possible...) {
			add(Bad, "the largest, %s: %s", p.Against.Name(), x)
		}
	}
	if x := p.BestLeast; x != nil {
		add(Warn, "what queries find decides: if they find nothing, %s for %s a month would do", x.Name(), p.Prices.Money(x.PerMonth))
	}
	for _, x := range []struct {
		what  string
		offer *report.Offer
	}{{"next cheaper", p.Next}, {"one unit less", p.Less}} {
		if x.offer != nil {
			name := x.what
			if x.offer.Trial {
				name += ", and not for production"
			}
			add(Bad, "%s, %s (%s): %s", name, x.offer.Name(), p.Prices.Money(x.offer.PerMonth), x.offer.Why())
		}
	}
	for i := range p.Tiers {
		o := &p.Tiers[i]
		switch {
		case o.Carries && p.Best != nil && o.Tier == p.Best.Tier:
		case o.Trial: // it is never the answer; a note says when it would carry the load
		case o.Carries:
			add(None, "also carries it: %s (%s)", o.Name(), p.Prices.Money(o.PerMonth))
		case p.Next != nil && o.Tier == p.Next.Tier && o.Units == p.Next.Units, strings.HasPrefix(o.Why(), "twins: "):
		case p.Best == nil: // the largest says it
		default:
			add(None, "no number of units of %s: with %s, %s", o.Tier, human.Number(o.Units, "unit"), o.Why())
		}
	}
	for _, x := range p.SetUp {
		add(None, "once, before the load: %s", x)
	}
	for _, x := range p.Notes {
		add(Warn, "%s", x)
	}
	return all
}

// Changes say what would make it cheaper.
func Changes(p *report.Purchase) []string {
	var all []string
	for _, c := range p.Changes {
		text := fmt.Sprintf("%s: %s", c.Text, c.Offer.Name())
		if p.Best != nil {
			text += fmt.Sprintf(" instead of %s, %s a month less", p.Best.Name(), p.Prices.Money(c.Saves))
		} else {
			text += fmt.Sprintf(" carries it, %s a month", p.Prices.Money(c.Offer.PerMonth))
		}
		all = append(all, text)
	}
	return all
}

// mostKeys is how many keys inVain names.
const mostKeys = 8

// inVain says what was tried to make it cheaper, and did not: no more than that. It is empty where there is nothing to say.
func inVain(p *report.Purchase) string {
	t := p.Tried
	if t == nil || t.Changes == 0 || len(p.Changes) > 0 || p.Best != nil && (p.Next == nil || p.Next.Trial) {
		return ""
	}
	keys := strings.Join(t.Keys[:min(len(t.Keys), mostKeys)], ", ")
	if more := len(t.Keys) - mostKeys; more > 0 {
		keys += fmt.Sprintf(" and %s more", human.Number(more, "key"))
	}
	does := "makes it cheaper"
	if p.Best == nil {
		does = "lets one hub carry it"
	}
	return fmt.Sprintf("none of the %s that were tried, each alone, %s: of %s", human.Number(t.Changes, "change"), does, keys)
}

// Source says where prices and limits are from.
func Source(p *report.Purchase) string {
	return fmt.Sprintf("prices: %s, %s, %s (%s); limits: %s. Check both before you buy.", p.Prices.Currency, p.Prices.Region, p.Prices.Date, p.Prices.Source, p.Prices.Limits)
}

// Text writes the answer for a terminal.
func Text(w io.Writer, p *report.Purchase) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "what to buy: %s\n\n", Headline(p))
	for _, line := range human.Columns(append([][]string{Columns()}, Rows(p)...), func(c int) bool { return c > 0 }) {
		b.WriteString("  " + line + "\n")
	}
	human.Wrap(b, "  ", "  ", Caption(p))
	b.WriteString("\n")
	for _, l := range Lines(p) {
		human.Wrap(b, string(l.Mark)+" ", "  ", l.Text)
	}
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		b.WriteString("\n" + title + "\n")
		for _, x := range lines {
			human.Wrap(b, "  - ", "    ", x)
		}
	}
	cheaper := "cheaper would be"
	if p.Best == nil {
		cheaper = "one hub would do with"
	}
	section(cheaper, Changes(p))
	if text := inVain(p); text != "" {
		b.WriteString("\n")
		human.Wrap(b, "  ", "  ", text)
	}
	section("what this cannot know", p.Unknown)
	b.WriteString("\n")
	human.Wrap(b, "", "", Source(p))
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown writes the answer for a page or a comment.
func Markdown(w io.Writer, p *report.Purchase) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "### What to buy: %s\n\n| %s |\n|---%s|\n", clean.Markdown(Headline(p)), strings.Join(Columns(), " | "), strings.Repeat("|--:", len(Columns())-1))
	for _, row := range Rows(p) {
		fmt.Fprintf(b, "| %s |\n", strings.Join(clean.MarkdownCells(row), " | "))
	}
	fmt.Fprintf(b, "\n%s\n\n", clean.Markdown(strings.ToUpper(Caption(p)[:1])+Caption(p)[1:]+"."))
	for _, l := range Lines(p) {
		sign := map[Mark]string{Good: "✅ ", Bad: "❌ ", Warn: "⚠️ "}[l.Mark]
		fmt.Fprintf(b, "- %s%s\n", sign, clean.Markdown(l.Text))
	}
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(b, "\n**%s**\n\n", title)
		for _, x := range lines {
			fmt.Fprintf(b, "- %s\n", clean.Markdown(x))
		}
	}
	title := "Cheaper would be"
	if p.Best == nil {
		title = "One hub would do with"
	}
	section(title, Changes(p))
	if text := inVain(p); text != "" {
		fmt.Fprintf(b, "\n%s.\n", clean.Markdown(strings.ToUpper(text[:1])+text[1:]))
	}
	section("What this cannot know", p.Unknown)
	fmt.Fprintf(b, "\n%s\n", clean.Markdown(Source(p)))
	_, err := io.WriteString(w, b.String())
	return err
}

func count(x float64) string { return human.Count(int64(math.Ceil(x - 1e-6))) }

// rate writes a rate with the unit that a person would choose.
func rate(perSecond float64) string {
	number, unit := perSecond, "/s"
	if perSecond < 1 {
		number, unit = perSecond*60, "/min"
	}
	switch {
	case perSecond == 0:
		return "0"
	case number >= 100:
		return human.Count(int64(number+0.5)) + unit
	case number < 0.1:
		return "<0.1" + unit
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", number), ".0") + unit
}

// between writes what is known to lie between two numbers, with as many digits as it takes to tell them from each other and from the
// limit that they are held to.
func between(write func(float64) string, least, most, limit float64) string {
	if write(least) == write(most) {
		return apart(write, most, limit)
	}
	for places := 1; places < 6; places++ {
		low, high := roughly(write, least, places), roughly(write, most, places)
		if low != high && (high != roughly(write, limit, places) || most == limit) && (low != roughly(write, limit, places) || least == limit) {
			return low + " to " + high
		}
	}
	return apart(write, least, limit) + " to " + apart(write, most, limit)
}

// apart writes a number so that it differs from the limit if it is another.
func apart(write func(float64) string, x, limit float64) string {
	text := write(x)
	if text != write(limit) || math.Abs(x-limit) <= 1e-9*limit || !strings.Contains(text, "/") {
		return text
	}
	unit := "/s"
	if strings.HasSuffix(text, "/min") {
		x, limit, unit = 60*x, 60*limit, "/min"
	}
	return human.Apart(x, limit) + unit
}

func roughly(write func(float64) string, x float64, places int) string {
	switch {
	case x >= 1e9:
		return human.Count(int64(x/1e6+0.5)) + " M"
	case x >= 1e6:
		return fmt.Sprintf("%.*f M", places, x/1e6)
	}
	return write(x)
}
