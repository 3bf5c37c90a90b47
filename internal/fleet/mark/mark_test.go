package mark_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/fleet/mark"
)

func ExampleStamp() {
	body := mark.Stamp([]byte(`{"temperature":21.3}`), []byte("q7f3k-"), mark.Mark{Device: 17, Turn: 42})
	fmt.Println(string(body))
	fmt.Println(mark.Read(body, []byte("q7f3k-")))
	// Output:
	// {"_delivery":"q7f3k-17-42","temperature":21.3}
	// {17 0 42} true
}

func ExampleText() {
	text := mark.Text([]byte("q7f3k-"), mark.Mark{Device: 17, Kind: 2, Turn: 42})
	fmt.Println(text)
	fmt.Println(mark.ReadText(text, []byte("q7f3k-")))
	// Output:
	// q7f3k-17.2-42
	// {17 2 42} true
}

// What a mark takes is known before.
func TestSize(t *testing.T) {
	const body = `{"a":1}`
	for _, run := range []string{"", "q7f3k-"} {
		for _, n := range []int{0, 9, 10, 12345678} {
			m := mark.Mark{Device: n, Turn: int64(n)}
			if got, want := mark.Size([]byte(run), m), len(mark.Stamp([]byte(body), []byte(run), m))-len(body); got != want {
				t.Errorf("the mark of message %d takes %d bytes; it is said to take %d", n, want, got)
			}
		}
	}
}

// A marked payload stays a JSON object, and is known by its own run alone.
func TestMarksAreOfOneRun(t *testing.T) {
	for _, body := range []string{"{}", "{ }", `{"a":1}`, "{\n\t\"a\": {}}"} {
		for _, run := range []string{"", "r1-"} {
			for _, m := range []mark.Mark{{Device: 3, Turn: 5}, {Device: 3, Kind: 1, Turn: 5}, {math.MaxInt64, math.MaxInt64, math.MaxInt64}} {
				got := mark.Stamp([]byte(body), []byte(run), m)
				if back, ok := mark.Read(got, []byte(run)); !json.Valid(got) || !ok || back != m {
					t.Errorf("%s of run %q: %s, read as %v, %v", body, run, got, back, ok)
				}
				if _, ok := mark.Read(got, []byte("other-")); ok {
					t.Errorf("%s is taken for one of another run", got)
				}
			}
		}
	}
}

// What Append does not write is no mark.
func TestOddMarks(t *testing.T) {
	for _, odd := range []string{
		"", "0-", "-1", "a-1", "1", "1.-1", "1.0-1", ".1-1", "1.1.1-1", "1-1-1", "+1-1", "1-+1", "-1-1", "01-1", "1-01", "1_0-1", "1-1 ", "1-9223372036854775808",
	} {
		if m, ok := mark.ReadText(odd, nil); ok {
			t.Errorf("%q is taken for the mark %v", odd, m)
		}
		if m, ok := mark.Read([]byte(`{"_delivery":"`+odd+`"}`), nil); ok {
			t.Errorf("%q is taken for the mark %v of a payload", odd, m)
		}
	}
	for _, odd := range []string{"", "{}", `{"_delivery":"1-2`, ` {"_delivery":"1-2"}`, `{"_delivery": "1-2"}`, `{"a":1,"_delivery":"1-2"}`} {
		if _, ok := mark.Read([]byte(odd), nil); ok {
			t.Errorf("%s is taken for a marked message", odd)
		}
	}
}

// What is read is what was written, and nothing else is.
func TestMarksComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.IntRange(0, math.MaxInt)
		m := mark.Mark{number.Draw(t, "device"), number.Draw(t, "kind"), int64(number.Draw(t, "turn"))}
		run := rapid.SampledFrom([]string{"", "r-", "q7f3k-"}).Draw(t, "run")
		if back, ok := mark.ReadText(mark.Text([]byte(run), m), []byte(run)); !ok || back != m {
			t.Fatal(back, ok)
		}
		text := rapid.StringMatching(`[0-9.+-]{0,8}`).Draw(t, "text")
		if back, ok := mark.ReadText(text, []byte(run)); ok && mark.Text([]byte(run), back) != text {
			t.Fatalf("%q is taken for %v", text, back)
		}
	})
}
