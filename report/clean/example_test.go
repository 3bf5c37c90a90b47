package clean_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/report/clean"
)

// What a target answers may hold anything.
func ExampleText() {
	fmt.Println(clean.Text("\x1b[2Jno such device\nSharedAccessKey=c2VjcmV0c2VjcmV0"))
	// Output: ␛[2Jno such device SharedAccessKey=[hidden]
}

// A record that somebody sends is cleaned whole, with everything that it holds.
func ExampleAll() {
	answers := map[string][]string{"GET /twins": {"200", "Bearer abcdefgh.12345"}}
	clean.All(&answers)
	fmt.Println(answers)
	// Output: map[GET /twins:[200 Bearer [hidden]]]
}
