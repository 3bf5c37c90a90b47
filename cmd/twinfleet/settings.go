package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/twinfleet/twinfleet/internal/regular"
	"github.com/twinfleet/twinfleet/report/clean"
)

// settings are the process's own values: flags over TWINFLEET_* environment variables over
// a configuration file over defaults. Scenarios are not read with it: viper folds the case of keys.
type settings struct {
	v     *viper.Viper
	flags *pflag.FlagSet // of the command
}

// addCommonFlags gives a command the flags that every long-running command takes.
func addCommonFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("config", "", "file with settings (YAML, TOML or JSON), one key a flag")
	f.String("log-level", "warn", "least level of log lines: debug, info, warn or error")
	f.String("log-format", "text", "format of log lines: text or json")
}

// loadSettings merges the sources and gives each flag its final value, so that the flag's own
// parser refuses a bad value wherever it came from.
func loadSettings(c *cobra.Command) (settings, error) {
	v := viper.New()
	s := settings{v, c.Flags()}
	if err := v.BindPFlags(c.Flags()); err != nil {
		return s, fmt.Errorf("binding flags: %w", err)
	}
	v.SetEnvPrefix("TWINFLEET")
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	v.AutomaticEnv()
	if file := v.GetString("config"); file != "" {
		if err := regular.Check(file, maxSettings); err != nil {
			return s, usagef("reading settings: %w", err)
		}
		v.SetConfigFile(file)
		if err := v.ReadInConfig(); err != nil {
			return s, usagef("reading %s: %w", file, err)
		}
		if err := checkKeys(c, file); err != nil {
			return s, err
		}
	}
	var errs []error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || !v.IsSet(f.Name) {
			return
		}
		if err := setFlag(f, v); err != nil {
			errs = append(errs, fmt.Errorf("setting %s (TWINFLEET_%s or the configuration file): %w",
				f.Name, strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")), err))
		}
	})
	return s, withCode(codeUsage, errors.Join(errs...))
}

// given reports whether a flag's value was asked for, wherever, and is not its default.
func (s settings) given(name string) bool { return s.v.IsSet(name) }

// typed reports whether a flag was given to this command itself: the environment and a file may have it for others.
func (s settings) typed(name string) bool { return s.flags.Changed(name) }

func setFlag(f *pflag.Flag, v *viper.Viper) error {
	if many, ok := f.Value.(pflag.SliceValue); ok {
		return many.Replace(v.GetStringSlice(f.Name))
	}
	return f.Value.Set(v.GetString(f.Name))
}

// maxSettings bounds a file with settings, in bytes.
const maxSettings = 1 << 20

// checkKeys refuses a configuration file with a key that no flag has.
func checkKeys(c *cobra.Command, file string) error {
	inFile := viper.New()
	inFile.SetConfigFile(file)
	if err := inFile.ReadInConfig(); err != nil {
		return usagef("reading %s: %w", file, err)
	}
	var errs []error
	for _, key := range slices.Sorted(slices.Values(inFile.AllKeys())) {
		if c.Flags().Lookup(key) == nil {
			errs = append(errs, fmt.Errorf("%s: unknown key %q; %q lists the flags, which are the keys", file, key, c.CommandPath()+" --help"))
		}
	}
	return withCode(codeUsage, errors.Join(errs...))
}

// logger writes log lines to w as the settings want them.
func (s settings) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.v.GetString("log-level"))); err != nil {
		return nil, usagef("--log-level %q: use debug, info, warn or error", s.v.GetString("log-level"))
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch v := a.Value.Any().(type) {
		case string:
			a.Value = slog.StringValue(clean.Text(v))
		case error:
			a.Value = slog.StringValue(clean.Text(v.Error()))
		}
		return a
	}}
	switch format := s.v.GetString("log-format"); format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	default:
		return nil, usagef("--log-format %q: use text or json", format)
	}
}
