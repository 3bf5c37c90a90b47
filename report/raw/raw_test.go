package raw

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

var start = time.Date(2026, 11, 28, 12, 0, 0, 999_999_998, time.UTC)

// readCSV gives the rows of a file, by the library that everybody has.
func readCSV(t testing.TB, b []byte) [][]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRows(t *testing.T) {
	dir := t.TempDir()
	all := []metrics.Ended{
		{Operation: "twin_report", Group: "robots", Stage: "hold", Intended: start, Sent: start.Add(1), Done: start.Add(5 * time.Millisecond), Outcome: metrics.OK},
		{Operation: "query", Group: `a "b", c`, Intended: start, Sent: start.Add(2 * time.Second), Done: start.Add(3 * time.Second), Late: true, Outcome: metrics.Refused, Reason: "x\ny, z"},
		{Operation: "telemetry", Group: "robots", Stage: "rest", Intended: start.Add(time.Second), Dropped: 2, Reason: metrics.DropPaused},
	}
	want := `operation,group,stage,intended,sent,done,late,outcome,reason,response_ns,service_ns
twin_report,robots,hold,2026-11-28T12:00:00.999999998Z,2026-11-28T12:00:00.999999999Z,2026-11-28T12:00:01.004999998Z,false,ok,,5000000,4999999
query,"a ""b"", c",,2026-11-28T12:00:00.999999998Z,2026-11-28T12:00:02.999999998Z,2026-11-28T12:00:03.999999998Z,true,refused,"x
y, z",3000000000,1000000000
telemetry,robots,rest,2026-11-28T12:00:01.999999998Z,,,,dropped,paused,,
telemetry,robots,rest,2026-11-28T12:00:01.999999998Z,,,,dropped,paused,,
`
	var texts []string
	for _, form := range Forms() {
		name := filepath.Join(dir, "raw"+form)
		f, err := Create(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			f.Tap(e)
		}
		if err := f.Close(); err != nil || f.Written() != 4 {
			t.Fatalf("%s: %d rows, %v", form, f.Written(), err)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if form == ".parquet" {
			texts = append(texts, asCSV(t, b))
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	for i, text := range texts {
		if text != want {
			t.Errorf("%s:\n%s\nwant:\n%s", Forms()[i], text, want)
		}
	}
}

// asCSV is a file in Parquet, read by its schema and not by the type that wrote it, as the other form has it.
func asCSV(t *testing.T, b []byte) string {
	t.Helper()
	file, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := csv.NewWriter(&out)
	var head []string
	for _, c := range file.Root().Columns() {
		head = append(head, c.Name())
	}
	if err := w.Write(head); err != nil {
		t.Fatal(err)
	}
	r := parquet.NewReader(file) //nolint:staticcheck // it reads by the file's own schema
	defer r.Close()
	rows := make([]parquet.Row, 8)
	for {
		n, err := r.ReadRows(rows)
		for _, row := range rows[:n] {
			var fields []string
			for i, v := range row {
				text := v.String()
				switch {
				case v.IsNull():
					text = ""
				case strings.Contains("intended sent done", head[i]):
					text = time.Unix(0, v.Int64()).UTC().Format("2006-01-02T15:04:05.000000000Z")
				}
				fields = append(fields, text)
			}
			if err := w.Write(fields); err != nil {
				t.Fatal(err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	return out.String()
}

// What the file has of a run is what the record counts, operation by operation and outcome by outcome, however many end it at once.
func TestFileAgreesWithTheRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		f := begin("raw.csv.gz", nopCloser{}, newCSV(&b), room)
		rec := metrics.NewRecorder(metrics.Options{Tap: f.Tap})
		var all sync.WaitGroup
		for g := range rapid.IntRange(1, 4).Draw(t, "writers") {
			n, odd := rapid.IntRange(0, 400).Draw(t, "operations"), rapid.IntRange(2, 7).Draw(t, "odd")
			all.Go(func() {
				s := rec.Series(metrics.OpTwinReport, fmt.Sprint("g", g%2))
				for i := range n {
					now := time.Now()
					if i%odd == 1 {
						s.DropMany(uint64(i%3), now, metrics.DropReasons()[i%5])
						continue
					}
					s.Start(now.Add(-time.Duration(i%30)*time.Millisecond), now).EndBecause(now.Add(time.Millisecond), metrics.Outcomes()[i%6], "why")
				}
			})
		}
		all.Wait()
		r := &report.Run{Totals: rec.Snapshot()}
		if err := f.End(r); err != nil || len(r.Notes) > 0 {
			t.Fatalf("%v, %q", err, r.Notes)
		}
		counts, late := make(map[string]uint64), make(map[string]uint64)
		z, err := gzip.NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(z).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range rows[1:] {
			counts[x[1]+" "+x[7]]++
			if x[7] == "dropped" {
				counts[x[1]+" dropped "+x[8]]++
			}
			if x[6] == "true" {
				late[x[1]]++
			}
		}
		for _, x := range r.Totals.Series {
			for _, o := range metrics.Outcomes() {
				if got := counts[x.Group+" "+o.String()]; got != x.Count(o) {
					t.Errorf("%s: %d rows ended as %s; the record has %d", x.Group, got, o, x.Count(o))
				}
			}
			for why, n := range x.Dropped {
				if got := counts[x.Group+" dropped "+why]; got != n {
					t.Errorf("%s: %d rows were dropped as %s; the record has %d", x.Group, got, why, n)
				}
			}
			if late[x.Group] != x.Late {
				t.Errorf("%s: %d rows were late; the record has %d", x.Group, late[x.Group], x.Late)
			}
		}
	})
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// slow is a file that takes nothing until it may.
type slow struct {
	may chan struct{}
	io.Writer
}

func (s *slow) Write(b []byte) (int, error) {
	<-s.may
	return s.Writer.Write(b)
}

// Who measures does not wait for a slow file: what finds no room is counted, and said in the record.
func TestASlowFile(t *testing.T) {
	var b bytes.Buffer
	s := &slow{make(chan struct{}), &b}
	f := begin("raw.csv.gz", nopCloser{}, newCSV(s), 10)
	rec := metrics.NewRecorder(metrics.Options{Tap: f.Tap})
	series := rec.Series(metrics.OpTelemetry, "robots")
	const all = 200_000 // more than any buffer of the form has room for
	for range all {
		series.Start(start, start).End(start, metrics.OK)
	}
	close(s.may)
	r := &report.Run{Totals: rec.Snapshot()}
	if err := f.End(r); err != nil {
		t.Fatal(err)
	}
	if f.lost == 0 || f.lost+f.Written() != all || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "came faster than they could be written") {
		t.Errorf("%d lost and %d written of %d: %q", f.lost, f.Written(), all, r.Notes)
	}
	if n := len(readCSV(t, b.Bytes())) - 1; uint64(n) != f.Written() {
		t.Errorf("the file has %d rows; it says %d", n, f.Written())
	}
}

// What agents measured is in files of their own: a file lacks nothing for that, and says what it lacks of this process.
func TestAgentsHaveTheirOwn(t *testing.T) {
	for _, tt := range []struct {
		agents []report.Agent
		want   string
	}{
		{[]report.Agent{{Totals: &report.Account{Scheduled: 5, InFlight: 1}}, {Totals: &report.Account{Scheduled: 3}}, {}}, ""},
		{[]report.Agent{{Totals: &report.Account{Scheduled: 5, InFlight: 1}}}, "the raw output does not agree with the record: it has 2 of 5 operations"},
	} {
		f := begin("raw.csv.gz", nopCloser{}, newCSV(io.Discard), room)
		rec := metrics.NewRecorder(metrics.Options{Tap: f.Tap})
		theirs := metrics.NewRecorder(metrics.Options{})
		part := rec.Join()
		for range 2 {
			rec.Series(metrics.OpQuery, "all").Start(start, start).End(start, metrics.OK)
		}
		for range 7 {
			theirs.Series(metrics.OpTelemetry, "robots").Start(start, start).End(start, metrics.OK)
		}
		theirs.Series(metrics.OpTelemetry, "robots").Start(start, start)
		part.Set(theirs.Contribution())
		r := &report.Run{Totals: rec.Snapshot(), Agents: tt.agents}
		if err := f.End(r); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.Notes, "; "); got != tt.want {
			t.Errorf("%+v: notes %q; want %q", tt.agents, got, tt.want)
		}
	}
}

func TestBeside(t *testing.T) {
	for name, want := range map[string]string{"raw.csv.gz": "raw-agent-1.csv.gz", "a.b/all.parquet": "a.b/all-agent-1.parquet", "other": "other-agent-1"} {
		if got := Beside(name, "agent-1"); got != want {
			t.Errorf("beside %s: %s; want %s", name, got, want)
		}
	}
}

// full is a file on a disk that has room for some bytes.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, syscall.ENOSPC
	}
	return len(b), nil
}

// A full disk ends the file, not the run; what was asked for is not there, so that the run does not pass.
func TestAFullDisk(t *testing.T) {
	for _, form := range []func(io.Writer) rows{newCSV, newParquet} {
		f := begin("raw", nopCloser{}, form(&full{room: 100}), room)
		for range 100_000 {
			f.Tap(metrics.Ended{Operation: "connect", Intended: start, Sent: start, Done: start})
		}
		err := f.End(&report.Run{})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the raw output is not whole: after ") {
			t.Errorf("%v", err)
		}
		if f.Close() == nil {
			t.Error("it was closed twice, the second time without the error")
		}
	}
}

// It can be asked while the file goes on, and once it has ended, whether it has all: what waits is written first.
func TestWhole(t *testing.T) {
	op := metrics.Ended{Operation: "connect", Intended: start, Sent: start, Done: start}
	name := filepath.Join(t.TempDir(), "raw.csv.gz")
	good, err := Create(name)
	if err != nil {
		t.Fatal(err)
	}
	slow := begin("raw", nopCloser{}, newCSV(io.Discard), 1)
	bad := begin("raw", nopCloser{}, newCSV(&full{room: 100}), room)
	for range 10_000 {
		bad.Tap(op)
	}
	for range 100 {
		good.Tap(op)
		slow.Tap(op)
	}
	for range 2 {
		if note, err := good.Whole(); note != "" || err != nil {
			t.Errorf("a whole one: %q, %v", note, err)
		}
		if note, err := slow.Whole(); !strings.Contains(note, "came faster than they could be written") || err != nil {
			t.Errorf("a slow one: %q, %v", note, err)
		}
		if note, err := bad.Whole(); note != "" || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("on a full disk: %q, %v", note, err)
		}
		_, _, _ = good.Close(), slow.Close(), bad.Close()
	}
	if good.Written() != 100 {
		t.Errorf("%d are written", good.Written())
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := good.Whole(); err == nil || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("one that was removed: %v", err)
	}
}

// What is on disk when the process is killed can be read, but for the last second.
func TestACutOffFile(t *testing.T) {
	var b bytes.Buffer
	r := newCSV(&b)
	for range 1000 {
		if err := r.write(&metrics.Ended{Operation: "connect", Intended: start, Sent: start, Done: start}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if n := bytes.Count(text, []byte("\n")); n != 1001 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d lines, %v", n, err)
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(filepath.Join(dir, "raw.csv")); err == nil || !strings.Contains(err.Error(), "ends in neither of .csv.gz, .parquet") {
		t.Error(err)
	}
	if _, err := Create(filepath.Join(dir, "nowhere", "raw.csv.gz")); err == nil {
		t.Error("a folder that is not there was taken")
	}
	name := filepath.Join(dir, "raw.csv.gz")
	f, err := Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(name); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Error(err)
	}
}

// What the record has and the file has not is said.
func TestWhatTheFileHasNot(t *testing.T) {
	f := begin("raw.csv.gz", nopCloser{}, newCSV(io.Discard), room)
	rec := metrics.NewRecorder(metrics.Options{})
	rec.Series(metrics.OpConnect, "a").Start(start, start).End(start, metrics.OK)
	rec.Series(metrics.OpConnect, "a").Start(start, start)
	r := &report.Run{Totals: rec.Snapshot()}
	if err := f.End(r); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Notes, "; "); got != "the raw output is without 1 operation that had not ended when the run did; the raw output does not agree with the record: it has 0 of 1 operation" {
		t.Error(got)
	}
}

func BenchmarkTap(b *testing.B) {
	for _, x := range []struct {
		name string
		form func(io.Writer) rows
	}{{"csv", newCSV}, {"parquet", newParquet}} {
		b.Run(x.name, func(b *testing.B) {
			f := begin("raw", nopCloser{}, x.form(io.Discard), room)
			e := metrics.Ended{Operation: "twin_report", Group: "robots", Stage: "hold", Intended: start, Sent: start, Done: start.Add(5 * time.Millisecond)}
			for b.Loop() {
				f.Tap(e)
			}
			_ = f.Close()
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, x := range []struct {
		name string
		form func(io.Writer) rows
	}{{"csv", newCSV}, {"parquet", newParquet}} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			var n counter
			r := x.form(&n)
			i := 0
			for b.Loop() {
				i++
				at := start.Add(time.Duration(i*i%977_777) * time.Microsecond)
				e := metrics.Ended{
					Operation: "twin_report", Group: "robots", Stage: "hold", Intended: at, Sent: at.Add(time.Duration(i * 7919 % 100_000)), Done: at.Add(time.Duration(5_000_000 + i*104_729%1_000_000)),
				}
				if err := r.write(&e); err != nil {
					b.Fatal(err)
				}
			}
			if err := r.close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(n)/float64(i), "bytes/op")
		})
	}
}

type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
