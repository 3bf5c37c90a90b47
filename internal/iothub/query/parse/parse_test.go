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
		"SELECT statusUpdatedTime AS S FROM devices WHERE ARRAY_CONTAINS(parentScopes, 'O''Brien') AND ARRAY_CONTAINS(['a'], plant)",
		"SELECT * FROM devices.modules WHERE devices.deviceId = 'x' AND modules.moduleId != ''",
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

// What nothing has is undefined, and doubted: each place once, in the order of the text.
func TestDoubts(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT deviceId, tags.a FROM devices WHERE tags.a = 'x'":                  "",
		"SELECT deviceId AS D, statusUpdatedTime AS S FROM devices":                "unknown attribute statusUpdatedTime",
		"SELECT plant FROM devices WHERE STARTSWITH(id, 'p') AND tags.a = x":       "unknown attribute plant, unknown attribute id, unknown attribute x",
		"SELECT COUNT() AS n, plant.x FROM devices GROUP BY plant.x":               "unknown attribute plant.x, unknown attribute plant.x",
		"SELECT * FROM devices.modules WHERE devices.deviceId = 'x'":               "",
		"SELECT * FROM devices.modules WHERE modules.moduleId = devices.modules.x": "unknown attribute devices.modules.x",
		"SELECT * FROM devices.jobs WHERE jobs.jobId = 'x' AND devices.x = 1":      "jobs have no attribute devices.x",
	} {
		q, err := parse.Query(sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		var got []string
		for _, d := range q.Doubts {
			got = append(got, d.Message)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: doubts %q; want %q", sql, got, want)
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
		q, err := parse.Query(lines[i])
		if err == nil && len(q.Doubts) > 0 {
			err = q.Doubts[0] // what is answered, and yet hardly meant
		}
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
