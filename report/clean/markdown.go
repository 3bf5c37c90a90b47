package clean

import "strings"

// nothing keeps apart, in Markdown, what would be read as one.
const nothing = "<!-- -->"

// Markdown is a text that is text alone where Markdown is read: in one line, no link, no picture, no heading, nobody's name, and no end of
// a table's cell.
func Markdown(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;", "`", "'", "\\", "\\\\", "[", "\\[", "]", "\\]", "*", "\\*", "~", "\\~",
		"@", "@"+nothing, "#", "#"+nothing, "http://", "http:"+nothing+"//", "https://", "https:"+nothing+"//", "www.", "www"+nothing+".").Replace(s)
}

// MarkdownCells are the cells of a row.
func MarkdownCells(cells []string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = Markdown(c)
	}
	return out
}

// MarkdownCode is a text within backticks, in one line and in one cell.
func MarkdownCode(s string) string {
	return "`" + strings.NewReplacer("|", "\\|", "`", "'", "\n", " ").Replace(s) + "`"
}
