package scenario

import (
	"path/filepath"
	"regexp"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
)

// families are the paths of all objects of the language, with [] for an item of a list and {} for a name.
func families(path string, keys []language.Key, into map[string]bool) {
	for _, f := range keys {
		if f.Value.Keys == nil {
			continue
		}
		below := language.Join(path, f.Name)
		if f.Value.Form == form.List {
			below += "[]"
		}
		into[below] = true
		families(below, f.Value.Keys, into)
	}
}

// The table of broken scenarios has at least sixty cases, and one for every object of the language.
func TestBrokenScenariosCoverTheLanguage(t *testing.T) {
	names, err := filepath.Glob("testdata/broken*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var files []txtar.File
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, archive.Files...)
	}
	if n := len(files) / 2; n < 60 {
		t.Errorf("%d cases; want 60 at least", n)
	}
	missing := make(map[string]bool)
	families("", new(reader).scenarioKeys(&Scenario{}), missing)
	number := regexp.MustCompile(`\[\d+\]`)
	line := regexp.MustCompile(`(?m)^[^: ]+:\d+:\d+: ([^: ]+):`)
	for i := 1; i < len(files); i += 2 {
		for _, m := range line.FindAllSubmatch(files[i].Data, -1) {
			path := number.ReplaceAllString(string(m[1]), "[]")
			for family := range missing {
				if path == family || language.Below(path, family) {
					delete(missing, family)
				}
			}
		}
	}
	for family := range missing {
		t.Errorf("no broken scenario is about %s; add one to testdata/broken.txtar", family)
	}
}
