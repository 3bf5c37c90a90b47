package calls

import (
	"errors"
	"testing"
)

func TestACallEndsOnce(t *testing.T) {
	var table Table
	const first, second, third = uint64(1), uint64(2), uint64(3)
	answered, dropped, failed := table.Begin(first), table.Begin(second), table.Begin(third)
	if table.Len() != 3 {
		t.Fatalf("%d calls wait; want 3", table.Len())
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
	if table.Len() != 0 {
		t.Errorf("%d calls wait at the end", table.Len())
	}
	if len(dropped) != 0 {
		t.Error("a call that had ended got an answer")
	}
	if a := <-failed; !errors.Is(a.Err, gone) || len(failed) != 0 {
		t.Errorf("the third call got %+v", a)
	}
}
