package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/progress"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/session"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

func newCapacity(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "capacity SCENARIO",
		Short: "Find the most that a target holds within a scenario's thresholds",
		Long: `Find the most that a target holds within a scenario's thresholds: the load goes up in steps until a threshold is
missed, then the limit is narrowed by bisection and confirmed. Each trial is a run of its own, with its record; its
load is judged once the figures have come to rest, and of a target that lets a burst pass, once that is used up.

--vary says what there is more and more of: ` + varieties() + `.
--rollout asks instead how fast the whole fleet can be brought up, how long a full reconnect storm takes at each size, and
which back-off brings it back soonest without harm.

A search that was stopped goes on where it was when the same command is given again.

Exit codes: 0 the limit was found, or all loads up to --to hold; 1 the target cannot be loaded; 2 the scenario or the usage is
wrong; 97 no limit can be said: the target does not behave alike, the day's messages are used up, or --for was too short; 98 the generator was the bottleneck; 99 no
load holds; 130 interrupted.`,
		Example: "  twinfleet capacity connectivity --vary devices\n  twinfleet capacity my.yaml --vary report_rate --from 20/s --for 30m\n  twinfleet capacity my.yaml --rollout --sizes 500,1000",
		Args:    cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addTrialFlags(c)
	addSetFlag(c)
	f := c.Flags()
	f.String("vary", "", "what there is more and more of: "+varieties())
	f.String("from", "", "first load: a number of devices, or a rate such as 50/s or 20/min (default: the scenario's own)")
	f.String("to", "", "highest load (default: a thousand times the first)")
	f.String("precision", "5%", "how close what holds and what does not must come")
	f.Duration("hold", 0, "how long a load is judged (default: 30s, or until there are enough operations for the thresholds)")
	f.Duration("settle", 0, "how long the figures may take to come to rest (default: twice as long)")
	f.String("connect-rate", "", "at which rate devices are brought up for a trial (default: the scenario's own)")
	f.Duration("for", 0, "begin no trial that would end later; 0 is without end")
	f.String("tier", "", "what a hub elsewhere is known to be: F1, B1, B2, B3, S1, S2 or S3 (default: the scenario's own)")
	f.Int("units", 1, "units of the tier")
	f.String("out", "runs", "folder that takes the search, with a record of each trial; none when empty")
	f.Bool("fresh", false, "begin anew, although an unfinished search of the same could go on")
	f.Bool("force", false, "make trials although this machine has too little for them")
	f.String("metrics-addr", "127.0.0.1:9464", "address that serves /metrics of the trial under way; another port when this one is taken, unless it was asked for; none when empty")
	f.Duration("linger", 0, "keep /metrics open so long after the last trial, for a last scrape")
	addLiveFlags(c)
	addRolloutFlags(f)
	f.Bool("json", false, "print the answer as JSON")
	f.Bool("markdown", false, "print the answer as Markdown")
	f.Bool("quiet", false, "print no progress, only the answer")
	f.String("color", "auto", "colours: auto, always or never")
	if err := c.RegisterFlagCompletionFunc("vary", cobra.FixedCompletions(strings.Split(varieties(), ", "), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if asked, err := asksRollout(cmd); err != nil || asked {
			if err != nil {
				return err
			}
			return runRollout(cmd.Context(), e, cmd, args[0])
		}
		return runCapacity(cmd.Context(), e, cmd, args[0])
	}
	return c
}

// varieties are what can be varied, as people read it.
func varieties() string {
	var names []string
	for _, v := range trial.All() {
		names = append(names, string(v))
	}
	return strings.Join(names, ", ")
}

// searching is a search from the command line.
type searching struct {
	trialing
	out *progress.Printer
}

func runCapacity(ctx context.Context, e env, cmd *cobra.Command, file string) error {
	e.outlive()
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	logs := &logSink{w: e.stderr}
	log, err := s.logger(logs)
	if err != nil {
		return err
	}
	colored, err := s.color(e)
	if err != nil {
		return err
	}
	o, load, err := s.capacity(e, file)
	if err != nil {
		return err
	}
	x := &searching{trialing: trialing{e: e, s: s, log: log}}
	if err := x.newCrew(ctx, load); err != nil {
		return err
	}
	defer x.crew.close()
	o.Crew, o.Notes = x.crew.told(), x.crew.notes()
	width, progressTo := e.terminal(), e.stderr
	if s.v.GetBool("quiet") {
		width, progressTo = 0, io.Discard
	}
	x.out = progress.New(progressTo, color.Style{Color: colored}, o.Vary, width)
	x.shown = x.out.Line
	defer x.out.Close()
	o.Start, o.Begin, o.End = x.start, x.out.Begin, x.out.End
	o.Check = func(t *trial.Trial) error { return x.check(t.Scenario) }
	found, err := session.New(o)
	if err != nil {
		return capacityUsage(err)
	}
	x.keeping = found.Dir()
	x.figures = func() []metrics.Figure { a := found.Answer(); return a.Figures() }
	if !s.v.GetBool("quiet") {
		logs.set(x.out)
	}
	server, err := serveHandler(s.v.GetString("metrics-addr"), !s.given("metrics-addr"), http.HandlerFunc(x.serveMetrics), log)
	if err != nil {
		return err
	}
	defer server.close()
	page, url, err := x.page(ctx,
		func(w io.Writer, live string) error { a := found.Answer(); return a.HTML(w, live) },
		func(w io.Writer) error { a := found.Answer(); return a.Write(w) })
	if err != nil {
		return err
	}
	defer page()
	if err := x.tell(found, url, server.url()); err != nil {
		return capacityUsage(err)
	}
	soft, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	hard, done := e.stopperSaying(ctx, log, "stopping: the trial under way is given up, and what is known is reported; once more stops at once", func() {
		stop(errInterrupted)
	})
	defer done()
	if x.crew.interrupted() {
		stop(errInterrupted)
	}
	stopping := context.AfterFunc(hard, func() { stop(context.Cause(hard)) })
	defer stopping()
	x.hard = hard
	a, err := found.Run(soft)
	x.out.Close()
	logs.set(e.stderr)
	if printing := x.print(a, colored); printing != nil {
		return withCode(codeFailed, fmt.Errorf("printing the answer: %w", printing))
	}
	switch {
	case a.End == search.Stopped && soft.Err() != nil:
		return withCode(codeInterrupted, errSilent)
	case err != nil && a.End != answer.Changed && a.End != answer.Unreachable && a.End != answer.NoData:
		return withCode(codeFailed, err)
	}
	linger(soft, s.v.GetDuration("linger"), server)
	return withCode(capacityCode(a), errSilent)
}

// capacityCode is the exit code of an answer.
func capacityCode(a *answer.Answer) int {
	switch a.End {
	case search.Found, search.AtLeast:
		return codeOK
	case search.Generator:
		return codeSaturated
	case search.Below:
		return codeThreshold
	case answer.Unreachable:
		return codeFailed
	default:
		return codeCannotTell
	}
}

// capacityUsage makes what a search cannot begin with a mistake of usage.
func capacityUsage(err error) error {
	var coded *exitError
	switch {
	case errors.As(err, &coded):
		return err
	case errors.Is(err, trial.ErrNothingToVary), errors.Is(err, trial.ErrNoThresholds), errors.Is(err, session.ErrNoStart):
		return usagef("%w", err)
	}
	return withCode(codeFailed, err)
}

// capacity are the options of a search, as far as flags and files say.
func (s settings) capacity(e env, file string) (o session.Options, l *loader, err error) {
	if s.v.GetBool("json") && s.v.GetBool("markdown") {
		return o, nil, usagef("--json and --markdown: give one of them")
	}
	if o.Vary, err = varyOf(s.v.GetString("vary")); err != nil {
		return o, nil, err
	}
	for flag, into := range map[string]*float64{"from": &o.From, "to": &o.To} {
		if text := s.v.GetString(flag); text != "" {
			if *into, err = o.Vary.ParseLoad(text); err != nil {
				return o, nil, usagef("--%s: %w", flag, err)
			}
		}
	}
	if text := s.v.GetString("connect-rate"); text != "" {
		if o.Trial.ConnectRate, err = trial.ConnectRate.ParseLoad(text); err != nil {
			return o, nil, usagef("--connect-rate: %w", err)
		}
	}
	if o.Precision, err = shareOf(s.v.GetString("precision")); err != nil {
		return o, nil, usagef("--precision %w", err)
	}
	o.Trial.Hold, o.Trial.Settle, o.For = s.v.GetDuration("hold"), s.v.GetDuration("settle"), s.v.GetDuration("for")
	for flag, d := range map[string]time.Duration{"hold": o.Trial.Hold, "settle": o.Trial.Settle, "for": o.For} {
		if d < 0 || d > 0 && d < time.Second {
			return o, nil, usagef("--%s %s: use a second or more", flag, d)
		}
	}
	o.Trial.Tier, o.Trial.Units = strings.ToUpper(s.v.GetString("tier")), s.v.GetInt("units")
	if o.Trial.Tier != "" {
		if _, err := tier.For(tier.Tier(o.Trial.Tier), o.Trial.Units); err != nil {
			return o, nil, usagef("--tier: %w", err)
		}
	}
	if l, err = s.trials(e, file); err != nil {
		return o, nil, err
	}
	o.Load = l.load
	o.Root, o.Anew, o.Version = s.v.GetString("out"), s.v.GetBool("fresh"), versionText()
	return o, l, nil
}

func varyOf(text string) (trial.Vary, error) {
	if text == "" {
		return "", usagef("what to vary is missing; give --vary with one of %s", varieties())
	}
	for _, v := range trial.All() {
		if text == string(v) {
			return v, nil
		}
	}
	return "", usagef("--vary %q: use one of %s", text, varieties())
}

// shareOf reads a precision.
func shareOf(text string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	share, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !percent || !(share >= 1 && share <= 50) {
		return 0, fmt.Errorf("%q: write a share from 1%% to 50%%", text)
	}
	return share / 100, nil
}

// tell says what is going to happen, and how long it may take.
func (x *searching) tell(found *session.Session, url, metrics string) error {
	expected, err := found.Expected()
	if err != nil {
		return err
	}
	a := found.Answer()
	x.out.Say("%s · %s · varying %s from %s", a.Scenario, a.Target, a.Vary, a.Vary.Text(found.From()))
	for _, n := range a.Notes {
		x.out.Say("note: %s", n)
	}
	if n := found.Known(); n > 0 {
		x.out.Say("going on from %s of %s; --fresh begins anew", human.Number(n, "finished trial"), found.Dir())
	}
	text := fmt.Sprintf("a trial takes about %s, some %d of them %s", minutes(expected.Each), expected.Trials, minutes(expected.Each*time.Duration(expected.Trials)))
	if d := x.s.v.GetDuration("for"); d > 0 {
		text += fmt.Sprintf(", %s at most", minutes(d))
	}
	x.out.Say("%s; Ctrl-C stops, and the same command goes on", text)
	if expected.Messages > 0 {
		x.out.Say("they use some %s of the day's messages, and more when the limit is far above the first load", human.Count(int64(expected.Messages)))
	}
	for _, l := range []struct{ name, url string }{{"live page", url}, {"metrics", metrics}} {
		if l.url != "" {
			x.out.Say("%s: %s", l.name, l.url)
		}
	}
	return nil
}

func minutes(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	if d < 2*time.Hour {
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f h", d.Hours())
}

// print prints the answer as it is wanted.
func (x *searching) print(a *answer.Answer, colored bool) error {
	switch {
	case x.s.v.GetBool("json"):
		return a.Write(x.e.stdout)
	case x.s.v.GetBool("markdown"):
		return a.Markdown(x.e.stdout)
	}
	if a.Dir != "" {
		a.Dir = filepath.Clean(a.Dir)
	}
	return a.Text(x.e.stdout, color.Style{Color: colored})
}
