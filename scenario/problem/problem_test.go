package problem_test

import (
	"fmt"
	"testing"

	"github.com/twinfleet/twinfleet/scenario/problem"
)

func ExampleList() {
	list := problem.List{
		{File: "smoke.yaml", Line: 7, Column: 5, Path: "stages[0].duration", Text: `"ten" is not a time; write 10s`},
		{File: "smoke.yaml", Line: 2, Column: 3, Path: "fleet.gruops", Text: "unknown key; " + problem.DidYouMean("gruops", []string{"client", "groups"})},
	}
	fmt.Println(list.Err())
	// Output:
	// smoke.yaml:2:3: fleet.gruops: unknown key; did you mean groups?
	// smoke.yaml:7:5: stages[0].duration: "ten" is not a time; write 10s
}

// A word that is near none of the candidates gets the list of them; none at all is said, too.
func TestDidYouMean(t *testing.T) {
	for _, x := range []struct {
		word       string
		candidates []string
		want       string
	}{
		{"robot", []string{"robots", "gates"}, "did you mean robots?"},
		{"ROBOTS", []string{"robots"}, "did you mean robots?"},
		{"elephants", []string{"robots", "gates"}, "there are gates, robots"},
		{"robots", nil, "there are none"},
	} {
		if got := problem.DidYouMean(x.word, x.candidates); got != x.want {
			t.Errorf("DidYouMean(%q, %v) = %q; want %q", x.word, x.candidates, got, x.want)
		}
	}
}

// No problems are no error, and a problem without a place names the file alone.
func TestNoProblems(t *testing.T) {
	if err := (problem.List{}).Err(); err != nil {
		t.Errorf("no problems are the error %v", err)
	}
	if got := (problem.Problem{File: "x.yaml", Text: "the file is empty"}).String(); got != "x.yaml: the file is empty" {
		t.Errorf("%q", got)
	}
}
