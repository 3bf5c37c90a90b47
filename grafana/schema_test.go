package grafana

import (
	"errors"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// mistakes are what Grafana's own schema finds wrong: fields that are missing or that it does not know.
func mistakes(t *testing.T, board []byte) cog.BuildErrors {
	t.Helper()
	var found cog.BuildErrors // the library wraps none in an error too
	//lint:ignore SA1019 the form that Grafana reads from files
	if err := new(dashboard.Dashboard).UnmarshalJSONStrict(board); err != nil && !errors.As(err, &found) {
		t.Fatal(err)
	}
	return found
}

// Boards with their panels, queries, variables and annotations are of Grafana's schema, read strictly.
func TestBoardsAreOfTheSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for name, board := range Boards() {
		raw, err := board.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mistakes(t, raw) {
			t.Errorf("%s: %v", name, m)
		}
		for _, spoilt := range []string{`"wideLayout"`, `"displayMode"`, `"expr"`, `"refresh"`} { // that it would be seen
			if strings.Contains(string(raw), spoilt) && len(mistakes(t, []byte(strings.ReplaceAll(string(raw), spoilt, `"no such field"`)))) == 0 {
				t.Errorf("%s: nobody minds that %s is missing", name, spoilt)
			}
		}
	}
}
