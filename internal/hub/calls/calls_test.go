package calls

import (
	"errors"
	"testing"
)

func TestACallEndsOnce(t *testing.T) {
	var table Table
	first, answered := table.Begin()
	second, dropped := table.Begin()
	third, failed := table.Begin()
	if first == second || second == third {
		t.Fatalf("request ids %s, %s, %s", first, second, third)
	}
	table.Answer(first, Answer{Status: 200})
	table.Answer(first, Answer{Status: 201}) // late
	table.End(second)
	table.Answer(second, Answer{Status: 202}) // late
	gone := errors.New("gone")
	table.FailAll(gone)
	table.FailAll(gone)
	if a := <-answered; a.Status != 200 || len(answered) != 0 {
		t.Errorf("the first call got %+v", a)
	}
	if len(dropped) != 0 {
		t.Error("a call that had ended got an answer")
	}
	if a := <-failed; !errors.Is(a.Err, gone) || len(failed) != 0 {
		t.Errorf("the third call got %+v", a)
	}
}
