package html_test

import (
	"bytes"
	"fmt"

	"github.com/twinfleet/twinfleet/report/html"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// The page is one file that needs nothing else.
func ExampleWrite() {
	var page bytes.Buffer
	if err := html.Write(&page, reporttest.Example(10), []byte("name: example\n")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(bytes.Contains(page.Bytes(), []byte("<title>")), bytes.Contains(page.Bytes(), []byte("src=\"http")))
	// Output: true false
}
