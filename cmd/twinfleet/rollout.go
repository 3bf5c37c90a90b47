package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/progress"
	told "github.com/twinfleet/twinfleet/internal/capacity/rollout/report"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// addRolloutFlags gives the command the flags of a rollout study.
func addRolloutFlags(f *pflag.FlagSet) {
	f.Bool("rollout", false, "how fast the fleet can be brought up, how long a reconnect storm takes, and with which back-off; instead of --vary")
	f.Int("devices", 0, "with --rollout: devices of the whole fleet, in the proportions of its groups (default: the scenario's own)")
	f.IntSlice("sizes", nil, "with --rollout: fleets that lose all connections, beside a quarter, half and all of the fleet: 500,1000")
}

// asksRollout reports whether a rollout study was asked for, wherever; its flags are for nothing else.
func asksRollout(cmd *cobra.Command) (bool, error) {
	s, err := loadSettings(cmd)
	if err != nil || s.v.GetBool("rollout") {
		return err == nil, err
	}
	for _, flag := range []string{"devices", "sizes"} {
		if s.typed(flag) {
			return false, usagef("--%s needs --rollout", flag)
		}
	}
	return false, nil
}

// rolling is a rollout study from the command line.
type rolling struct {
	trialing
	out *progress.Printer
}

func runRollout(ctx context.Context, e env, cmd *cobra.Command, file string) error {
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
	o, load, err := s.rollout(e, cmd, file)
	if err != nil {
		return err
	}
	x := &rolling{trialing: trialing{e: e, s: s, log: log}}
	if err := x.newCrew(ctx, load); err != nil {
		return err
	}
	defer x.crew.close()
	o.Crew, o.Notes = x.crew.told(), x.crew.notes()
	width, progressTo := e.terminal(), e.stderr
	if s.v.GetBool("quiet") {
		width, progressTo = 0, io.Discard
	}
	x.out = progress.New(progressTo, color.Style{Color: colored}, width)
	x.shown = x.out.Line
	defer x.out.Close()
	o.Start, o.Check, o.Begin, o.End = x.start, x.check, x.out.Begin, x.out.End
	study, err := rollout.New(o)
	if err != nil {
		return rolloutUsage(err)
	}
	x.keeping = study.Dir()
	if !s.v.GetBool("quiet") {
		logs.set(x.out)
	}
	server, err := serveHandler(s.v.GetString("metrics-addr"), !s.given("metrics-addr"), http.HandlerFunc(x.serveMetrics), log)
	if err != nil {
		return err
	}
	defer server.close()
	page, url, err := x.page(ctx,
		func(w io.Writer, live string) error { a := study.Answer(); return a.HTML(w, live) },
		func(w io.Writer) error { a := study.Answer(); return a.Write(w) })
	if err != nil {
		return err
	}
	defer page()
	if err := x.tell(study, url, server.url()); err != nil {
		return rolloutUsage(err)
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
	a, err := study.Run(soft)
	x.out.Close()
	logs.set(e.stderr)
	if printing := x.print(a, colored); printing != nil {
		return withCode(codeFailed, fmt.Errorf("printing the answer: %w", printing))
	}
	switch {
	case a.End == search.Stopped && soft.Err() != nil:
		return withCode(codeInterrupted, errSilent)
	case err != nil && a.End != answer.Unreachable:
		return withCode(codeFailed, err)
	}
	linger(soft, s.v.GetDuration("linger"), server)
	return withCode(rolloutCode(a), errSilent)
}

// rolloutCode is the exit code of an answer.
func rolloutCode(a *told.Answer) int {
	switch a.End {
	case search.Found:
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

// rolloutUsage makes what a study cannot begin with a mistake of usage.
func rolloutUsage(err error) error {
	if errors.Is(err, exercise.ErrNoDevices) || errors.Is(err, rollout.ErrBounds) {
		return usagef("%w", err)
	}
	return capacityUsage(err)
}

// rollout are the options of a study, as far as flags and files say.
func (s settings) rollout(e env, cmd *cobra.Command, file string) (o rollout.Options, l *loader, err error) {
	for _, flag := range []string{"vary", "hold", "settle", "connect-rate"} {
		if s.given(flag) && s.v.GetString(flag) != "" {
			return o, nil, usagef("--rollout and --%s exclude each other", flag)
		}
	}
	for flag, into := range map[string]*float64{"from": &o.From, "to": &o.To} {
		if text := s.v.GetString(flag); text != "" {
			if *into, err = trial.ConnectRate.ParseLoad(text); err != nil {
				return o, nil, usagef("--%s: %w", flag, err)
			}
		}
	}
	if o.Precision, err = shareOf(s.v.GetString("precision")); err != nil {
		return o, nil, usagef("--precision %w", err)
	}
	if o.For = s.v.GetDuration("for"); o.For < 0 || o.For > 0 && o.For < time.Second {
		return o, nil, usagef("--for %s: use a second or more", o.For)
	}
	if o.Exercise.Devices = s.v.GetInt("devices"); s.given("devices") && o.Exercise.Devices < 1 {
		return o, nil, usagef("--devices %d: use 1 or more", o.Exercise.Devices)
	}
	if o.Sizes, err = cmd.Flags().GetIntSlice("sizes"); err != nil {
		return o, nil, usagef("--sizes: %w", err)
	}
	o.Exercise.Tier, o.Exercise.Units = strings.ToUpper(s.v.GetString("tier")), s.v.GetInt("units")
	if o.Exercise.Tier != "" {
		if _, err := tier.For(tier.Tier(o.Exercise.Tier), o.Exercise.Units); err != nil {
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

// tell says what is going to happen, and how long it may take.
func (x *rolling) tell(study *rollout.Study, url, metrics string) error {
	whole, trials, err := study.Expected()
	if err != nil {
		return err
	}
	a := study.Answer()
	x.out.Say("%s · %s · rollout of %s, from %s", a.Scenario, a.Target, human.Number(a.Devices, "device"), trial.ConnectRate.Number(study.From()))
	for _, n := range a.Notes {
		x.out.Say("note: %s", n)
	}
	if n := study.Known(); n > 0 {
		x.out.Say("going on from %s of %s; --fresh begins anew", human.Number(n, "finished trial"), study.Dir())
	}
	text := fmt.Sprintf("some %d trials, about %s together", trials, minutes(whole))
	if d := x.s.v.GetDuration("for"); d > 0 {
		text += fmt.Sprintf(", %s at most", minutes(d))
	}
	x.out.Say("%s; Ctrl-C stops, and the same command goes on", text)
	for _, l := range []struct{ name, url string }{{"live page", url}, {"metrics", metrics}} {
		if l.url != "" {
			x.out.Say("%s: %s", l.name, l.url)
		}
	}
	return nil
}

// print prints the answer as it is wanted.
func (x *rolling) print(a *told.Answer, colored bool) error {
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
