package generator

import (
	"fmt"
	"time"

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
//	timers       the probe's timers fired more than late behind, whatever the reason
const (
	busy       = 0.90
	late       = 10 * time.Millisecond
	robbed     = 50 * time.Millisecond // larger: on a machine with other programs ten milliseconds are common
	stolen     = 0.10
	held       = 0.10
	crowded    = 0.50
	collecting = 0.25
	full       = 0.95
	still      = time.Second
)

// rule finds one kind of cause in samples and says what was bad about the worst of them.
type rule struct {
	kind     report.CauseKind
	bad      func(s *Sample) bool
	explains func(s *Sample) bool
	size     func(s *Sample) float64 // the larger, the worse
	text     func(worst *Sample) string
	remedy   string
	// Of what starting tells: operations that start late are counted, so that seconds alone count only when they last.
	// Of the others a burst counts within a short stage.
	starting bool
	once     bool // one bad sample is enough
}

func rules() []rule {
	behind := func(s *Sample) bool { return s.Late > robbed && s.Lag > robbed }
	mostly := func(s *Sample) bool { return s.Cores > 0 && s.CPU > busy*float64(s.Cores) }
	return []rule{
		{
			kind: report.CauseStopped, once: true,
			bad:      func(s *Sample) bool { return max(s.Stopped, s.Suspended) >= still },
			explains: func(s *Sample) bool { return max(s.Stopped, s.Suspended) >= still },
			size:     func(s *Sample) float64 { return float64(max(s.Stopped, s.Suspended)) },
			text: func(s *Sample) string {
				if s.Suspended > s.Stopped {
					return fmt.Sprintf("the machine was suspended for %.1f s", s.Suspended.Seconds())
				}
				return fmt.Sprintf("the process was stopped for %.1f s", s.Stopped.Seconds())
			},
		},
		{
			kind: report.CauseSteal, starting: true,
			bad:      func(s *Sample) bool { return steals(s) && behind(s) },
			explains: steals,
			size:     func(s *Sample) float64 { return s.Steal },
			text: func(s *Sample) string {
				return fmt.Sprintf("the hypervisor gave %.1f of %d processors to other machines", s.Steal, s.Processors)
			},
			remedy: "take a machine with processors of its own",
		},
		{
			kind: report.CauseLimit, starting: true,
			bad:      func(s *Sample) bool { return s.Held > held && behind(s) },
			explains: func(s *Sample) bool { return s.Held > held },
			size:     func(s *Sample) float64 { return s.Held },
			text: func(s *Sample) string {
				return fmt.Sprintf("the control group's limit of %.1f processors held the process up in %.0f %% of its periods", s.Limit, s.Held*100)
			},
			remedy: "raise the limit",
		},
		{
			kind: report.CauseProcess, starting: true,
			bad:      func(s *Sample) bool { return mostly(s) && (s.Late > late || s.Lag > late) },
			explains: func(s *Sample) bool { return s.Cores > 0 && max(s.CPU, s.Own) > busy*float64(s.Cores) },
			size:     func(s *Sample) float64 { return float64(max(s.Late, s.Lag)) },
			text: func(s *Sample) string {
				return fmt.Sprintf("this process used %.1f of %d processors", max(s.CPU, s.Own), s.Cores)
			},
			remedy: "give it more processors, or less to do",
		},
		{
			kind: report.CauseMachine, starting: true,
			bad:      func(s *Sample) bool { return crowds(s) && behind(s) && !mostly(s) },
			explains: func(s *Sample) bool { return crowds(s) && max(s.CPU, s.Own) <= busy*float64(s.Cores) },
			size:     func(s *Sample) float64 { return max(s.Machine, s.Waiting) },
			text:     crowdText,
			remedy:   "give the target, and other programs, a machine of their own",
		},
		{
			kind:     report.CauseGarbage,
			bad:      func(s *Sample) bool { return s.GC > collecting },
			explains: func(s *Sample) bool { return s.GC > collecting },
			size:     func(s *Sample) float64 { return s.GC },
			text: func(s *Sample) string {
				return fmt.Sprintf("collecting garbage took up to %.0f %% of the processors' time", s.GC*100)
			},
			remedy: "give it more memory, or raise GOGC",
		},
		filling(report.CauseMemory, "memory", "give it more memory, or fewer devices",
			func(s *Sample) (float64, float64) { return mega(s.Memory), mega(s.MemoryLimit) }, " MB"),
		filling(report.CauseDescriptors, "descriptors", "raise ulimit -n",
			func(s *Sample) (float64, float64) { return float64(s.Descriptors), float64(s.MaxDescriptors) }, ""),
		filling(report.CausePorts, "local ports", "name more fleet.source_addresses",
			func(s *Sample) (float64, float64) { return float64(s.Ports), float64(s.MaxPorts) }, ""),
		{
			kind: report.CauseTimers, starting: true,
			bad: func(s *Sample) bool { return behind(s) && !mostly(s) && !crowds(s) && !steals(s) && s.Held <= held },
			// Late timers are what each of the others causes: they are named when none of them is.
			explains: func(s *Sample) bool { return s.Late > late },
			size:     func(s *Sample) float64 { return float64(s.Late) },
			text: func(s *Sample) string {
				return fmt.Sprintf("timers fired up to %s late (p99) while the process used %.1f of %d processors", milliseconds(s.Late), s.CPU, s.Cores)
			},
			remedy: "keep other programs off the machine",
		},
	}
}

func steals(s *Sample) bool { return s.Steal > stolen*float64(max(1, s.Processors)) }

func crowds(s *Sample) bool {
	return s.Processors > 0 && s.Machine > busy*float64(s.Processors) || s.Waiting > crowded
}

func crowdText(s *Sample) string {
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
func filling(kind report.CauseKind, what, remedy string, of func(*Sample) (used, limit float64), unit string) rule {
	over := func(s *Sample) bool {
		used, limit := of(s)
		return limit > 0 && used > full*limit
	}
	return rule{
		kind: kind, bad: over, explains: over, remedy: remedy,
		size: func(s *Sample) float64 { used, _ := of(s); return used },
		text: func(s *Sample) string {
			used, limit := of(s)
			return fmt.Sprintf("%.0f of %.0f%s %s were in use", used, limit, unit, what)
		},
	}
}

func mega(bytes uint64) float64 { return float64(bytes) / 1e6 }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/1e6) }
