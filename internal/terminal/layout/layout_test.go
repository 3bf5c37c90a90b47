package layout

import (
	"fmt"
	"strings"
	"testing"
)

func rows(name string, n int) (out []Row) {
	for i := range n {
		out = append(out, Row{Key: fmt.Sprint(name, i), Text: fmt.Sprint(name, i)})
	}
	return out
}

// head is a heading that counts what is left out.
func head(title string) func(out []Row) string {
	return func(out []Row) string {
		if len(out) == 0 {
			return title
		}
		return fmt.Sprintf("%s+%d", title, len(out))
	}
}

func texts() Texts {
	return Texts{
		More: func(out []Row) string { return fmt.Sprintf("more%d", len(out)) },
		Idle: func(out []Row) string { return fmt.Sprintf("idle%d", len(out)) },
		Pick: func(text string) string { return "[" + text + "]" },
		Fit:  func(text string, n int) string { return text + strings.Repeat(".", n-len(text)) },
	}
}

// Each section gets its least first, those of a low rank before others, then what it likes to have, then the rest; what is left out is
// counted, in the heading where there is one.
func TestLinesShareTheRoom(t *testing.T) {
	all := []Band{
		{{Head: head("A"), Rows: rows("a", 6), Least: 1, First: 2, Rank: 1}},
		{{Head: head("none")}},
		{{Rows: rows("b", 3), Least: 1, First: 1, Rank: 2}},
		{{Head: head("C"), Rows: rows("c", 4), Least: 1, First: 1, Rank: 0, Last: true}},
	}
	for room, want := range map[int]string{
		2:  "C+3 c3",
		5:  "A+5 a0 b0 C+3 c3",
		6:  "A+4 a0 a1 b0 C+3 c3",
		9:  "A+4 a0 a1 b0 C c0 c1 c2 c3",
		11: "A+2 a0 a1 a2 a3 b0 C c0 c1 c2 c3",
		14: "A a0 a1 a2 a3 a4 a5 b0 more2 C c0 c1 c2 c3",
		15: "A a0 a1 a2 a3 a4 a5 b0 b1 b2 C c0 c1 c2 c3",
		26: " A a0 a1 a2 a3 a4 a5  b0 b1 b2  C c0 c1 c2 c3",
	} {
		if got := strings.Join(Lines(all, room, 80, texts()), " "); got != want {
			t.Errorf("in %d lines: %q; want %q", room, got, want)
		}
	}
}

// What has ended goes first, and is named in one line.
func TestIdleRowsAreFolded(t *testing.T) {
	a := rows("a", 6)
	for i := 3; i < 6; i++ {
		a[i].Idle = true
	}
	all := []Band{{{Head: head("A"), Rows: a, Least: 1, First: 2}}}
	for room, want := range map[int]string{
		3: "A+4 a0 a1",
		4: "A+3 a0 a1 a2",
		5: "A a0 a1 a2 idle3",
		6: "A a0 a1 a2 a3 idle2",
		7: "A a0 a1 a2 a3 a4 a5",
	} {
		if got := strings.Join(Lines(all, room, 80, texts()), " "); got != want {
			t.Errorf("in %d lines: %q; want %q", room, got, want)
		}
	}
}

// The section with the picked row gets room before others, and the picked row is among those that are shown.
func TestPickedRowIsShown(t *testing.T) {
	for pick, want := range map[int]string{
		0: "A+5 a0 B+3 [b0] b1 b2", 3: "A+5 a0 B+3 b2 [b3] b4", 5: "A+5 a0 B+3 b3 b4 [b5]",
	} {
		all := []Band{{{Head: head("A"), Rows: rows("a", 6), Least: 1, First: 6}}, {{Head: head("B"), Rows: rows("b", 6), Least: 1, Rank: 9, Focus: true, Pick: pick}}}
		if got := strings.Join(Lines(all, 6, 80, texts()), " "); got != want {
			t.Errorf("row %d: %q; want %q", pick, got, want)
		}
	}
}

// Sections side by side are as high as the higher one, each in its width.
func TestSideBySide(t *testing.T) {
	all := []Band{{{Head: head("A"), Rows: rows("a", 1), Least: 1, First: 9}, {Head: head("B"), Rows: rows("b", 3), Least: 1, First: 9}}}
	if got, want := strings.Join(Lines(all, 9, 13, texts()), "|"), "A....   B|a0...   b0|.....   b1|.....   b2"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	if got, want := strings.Join(Lines(all, 2, 13, texts()), "|"), "A....   B+2|a0...   b0"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
