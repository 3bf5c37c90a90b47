package query_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/hub/store"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/query/scan"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

func value(t testing.TB, text string) jsonvalue.Value {
	t.Helper()
	if text == "" {
		return jsonvalue.Value{}
	}
	v, err := jsonparse.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// device is a twin to query: tags and reported properties as JSON.
type device struct{ id, tags, reported string }

func source(t testing.TB, devices ...device) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for _, d := range devices {
		if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: d.id, Status: registry.StatusEnabled}); err != nil {
			t.Fatal(err)
		}
		if d.tags != "" {
			if _, err := s.PatchTwin(t.Context(), d.id, value(t, d.tags), jsonvalue.Value{}, ""); err != nil {
				t.Fatal(err)
			}
		}
		if d.reported != "" {
			if _, err := s.Report(t.Context(), d.id, value(t, d.reported), -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// rows runs a query through pages of a size.
func rows(t testing.TB, src plan.Source, sql string, size int) []string {
	t.Helper()
	q, err := query.Parse(sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out []string
	for token := ""; ; {
		page, err := q.Plan(src).Run(t.Context(), size, token)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		for _, item := range page.Items {
			out = append(out, string(item))
		}
		if token = page.Continuation; token == "" {
			return out
		}
	}
}

func ids(t testing.TB, rows []string) string {
	t.Helper()
	var all []string
	for _, row := range rows {
		var d struct{ DeviceID string }
		if err := json.Unmarshal([]byte(row), &d); err != nil {
			t.Fatal(err)
		}
		all = append(all, d.DeviceID)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func fleet(t testing.TB) *store.Store {
	return source(t,
		device{
			"a", `{"location":{"region":"US","plant":"Redmond43"}}`,
			`{"connectivity":{"type":"cellular"},"link":"wired","telemetryConfig":{"sendFrequencyInSecs":90,"status":"ok"},"n":1,"flag":true}`,
		},
		device{
			"b", `{"location":{"region":"US","plant":"Redmond43"},"group":{"x":1}}`,
			`{"connectivity":{"type":"wifi"},"link":"wifi","telemetryConfig":{"sendFrequencyInSecs":30,"status":"ok"},"n":2,"flag":false}`,
		},
		device{"c", `{"location":{"region":"US","plant":"Redmond44"}}`, `{"link":"lan","telemetryConfig":{"sendFrequencyInSecs":60,"status":"failed"},"n":"1"}`},
		device{"d", `{"location":{"region":"DE"}}`, ""},
		device{"e", "", `{"n":[1,2],"link":{"deep":1}}`},
	)
}

// The queries of the documentation, and what the language's semantics make of undefined values.
func TestQueries(t *testing.T) {
	src := fleet(t)
	for _, tt := range []struct{ where, want string }{
		{"", "a b c d e"},
		{"tags.location.region = 'US'", "a b c"},
		{"tags.location.plant = 'Redmond43'", "a b"},
		{"tags.location.plant = 'Redmond43' AND properties.reported.connectivity.type = 'cellular'", "a"},
		{"tags.location.region = 'US' AND properties.reported.telemetryConfig.sendFrequencyInSecs >= 60", "a c"},
		{"properties.reported.link IN ['wired', 'wifi']", "a b"},
		{"properties.reported.link NIN ['wired', 'wifi']", "c"},
		{"is_defined(properties.reported.connectivity)", "a b"},
		{"NOT IS_DEFINED(properties.reported.connectivity)", "c d e"},
		{"status = 'enabled' AND connectionState = 'Disconnected'", "a b c d e"},
		{"STATUS = \"enabled\" and DEVICEID = 'b'", "b"},
		{"deviceId IN ['a', 'e', 'nobody']", "a e"},
		{"devices.deviceId = 'a'", "a"},
		{"STARTSWITH(tags.location.plant, 'Redmond')", "a b c"},
		{"ENDSWITH(tags.location.plant, '43')", "a b"},
		{"tags.location.plant != 'Redmond43'", "c"},
		{"tags.location.plant <> 'Redmond43'", "c"},
		{"NOT tags.location.plant = 'Redmond43'", "c"},
		{"NOT IS_DEFINED(tags.location.plant) OR tags.location.plant != 'Redmond43'", "c d e"},
		{"properties.reported.n = 1", "a"},
		{"properties.reported.n = '1'", "c"},
		{"properties.reported.n > 0", "a b"},
		{"properties.reported.n = null", ""},
		{"properties.reported.n = undefined", ""},
		{"properties.reported.flag", "a"},
		{"properties.reported.flag = false", "b"},
		{"properties.reported.n", ""},
		{"tags.[[group]].x = 1", "b"},
		{"properties.reported.n + 1 = 3", "b"},
		{"properties.reported.n * 2 - 1 = 1 AND 7 % 4 = 3 AND 6 / 3 = 2", "a"},
		{"properties.reported.n / 0 = 1", ""},
		{"properties.reported.telemetryConfig.sendFrequencyInSecs > 0x1E AND properties.reported.telemetryConfig.sendFrequencyInSecs < 9e1", "c"},
		{"60 <= properties.reported.telemetryConfig.sendFrequencyInSecs", "a c"},
		{"-1 < properties.reported.n AND properties.reported.n < -(-2)", "a"},
		{"(tags.location.region = 'DE' OR properties.reported.link = 'lan') AND NOT deviceId = 'd'", "c"},
		{"properties.reported.$version = 2", "a b c e"},
		{"properties.reported.link.deep = 1", "e"},
		{"properties.reported.link = properties.reported.connectivity.type", "b"},
		{"ARRAY_CONTAINS(properties.reported.n, 1)", "e"},
		{"array_contains(properties.reported.n, 3)", ""},
		{"NOT ARRAY_CONTAINS(properties.reported.n, 3)", "e"},
		{"ARRAY_CONTAINS(properties.reported.n, '1')", ""},
		{"ARRAY_CONTAINS(properties.reported.link, 'wired')", ""},
		{"ARRAY_CONTAINS(['a', 'e'], deviceId)", "a e"},
		{"ARRAY_CONTAINS(parentScopes, 'ms-azure-iot-edge://x-1')", ""},
		{"deviceScope = 'ms-azure-iot-edge://x-1'", ""},
		{"STARTSWITH(id, 'p')", ""},
		{"NOT STARTSWITH(id, 'p')", ""},
		{"NOT IS_DEFINED(plant.x)", "a b c d e"},
		{"plant = 'x' OR deviceId = 'a'", "a"},
		{"plant = 'x' AND deviceId = 'a'", ""},
		{"plant > 1 OR STARTSWITH(plant, 'x')", ""},
		{"tags.location.plant = 'O''Brien' OR tags.location.plant = 'Redmond44'", "c"},
		{"deviceId IN ['', '''', 'a']", "a"},
		{"true", "a b c d e"},
		{"'text'", ""},
		{"1", ""},
	} {
		sql := "SELECT * FROM devices"
		if tt.where != "" {
			sql += " WHERE " + tt.where
		}
		for _, size := range []int{1, 2, 100} {
			if got := ids(t, rows(t, src, sql, size)); got != tt.want {
				t.Errorf("%s, pages of %d: %q; want %q", tt.where, size, got, tt.want)
			}
		}
	}
}

func TestSelectLists(t *testing.T) {
	src := fleet(t)
	for _, tt := range []struct {
		sql  string
		want []string
	}{
		{"SELECT COUNT() AS totalNumberOfDevices FROM devices", []string{`{"totalNumberOfDevices":5}`}},
		{"SELECT COUNT() AS n FROM devices WHERE deviceId = 'nobody'", []string{`{"n":0}`}},
		{"SELECT COUNT() FROM devices", []string{`{"$1":5}`}},
		{"SELECT properties.reported.telemetryConfig.status AS status, COUNT() AS numberOfDevices FROM devices GROUP BY " +
			"properties.reported.telemetryConfig.status", []string{
			`{"status":"ok","numberOfDevices":2}`, `{"status":"failed","numberOfDevices":1}`,
			`{"numberOfDevices":2}`,
		}},
		{"SELECT DeviceId, properties.reported.link FROM devices WHERE deviceId IN ['a', 'd']", []string{`{"deviceId":"a","link":"wired"}`, `{"deviceId":"d"}`}},
		{"SELECT AVG(properties.reported.n) AS avg, SUM(properties.reported.n) AS sum, MIN(properties.reported.n) AS min, MAX(properties.reported.n) " +
			"AS max, COUNT() AS n FROM devices", []string{`{"avg":1.5,"sum":3,"min":1,"max":2,"n":5}`}},
		{"SELECT deviceId AS DeviceId, statusUpdatedTime AS S, capabilities.iotEdge AS E FROM devices WHERE deviceId = 'a'", []string{`{"DeviceId":"a","E":false}`}},
		{"SELECT plant FROM devices WHERE deviceId = 'a'", []string{`{}`}},
		{"SELECT COUNT() AS n, plant AS p, MAX(plant) AS m FROM devices GROUP BY plant", []string{`{"n":5}`}},
		{"SELECT TOP 2 deviceId FROM devices", []string{`{"deviceId":"a"}`, `{"deviceId":"b"}`}},
		{
			"select top 1 tags.location.region as r, count() as n from Devices where is_defined(tags.location) group by tags.location.region",
			[]string{`{"r":"US","n":3}`},
		},
	} {
		for _, size := range []int{1, 100} {
			if got := rows(t, src, tt.sql, size); !slices.Equal(got, tt.want) {
				t.Errorf("%s, pages of %d: %v; want %v", tt.sql, size, got, tt.want)
			}
		}
	}
}

func TestContinuations(t *testing.T) {
	src := fleet(t)
	q, err := query.Parse("SELECT * FROM devices")
	if err != nil {
		t.Fatal(err)
	}
	page, err := q.Plan(src).Run(t.Context(), 2, "")
	if err != nil || page.Continuation == "" || page.ItemType != paging.ItemTwin {
		t.Fatalf("%+v, %v", page, err)
	}
	other, err := query.Parse("SELECT * FROM devices WHERE true")
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func() error{
		"another query": func() error { _, err := other.Plan(src).Run(t.Context(), 2, page.Continuation); return err },
		"garbage":       func() error { _, err := q.Plan(src).Run(t.Context(), 2, "x"); return err },
	} {
		if err := run(); !errors.Is(err, paging.ErrContinuation) {
			t.Errorf("%s: %v; want ErrContinuation", name, err)
		}
	}
	// The size of pages may change on the way: a client that wants 150 items asks for 100, then for 50.
	second, err := q.Plan(src).Run(t.Context(), 1, page.Continuation)
	if err != nil || len(second.Items) != 1 {
		t.Fatalf("a page of another size: %d items, %v", len(second.Items), err)
	}
	third, err := q.Plan(src).Run(t.Context(), 100, second.Continuation)
	if err != nil || len(third.Items) != 2 || third.Continuation != "" {
		t.Errorf("the rest: %d items, %v", len(third.Items), err)
	}
	last, err := q.Plan(src).Run(t.Context(), 5, "")
	if err != nil || last.Continuation != "" {
		t.Errorf("a page that holds all has a continuation %q, %v", last.Continuation, err)
	}
}

func TestPlans(t *testing.T) {
	src := fleet(t)
	for _, tt := range []struct{ where, want string }{
		{"tags.a = 'x'", "index tags.a in ['x']"},
		{"'x' = tags.a", "index tags.a in ['x']"},
		{"tags.a = 'x' AND properties.reported.b > 5 AND tags.c != 1", "all of\n  index tags.a in ['x']\n  index properties.reported.b above 5"},
		{"tags.a IN ['x', 'y'] OR tags.b <= 3", "any of\n  index tags.a in ['x', 'y']\n  index tags.b up to 3"},
		{"tags.a = 'x' OR tags.b != 3", "scan"},
		{"NOT tags.a = 'x'", "scan"},
		{"tags.a = null", "scan"},
		{"STARTSWITH(tags.a, 'Red')", "index tags.a from 'Red' below 'Ree'"},
		{"deviceId = 'a'", "ids ['a']"},
		{"plant = 'a' AND tags.a = 'x'", "index tags.a in ['x']"},
		{"plant > 1", "scan"},
		{"STARTSWITH(plant, 'x')", "scan"},
		{"tags.a + 1 = 2", "scan"},
	} {
		q, err := query.Parse("SELECT * FROM devices WHERE " + tt.where)
		if err != nil {
			t.Fatal(err)
		}
		got, _, _ := strings.Cut(q.Plan(src).Explain(), "\nfilter ")
		if got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.where, got, tt.want)
		}
	}
}

// The twins of modules are found by their device, which has several, through an index; without a source of them
// there are none.
func TestModules(t *testing.T) {
	src := fleet(t)
	q, err := query.Parse("select * from devices.modules where devices.deviceId = 'a'")
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := strings.Cut(q.Plan(src).Explain(), "\n"); got != "index deviceId in ['a']" {
		t.Errorf("the plan: %s", got)
	}
	page, err := q.Plan(src).Run(t.Context(), 100, "")
	if err != nil || len(page.Items) != 1 || page.ItemType != paging.ItemTwin {
		t.Errorf("%d items of type %s, %v; want 1", len(page.Items), page.ItemType, err)
	}
	page, err = q.Plan(nil).Run(t.Context(), 100, "")
	if err != nil || len(page.Items) != 0 || page.Items == nil {
		t.Errorf("without a source: %v, %v", page.Items, err)
	}
	if got := q.Plan(nil).Explain(); got != "empty\n" {
		t.Errorf("without a source the plan is %s", got)
	}
	for range q.Plan(nil).Matches() {
		t.Error("a twin of no source")
	}
}

// A large fleet is gathered in several spans, whose groups come together as if there were one; and a
// range that holds most of it is not read, which changes nothing but the way.
func TestManyTwins(t *testing.T) {
	const n = 20_000
	src := many(t, n)
	for _, tt := range []struct{ sql, want string }{
		{
			"SELECT tags.location.plant AS plant, COUNT() AS n, SUM(properties.reported.level) AS sum, MIN(properties.reported.level) AS min, " +
				"MAX(properties.reported.level) AS max FROM devices GROUP BY tags.location.plant",
			`{"plant":"Redmond0","n":2000,"sum":90000,"min":0,"max":90}`,
		},
		{"SELECT COUNT() AS n FROM devices WHERE tags.location.plant = 'Redmond3' AND properties.reported.connectivity.type = 'cellular'", `{"n":1200}`},
		{"SELECT COUNT() AS n FROM devices WHERE properties.reported.level >= 50", `{"n":10000}`},
		{"SELECT COUNT() AS n FROM devices WHERE properties.reported.level < 2", `{"n":400}`},
		{"SELECT COUNT() AS n FROM devices WHERE tags.location.plant IN ['Redmond1', 'Redmond2'] AND properties.reported.level > 90", `{"n":400}`},
		{"SELECT COUNT() AS n FROM devices WHERE properties.reported.level < 2 OR deviceId = 'robots-0000007'", `{"n":401}`},
	} {
		if got := rows(t, src, tt.sql, 100); len(got) == 0 || got[0] != tt.want {
			t.Errorf("%s: %v; want %s", tt.sql, got, tt.want)
		}
	}
	if got := len(rows(t, src, "SELECT deviceId FROM devices WHERE properties.reported.level >= 50", 1000)); got != n/2 {
		t.Errorf("a range of half the fleet has %d rows; want %d", got, n/2)
	}
}

// conditions draws random conditions over few paths and values, so that they often hold.
func conditions() *rapid.Generator[string] {
	path := rapid.SampledFrom([]string{"tags.a", "tags.b.c", "properties.reported.x", "properties.reported.y", "deviceId", "tags.none"})
	constant := rapid.SampledFrom([]string{"'p'", "'q'", "1", "2", "true", "null", "undefined", "'dev-3'", "-1"})
	var condition func(depth int) *rapid.Generator[string]
	condition = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			kind := rapid.IntRange(0, 8).Draw(t, "kind")
			if depth == 0 {
				kind %= 6
			}
			p, v := path.Draw(t, "path"), constant.Draw(t, "constant")
			op := rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="}).Draw(t, "op")
			switch kind {
			case 0, 1:
				return p + " " + op + " " + v
			case 2:
				return v + " " + op + " " + p
			case 3:
				return fmt.Sprintf("%s %s [%s, %s]", p, rapid.SampledFrom([]string{"IN", "NIN"}).Draw(t, "in"), v, constant.Draw(t, "other"))
			case 4:
				return "STARTSWITH(" + p + ", 'p')"
			case 5:
				return "IS_DEFINED(" + p + ")"
			case 6:
				return "NOT (" + condition(depth-1).Draw(t, "x") + ")"
			default:
				return "(" + condition(depth-1).Draw(t, "x") + rapid.SampledFrom([]string{") AND (", ") OR ("}).Draw(t, "and") + condition(depth-1).Draw(t, "y") + ")"
			}
		})
	}
	return condition(3)
}

// Through planner and indexes the same rows are found as by reading every twin.
func TestPlansFindWhatScansFind(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scalar := rapid.SampledFrom([]string{`"p"`, `"q"`, `"pq"`, "1", "2", "true", `{"c":1}`, `[1]`})
		var devices []device
		for i := range rapid.IntRange(0, 12).Draw(rt, "devices") {
			devices = append(devices, device{
				fmt.Sprint("dev-", i), fmt.Sprintf(`{"a":%s,"b":{"c":%s}}`, scalar.Draw(rt, "a"), scalar.Draw(rt, "c")),
				fmt.Sprintf(`{"x":%s,"y":%s}`, scalar.Draw(rt, "x"), scalar.Draw(rt, "y")),
			})
		}
		src := source(t, devices...)
		where := conditions().Draw(rt, "condition")
		q, err := query.Parse("SELECT * FROM devices WHERE " + where)
		if err != nil {
			rt.Fatal(err)
		}
		var want []string
		for ord := range src.Max() {
			if tw := src.At(ord); tw != nil && q.Matches(tw) {
				want = append(want, tw.DeviceID)
			}
		}
		slices.Sort(want)
		if got := ids(t, rows(t, src, "SELECT * FROM devices WHERE "+where, rapid.IntRange(1, 5).Draw(rt, "page"))); got != strings.Join(want, " ") {
			rt.Fatalf("%s finds %q; want %q\n%s", where, got, want, q.Plan(src).Explain())
		}
	})
}

// Whatever is asked: a mistake has a place, what is understood prints as what reads the same, and the
// planner finds the twins that the condition keeps.
func FuzzParse(f *testing.F) {
	for _, sql := range []string{
		"SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND properties.reported.connectivity.type = 'cellular'",
		"SELECT TOP 5 a.b AS c, COUNT() AS n FROM devices GROUP BY tags.x", "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'x'",
		"SELECT deviceId FROM devices WHERE NOT tags.[[group]].x IN [1, 'a', null] OR -tags.y % 2 " +
			"= 0x1F", "SELECT * FROM devices WHERE STARTSWITH(tags.a, \"\\u0041\")",
		"SELECT * FROM devices WHERE properties.reported.n > 0 AND properties.reported.n <= 2 OR deviceId = 'e'",
		"SELECT AVG(properties.reported.n) AS a, MAX(tags.location.region) AS m FROM devices WHERE IS_DEFINED(tags.location)",
		"SELECT deviceId AS D, statusUpdatedTime AS S FROM devices WHERE array_contains(parentScopes, 'O''Brien') OR ARRAY_CONTAINS([1, 'a'], plant)",
		"select * from devices.modules where devices.deviceId = 'x' and modules.moduleId = '$edgeAgent'",
	} {
		f.Add(sql)
	}
	src := fleet(f)
	f.Fuzz(func(t *testing.T, sql string) {
		q, err := query.Parse(sql)
		if err != nil {
			var syntax *scan.SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 || syntax.Message == "" {
				t.Errorf("%q: %#v", sql, err)
			}
			return
		}
		if len(sql) > parse.MaxLength/4 {
			return // the print may be too long
		}
		second, err := query.Parse(q.String())
		if err != nil || second.String() != q.String() {
			t.Fatalf("%q prints as %q, which reads as %v, %v", sql, q, second, err)
		}
		if q.From != tree.Devices {
			return
		}
		var want []string
		for ord := range src.Max() {
			if tw := src.At(ord); q.Matches(tw) {
				want = append(want, tw.DeviceID)
			}
		}
		var got []string
		for _, tw := range q.Plan(src).Matches() {
			got = append(got, tw.DeviceID)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q finds %q; want %q\n%s", sql, got, want, q.Plan(src).Explain())
		}
		page, err := q.Plan(src).Run(t.Context(), 100, "")
		if err != nil || (!q.Raw() && len(page.Items) > len(want)) {
			t.Fatalf("%q: %d items of %d, %v", sql, len(page.Items), len(want), err)
		}
		for _, item := range page.Items {
			if !json.Valid(item) {
				t.Fatalf("%q gives %s", sql, item)
			}
		}
	})
}
