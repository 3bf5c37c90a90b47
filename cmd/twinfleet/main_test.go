package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/twinfleet/twinfleet/internal/hub"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"twinfleet": main})
}

// The command line as a person uses it: one script a subject, under testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"hub": hubCommand, "identities": identitiesCommand, "until": untilCommand},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			configs, err := os.Getwd()
			if err != nil {
				return err
			}
			e.Setenv("CONFIGS", configs+"/../../configs")
			e.Values[hubKey{}] = new(*hub.Hub)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TWINFLEET_ALLOW_SATURATED", "true") // the machine that runs the tests may be busy
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
			return nil
		},
	})
}
