package mark_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/twinfleet/twinfleet/internal/fleet/mark"
)

func ExampleStamp() {
	body := mark.Stamp([]byte(`{"temperature":21.3}`), []byte("q7f3k-"), 17, 42)
	fmt.Println(string(body))
	fmt.Println(mark.Read(body, []byte("q7f3k-")))
	// Output:
	// {"_delivery":"q7f3k-17-42","temperature":21.3}
	// 17 42 true
}

// What a mark takes is known before.
func TestSize(t *testing.T) {
	const body = `{"a":1}`
	for _, run := range []string{"", "q7f3k-"} {
		for _, n := range []int{0, 9, 10, 12345678} {
			if got, want := mark.Size([]byte(run), n, int64(n)), len(mark.Stamp([]byte(body), []byte(run), n, int64(n)))-len(body); got != want {
				t.Errorf("the mark of message %d takes %d bytes; it is said to take %d", n, want, got)
			}
		}
	}
}

// A marked payload stays a JSON object, and is known by its own run alone.
func TestMarksAreOfOneRun(t *testing.T) {
	for _, body := range []string{"{}", "{ }", `{"a":1}`, "{\n\t\"a\": {}}"} {
		for _, run := range []string{"", "r1-"} {
			got := mark.Stamp([]byte(body), []byte(run), 3, 5)
			if device, turn, ok := mark.Read(got, []byte(run)); !json.Valid(got) || !ok || device != 3 || turn != 5 {
				t.Errorf("%s of run %q: %s, read as %d, %d, %v", body, run, got, device, turn, ok)
			}
			if _, _, ok := mark.Read(got, []byte("other-")); ok {
				t.Errorf("%s is taken for one of another run", got)
			}
		}
	}
	for _, odd := range []string{"", "{}", `{"_delivery":""}`, `{"_delivery":"0-"}`, `{"_delivery":"a-1"}`, `{"_delivery":"1-2`} {
		if _, _, ok := mark.Read([]byte(odd), nil); ok {
			t.Errorf("%s is taken for a marked message", odd)
		}
	}
}
