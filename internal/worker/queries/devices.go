package queries

import (
	"encoding/json"
	"strings"
	"time"
)

// MaxLength is how many characters a query may have (iot-hub-devguide-query-language).
const MaxLength = 8192

// ForDevices are queries that begin alike, up to the bracket of IN, and together name all ids.
func ForDevices(begin string, ids []string) (out []string) {
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			out = append(out, b.String()+"]")
		}
		b.Reset()
	}
	for _, id := range ids {
		quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(id) + "'"
		if b.Len()+len(quoted)+2 > MaxLength {
			flush()
		}
		if b.Len() == 0 {
			b.WriteString(begin)
		} else {
			b.WriteByte(',')
		}
		b.WriteString(quoted)
	}
	flush()
	return out
}

// Pages is a Watch that is given the pages of a query, and nothing else.
type Pages func(items []json.RawMessage)

// Page hands on a page.
func (p Pages) Page(_ time.Time, items []json.RawMessage) { p(items) }

// End does nothing.
func (p Pages) End(error) {}
