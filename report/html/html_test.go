package html_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report/html"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// The page needs nothing but itself, says what it must, and nothing in a run can become a part of it.
func TestPage(t *testing.T) {
	var b bytes.Buffer
	if err := html.Write(&b, reporttest.Example(20), []byte("name: example # <script>\n")); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		"a run &lt;to&gt; show | reports", "twin_report: p(99) &lt; 250ms", "2,500 connections were lost",
		"&lt;b&gt;to know", "What to buy", "S2, 1 unit: 250 USD a month", "something | to &lt;know&gt;", "name: example # &lt;script&gt;",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<script>alert") || strings.Contains(page, "<b>to know") {
		t.Error("something in the run became a part of the page")
	}
	if from := regexp.MustCompile(`(?i)(src|href)\s*=\s*"?(https?:|//)|@import|url\(["']?(https?:|//)`).FindString(page); from != "" {
		t.Errorf("the page fetches from outside: %q", from)
	}
	if strings.Contains(page, "spanGaps: true") || !strings.Contains(page, "spanGaps: false") {
		t.Error("lines go through times in which nothing ended")
	}
	if n := strings.Count(page, "<script"); n != 3 {
		t.Errorf("%d scripts; want 3", n)
	}
}

// An hour's run makes a page of less than two megabytes.
func TestPageOfAnHour(t *testing.T) {
	h := reporttest.Example(60)
	minute := h.Samples
	for n := range 59 {
		for _, s := range minute {
			s.At += time.Duration(n+1) * time.Minute
			h.Samples = append(h.Samples, s)
		}
	}
	var b bytes.Buffer
	if err := html.Write(&b, h, nil); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 2<<20 {
		t.Errorf("%d bytes", b.Len())
	}
	t.Logf("%d bytes", b.Len())
}
