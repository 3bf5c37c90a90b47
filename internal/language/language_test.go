package language_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/schema"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

// menu is a language that has nothing to do with scenarios.
type menu struct {
	title  string
	guests int
	tea    bool
	dishes []dish
	sauce  *sauce
	order  []string

	milk                string
	spoons, seats, room int
}

type dish struct {
	name  string
	takes time.Duration
}

type sauce struct{ share float64 }

func keys(m *menu) []language.Key {
	dishes := func(d *dish) []language.Key {
		return []language.Key{
			{Name: "name", Value: value.Name(&d.name).Required(), Doc: "What it is called."},
			{Name: "takes", Value: timing.Duration(&d.takes, time.Minute), Default: language.Is("10m"), Doc: "How long it takes."},
		}
	}
	sauces := func(s *sauce) []language.Key {
		return []language.Key{{Name: "share", Value: value.Share(&s.share), Default: language.Is("50%"), Doc: "How much of it."}}
	}
	return []language.Key{
		{Name: "title", Value: value.Text(&m.title), Default: language.Means("the day"), Doc: "What stands above, or | nothing."},
		{Name: "guests", Value: value.Count(&m.guests, 1, 8), Default: language.Is("2"), Doc: "How many come."},
		{Name: "tea", Value: value.Bool(&m.tea), Default: language.Is("true"), Doc: "Whether there is tea."},
		{Name: "dishes", Value: value.List(&m.dishes, value.Empty, dishes, nil), Doc: "What there is."},
		{Name: "sauce", Value: value.Optional(&m.sauce, value.Empty, sauces), Doc: "What is beside it."},
		{Name: "order", Value: value.Weights(func(names []string, _ []float64) { m.order = names }), Doc: "Who eats first."},
		{Name: "milk", Value: value.OneOf(&m.milk, "none", "some"), Default: language.Is("none"), Doc: "Whether there is milk."},
		{Name: "spoons", Value: value.CountOr(&m.spoons, 0, 9, "all", -1), Default: language.Is("all"), Doc: "How many spoons there are."},
		{Name: "seats", Value: value.Count(&m.seats, 3, math.MaxInt32), Default: language.Is("3"), Doc: "How many can sit."},
		{Name: "room", Value: value.Size(&m.room, 1000, 2<<20), Doc: "For what is left."},
	}
}

// decode reads a menu.
func decode(t *testing.T, text string) (*menu, *language.Reader) {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	m, r := new(menu), language.NewReader("menu.yaml")
	r.Object("", doc.Content[0], keys(m))
	return m, r
}

// What is left out is its default; a part that is left out is not there, and one that is named has its own defaults.
func TestDefaultsAct(t *testing.T) {
	m, r := decode(t, "{title: sunday, dishes: [{name: soup}, {name: rice, takes: 20m}], sauce: {}, order: {ann: 1, bob: 3}}")
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	if m.guests != 2 || !m.tea || m.dishes[0].takes != 10*time.Minute || m.dishes[1].takes != 20*time.Minute || m.sauce.share != 0.5 {
		t.Errorf("%+v %+v", m, m.sauce)
	}
	if got := strings.Join(m.order, " "); got != "ann bob" {
		t.Errorf("weights are in the order %s", got)
	}
	if m, _ := decode(t, "{title: monday}"); m.sauce != nil {
		t.Errorf("a part that was left out is %+v", m.sauce)
	}
}

// Every mistake is told of, in the order of the file, with its place and what would be right.
func TestEveryMistakeIsAProblem(t *testing.T) {
	_, r := decode(t, "titel: x\nguests: 9\ntea: maybe\ndishes:\n  - {name: Soup, takes: 1s, name: b}\nsauce: [1]\norder: {a: 0}\n")
	want := strings.Join([]string{
		"menu.yaml:1:1: titel: unknown key; did you mean title?",
		"menu.yaml:2:9: guests: 9 is out of range; use 1 to 8",
		"menu.yaml:3:6: tea: expected true or false, found text",
		`menu.yaml:5:12: dishes[0].name: "Soup" is no name; use small letters, digits and hyphens, 60 at most`,
		"menu.yaml:5:25: dishes[0].takes: 1s is too short; use at least 1m",
		"menu.yaml:5:29: dishes[0].name: repeated key; it stands in line 5 already",
		"menu.yaml:6:8: sauce: expected an object, found a list",
		"menu.yaml:7:8: order: all weights are 0; one must be above",
	}, "\n")
	if err := r.Err(); err == nil || err.Error() != want {
		t.Errorf("problems are\n%v\nwant\n%s", err, want)
	}
}

// After decoding, what overlaps a mistake that was found already is not told as another one.
func TestConsequencesAreNotTold(t *testing.T) {
	_, r := decode(t, "{guests: 9, sauce: {share: 80%}}")
	r.Validate()
	before := r.Problems()
	for _, path := range []string{"guests", "guests.of", ""} {
		if r.FailAt(path, language.PlaceOf(nil), "follows"); path != "" && r.Problems() != before {
			t.Errorf("%s: a consequence was told", path)
		}
	}
	before = r.Problems()
	r.FailAt("sauce.share", language.PlaceOf(nil), "too much for %s", "all")
	if r.Problems() != before+1 || !strings.Contains(r.Err().Error(), "menu.yaml:1:28: sauce.share: too much for all") {
		t.Errorf("problems are %v", r.Err())
	}
}

// Values that may be secret stand in no message, and nothing follows from one that is not known.
func TestHiddenValues(t *testing.T) {
	r := language.NewReader("x.yaml")
	r.Hide("hunter2")
	r.FailAt("a", language.PlaceOf(nil), "%q is no name", "hunter2")
	r.Unfilled("b")
	r.FailAt("b", language.PlaceOf(nil), "wrong")
	if got := r.Err().Error(); got != `x.yaml: a: "[from the environment]" is no name` {
		t.Errorf("%s", got)
	}
}

// The same table is the reference and the schema.
func TestReferenceAndSchema(t *testing.T) {
	var b strings.Builder
	language.Sections(&b, "", keys(new(menu)))
	for _, want := range []string{
		"| `title` | text | the day | What stands above, or \\| nothing. |", "| `guests` | whole number, 1 to 8 | `2` | How many come. |", "| `takes` | time, 1m or more | `10m` |", "| `name` | name | required |",
		"| `milk` | text: none, some | `none` |", "| `spoons` | whole number, 0 to 9, or all | `all` |", "| `seats` | whole number, 3 or more | `3` |", "| `room` | size, 1KB to 2MiB |  |", "## `dishes[]`", "## `sauce`",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the reference lacks %s:\n%s", want, &b)
		}
	}
	s, err := schema.Of("menu", keys(new(menu)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"title": "menu"`, `"maximum": 8`, `"default": true`, `"required": [`, `"default": "50%"`} {
		if !strings.Contains(string(s), want) {
			t.Errorf("the schema lacks %s:\n%s", want, s)
		}
	}
}
