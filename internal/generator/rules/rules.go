// Package rules finds in a sample what kept the generator from delivering the load.
package rules

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/report"
)

// Bounds of the rules that find causes in a sample. Of each, bad is what counts by itself when it lasts, and explains what
// a stage's late operations are put down to.
//
//	stopped      the process stood still for still or longer, or the machine was suspended for so long
//	steal        the hypervisor took more than stolen of the processors
//	limit        a control group held the process up in more than held of its periods
//	process      more than busy of the processors for this process were in use by it
//	machine      more than busy of the machine's processors were in use by all programs, or some waited most of the time
//	garbage      more than collecting of the processors' time went into it
//	memory, descriptors, ports   more than full of the limit
//	reader       messages waited in the process for more than robbed until they were read
//	timers       the probe's timers fired more than late behind, whatever the reason
const (
	busy       = 0.90
	Late       = 10 * time.Millisecond // behind its time is an operation, or a timer, that starts late
	robbed     = 50 * time.Millisecond // larger: on a machine with other programs ten milliseconds are common
	stolen     = 0.10
	held       = 0.10
	crowded    = 0.50
	collecting = 0.25
	full       = 0.95
	still      = time.Second
)

// Rule finds one kind of cause in samples and says what was bad about the worst of them.
type Rule struct {
	Kind     report.CauseKind                     // that it finds
	Bad      func(s *generator.Sample) bool       // whether a sample counts by its own
	Explains func(s *generator.Sample) bool       // whether late operations are put down to it
	Size     func(s *generator.Sample) float64    // the larger, the worse
	Text     func(worst *generator.Sample) string // what was bad about a sample
	Remedy   string                               // what to do about it; may be empty
	// Of what starting tells: operations that start late are counted, so that seconds alone count only when they last.
	// Of the others a burst counts within a short stage.
	Starting bool
	Once     bool // one bad sample is enough
}

// All are the rules, in the order in which causes are named.
func All() []Rule {
	behind := func(s *generator.Sample) bool { return s.Late > robbed && s.Lag > robbed }
	mostly := func(s *generator.Sample) bool { return s.Cores > 0 && s.CPU > busy*float64(s.Cores) }
	return []Rule{
		{
			Kind: report.CauseStopped, Once: true,
			Bad:      func(s *generator.Sample) bool { return max(s.Stopped, s.Suspended) >= still },
			Explains: func(s *generator.Sample) bool { return max(s.Stopped, s.Suspended) >= still },
			Size:     func(s *generator.Sample) float64 { return float64(max(s.Stopped, s.Suspended)) },
			Text: func(s *generator.Sample) string {
				if s.Suspended > s.Stopped {
					return fmt.Sprintf("the machine was suspended for %.1f s", s.Suspended.Seconds())
				}
				return fmt.Sprintf("the process was stopped for %.1f s", s.Stopped.Seconds())
			},
		},
		{
			Kind: report.CauseSteal, Starting: true,
			Bad:      func(s *generator.Sample) bool { return steals(s) && behind(s) },
			Explains: steals,
			Size:     func(s *generator.Sample) float64 { return s.Steal },
			Text: func(s *generator.Sample) string {
				return fmt.Sprintf("the hypervisor gave %.1f of %d processors to other machines", s.Steal, s.Processors)
			},
			Remedy: "take a machine with processors of its own",
		},
		{
			Kind: report.CauseLimit, Starting: true,
			Bad:      func(s *generator.Sample) bool { return s.Held > held && behind(s) },
			Explains: func(s *generator.Sample) bool { return s.Held > held },
			Size:     func(s *generator.Sample) float64 { return s.Held },
			Text: func(s *generator.Sample) string {
				return fmt.Sprintf("the control group's limit of %.1f processors held the process up in %.0f %% of its periods", s.Limit, s.Held*100)
			},
			Remedy: "raise the limit",
		},
		{
			Kind: report.CauseProcess, Starting: true,
			Bad:      func(s *generator.Sample) bool { return mostly(s) && (s.Late > Late || s.Lag > Late) },
			Explains: func(s *generator.Sample) bool { return s.Cores > 0 && max(s.CPU, s.Own) > busy*float64(s.Cores) },
			Size:     func(s *generator.Sample) float64 { return float64(max(s.Late, s.Lag)) },
			Text: func(s *generator.Sample) string {
				return fmt.Sprintf("this process used %.1f of %d processors", max(s.CPU, s.Own), s.Cores)
			},
			Remedy: "give it more processors, or less to do",
		},
		{
			Kind: report.CauseMachine, Starting: true,
			Bad:      func(s *generator.Sample) bool { return crowds(s) && behind(s) && !mostly(s) },
			Explains: func(s *generator.Sample) bool { return crowds(s) && max(s.CPU, s.Own) <= busy*float64(s.Cores) },
			Size:     func(s *generator.Sample) float64 { return max(s.Machine, s.Waiting) },
			Text:     crowdText,
			Remedy:   "give the target, and other programs, a machine of their own",
		},
		{
			Kind:     report.CauseGarbage,
			Bad:      func(s *generator.Sample) bool { return s.GC > collecting },
			Explains: func(s *generator.Sample) bool { return s.GC > collecting },
			Size:     func(s *generator.Sample) float64 { return s.GC },
			Text: func(s *generator.Sample) string {
				return fmt.Sprintf("collecting garbage took up to %.0f %% of the processors' time", s.GC*100)
			},
			Remedy: "give it more memory, or raise GOGC",
		},
		filling(report.CauseMemory, "memory", "give it more memory, or fewer devices",
			func(s *generator.Sample) (float64, float64) { return mega(s.Memory), mega(s.MemoryLimit) }, " MB"),
		filling(report.CauseDescriptors, "descriptors", "raise ulimit -n",
			func(s *generator.Sample) (float64, float64) { return float64(s.Descriptors), float64(s.MaxDescriptors) }, ""),
		filling(report.CausePorts, "local ports", "name more fleet.source_addresses",
			func(s *generator.Sample) (float64, float64) { return float64(s.Ports), float64(s.MaxPorts) }, ""),
		{
			Kind:     report.CauseReader,
			Bad:      func(s *generator.Sample) bool { return s.Behind > robbed },
			Explains: func(*generator.Sample) bool { return false }, // reading makes nothing start late
			Size:     func(s *generator.Sample) float64 { return float64(s.Behind) },
			Text: func(s *generator.Sample) string {
				return fmt.Sprintf("this process read messages up to %s late", Milliseconds(s.Behind))
			},
			Remedy: "give it more processors, or fewer messages to read",
		},
		{
			Kind: report.CauseTimers, Starting: true,
			Bad: func(s *generator.Sample) bool {
				return behind(s) && !mostly(s) && !crowds(s) && !steals(s) && s.Held <= held
			},
			// Late timers are what each of the others causes: they are named when none of them is.
			Explains: func(s *generator.Sample) bool { return s.Late > Late },
			Size:     func(s *generator.Sample) float64 { return float64(s.Late) },
			Text: func(s *generator.Sample) string {
				return fmt.Sprintf("timers fired up to %s late (p99) while the process used %.1f of %d processors", Milliseconds(s.Late), s.CPU, s.Cores)
			},
			Remedy: "keep other programs off the machine",
		},
	}
}

func steals(s *generator.Sample) bool { return s.Steal > stolen*float64(max(1, s.Processors)) }

func crowds(s *generator.Sample) bool {
	return s.Processors > 0 && s.Machine > busy*float64(s.Processors) || s.Waiting > crowded
}

func crowdText(s *generator.Sample) string {
	if s.Processors == 0 {
		return fmt.Sprintf("programs waited for a processor of this machine in %.0f %% of the time, and this process used %.1f", s.Waiting*100, max(s.CPU, s.Own))
	}
	text := fmt.Sprintf("%.1f of %d processors of this machine were in use, %.1f by this process", min(s.Machine, float64(s.Processors)), s.Processors,
		max(s.CPU, s.Own))
	if s.Waiting > crowded {
		text += fmt.Sprintf(", and programs waited for one in %.0f %% of the time", s.Waiting*100)
	}
	return text
}

// filling is the rule for something of which there is a limited number.
func filling(kind report.CauseKind, what, remedy string, of func(*generator.Sample) (used, limit float64), unit string) Rule {
	over := func(s *generator.Sample) bool {
		used, limit := of(s)
		return limit > 0 && used > full*limit
	}
	return Rule{
		Kind: kind, Bad: over, Explains: over, Remedy: remedy,
		Size: func(s *generator.Sample) float64 { used, _ := of(s); return used },
		Text: func(s *generator.Sample) string {
			used, limit := of(s)
			return fmt.Sprintf("%.0f of %.0f%s %s were in use", used, limit, unit, what)
		},
	}
}

func mega(bytes uint64) float64 { return float64(bytes) / 1e6 }

// Milliseconds writes a time that is below a second or so.
func Milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/1e6) }

// Cause says what was bad about the worst sample; of those that lasted, for how long.
func (r *Rule) Cause(worst *generator.Sample, lasted time.Duration) report.Cause {
	text := r.Text(worst)
	if lasted > 0 && !r.Once {
		text += fmt.Sprintf(" for %.0f s", lasted.Seconds())
	}
	if r.Remedy != "" {
		text += "; " + r.Remedy
	}
	return report.Cause{Kind: r.Kind, Text: text}
}
