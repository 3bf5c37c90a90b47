package parse_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
	"github.com/twinfleet/twinfleet/internal/iothub/query/scan"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What is printed parses to the same.
func TestPrinting(t *testing.T) {
	for _, sql := range []string{
		"SELECT * FROM devices", "SELECT TOP 3 deviceId AS id, tags.[[group]].[[a b]] FROM devices WHERE NOT (tags.a = 'it\\'s' OR -tags.b % 2 >= " +
			"0x10) AND tags.c NIN [1, -2, 'x', null, true]",
		"SELECT COUNT() AS n, AVG(tags.x) AS m FROM devices WHERE IS_DEFINED(tags.x) AND STARTSWITH(tags.y, \"q\\u0041\") GROUP BY tags.z, status",
		"SELECT * FROM devices.jobs WHERE devices.jobs.status = 'completed'",
	} {
		q, err := parse.Query(sql)
		if err != nil {
			t.Fatal(err)
		}
		second, err := parse.Query(q.String())
		if err != nil || second.String() != q.String() {
			t.Errorf("%s prints as %s, which reads as %v, %v", sql, q, second, err)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	const path = "testdata/errors.golden"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		_, err := parse.Query(lines[i])
		var syntax *scan.SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s: %v; want a syntax error", lines[i], err)
			continue
		}
		if got := "  " + err.Error(); *update {
			lines[i+1] = got
		} else if got != lines[i+1] {
			t.Errorf("%s\n%s\nwant\n%s", lines[i], got, lines[i+1])
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := parse.Query("SELECT * FROM devices WHERE " + strings.Repeat("(", 500) + "1"); err == nil {
		t.Error("500 levels of parentheses were accepted")
	}
	if _, err := parse.Query(strings.Repeat(" ", parse.MaxLength+1)); err == nil {
		t.Error("a query above the longest was accepted")
	}
}
