package payload_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

// A document with templates, filled to a size: what a device sends depends on the context alone.
func Example() {
	t, err := payload.Compile(payload.Object{{Name: "device", Value: "{{ device }}"}, {Name: "n", Value: "{{ seq }}"}, {Name: "t", Value: "{{ walk 20 0.5 }}"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &payload.Context{Device: "robots-000007", Seq: 1, Now: time.Now(), Rand: rand.New(rand.NewPCG(1, 1)), Chance: 7}
	fmt.Println(string(t.Append(nil, c)))
	fmt.Println(string(payload.Fill(t, 64).Append(nil, c)))
	// Output:
	// {"device":"robots-000007","n":1,"t":20}
	// {"device":"robots-000007","n":1,"t":20,"_filler":"xxxxxxxxxxxx"}
}

// A text is sent as it is, without quotes.
func ExampleCompileText() {
	t, err := payload.CompileText("{{ group }}-{{ index }};{{ seq }}")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(t.Append(nil, &payload.Context{Group: "meters", Number: 4, Seq: 9})))
	// Output: meters-4;9
}
