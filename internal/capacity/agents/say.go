package agents

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report/human"
)

func many(n int) string { return human.Number(n, "agent") }

func processors(n int) string { return "its " + human.Number(n, "processor") }

func takes(n float64) string {
	return fmt.Sprintf("with all that runs here it would take %s of them", figure(n))
}

// figure writes a number of processors.
func figure(n float64) string {
	if n < 0.1 {
		return fmt.Sprintf("%.2g", n)
	}
	return fmt.Sprintf("%.1f", n)
}

// Lines say it, a fact each, and what they rest on. number writes a load without what it is made of.
func (n *Need) Lines(number func(load float64) string) []string {
	if n.Unknown != "" {
		return []string{fmt.Sprintf("how many agents would deliver %s cannot be told: %s", number(n.Load), n.Unknown)}
	}
	text := fmt.Sprintf("by arithmetic %s would be delivered by %s, each on a machine of this kind (%s) with nothing else on it, the target on another", number(n.Load), many(n.Machines), human.Number(n.Cores, "processor"))
	if n.Machines == 1 {
		text = fmt.Sprintf("by arithmetic %s would be delivered by 1 agent on a machine of this kind (%s) with nothing else on it, the target on another", number(n.Load), human.Number(n.Cores, "processor"))
	}
	if n.ByTrial {
		text += ": one more than those that were not enough, which by arithmetic were"
	}
	lines := []string{text}
	switch {
	case n.Local > 0:
		lines = append(lines, fmt.Sprintf("on this machine %s would do (--agents %d): what one process may open is the limit, not the machine", many(n.Local), n.Local))
	case n.NoLocal != "":
		lines = append(lines, "no number of agents on this machine would deliver it: "+n.NoLocal)
	}
	return append(lines, "that rests on "+n.rests(number))
}

// rests says what the number rests on: whatever of it is not so makes the number wrong.
func (n *Need) rests(number func(load float64) string) string {
	text := ""
	if each := n.Cost.Each(); each > 0 && n.Operations > 0 {
		how := "as measured at " + number(n.Cost.Load)
		if !n.Cost.Delivered {
			how += ", which was not delivered"
		}
		if n.Cost.HubShare > 0 {
			how += fmt.Sprintf(", without the %.0f %% that plan takes for the hub's", 100*n.Cost.HubShare)
		}
		text = fmt.Sprintf("%s of a processor an operation, %s, also for %s operations/s (%s processors, of which an agent uses %s at most); ",
			human.Duration(time.Duration(each*float64(time.Second))), how, count(n.Operations), figure(n.Processors), figure(n.Usable))
	}
	if n.Holds > 0 {
		text += fmt.Sprintf("%s an agent at most, for want of more than %s, as plan estimates; ", human.Number(n.Holds, "device"), n.Limit)
	}
	return text + "and a target, a network and a process that leads which hold that load: none of it was tried"
}

func count(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.2g", x)
	}
	return human.Count(int(x + 0.5))
}
