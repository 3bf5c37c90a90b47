package raw

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"io"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// columns of both forms, in their order.
func columns() []string {
	return []string{"operation", "group", "stage", "intended", "sent", "done", "late", "outcome", "reason", "response_ns", "service_ns"}
}

// csvRows are rows in CSV, compressed by gzip.
type csvRows struct {
	file   *bufio.Writer
	gzip   *gzip.Writer
	csv    *csv.Writer
	head   error // that the columns could not be written
	fields []string
	text   []byte
	clock  clock
}

func newCSV(w io.Writer) rows {
	r := &csvRows{file: bufio.NewWriterSize(w, 1<<16), fields: make([]string, len(columns()))}
	r.gzip, r.head = gzip.NewWriterLevel(r.file, gzip.BestSpeed)
	if r.head == nil {
		r.csv = csv.NewWriter(r.gzip)
		r.head = r.csv.Write(columns())
	}
	return r
}

func (r *csvRows) write(e *metrics.Ended) error {
	if r.head != nil {
		return r.head
	}
	// All numbers of a row are parts of one text: one allocation.
	var ends [5]int
	r.text = r.clock.append(r.text[:0], e.Intended, 0)
	ends[0] = len(r.text)
	if e.Dropped == 0 {
		r.text = r.clock.append(r.text, e.Intended, e.Sent.Sub(e.Intended))
		ends[1] = len(r.text)
		r.text = r.clock.append(r.text, e.Intended, e.Done.Sub(e.Intended))
		ends[2] = len(r.text)
		r.text = strconv.AppendInt(r.text, int64(e.Done.Sub(e.Intended)), 10)
		ends[3] = len(r.text)
		r.text = strconv.AppendInt(r.text, int64(e.Done.Sub(e.Sent)), 10)
		ends[4] = len(r.text)
	} else {
		for i := 1; i < len(ends); i++ {
			ends[i] = ends[0]
		}
	}
	text, late := string(r.text), ""
	if e.Dropped == 0 {
		late = strconv.FormatBool(e.Late)
	}
	r.fields = append(r.fields[:0], string(e.Operation), e.Group, e.Stage, text[:ends[0]], text[ends[0]:ends[1]], text[ends[1]:ends[2]], late, outcome(e), e.Reason,
		text[ends[2]:ends[3]], text[ends[3]:ends[4]])
	return r.csv.Write(r.fields)
}

func (r *csvRows) flush() error {
	if r.head != nil {
		return r.head
	}
	r.csv.Flush()
	if err := r.csv.Error(); err != nil {
		return err
	}
	if err := r.gzip.Flush(); err != nil {
		return err
	}
	return r.file.Flush()
}

func (r *csvRows) close() error {
	if r.head != nil {
		return r.head
	}
	r.csv.Flush()
	if err := r.csv.Error(); err != nil {
		return err
	}
	if err := r.gzip.Close(); err != nil {
		return err
	}
	return r.file.Flush()
}

// clock writes times by RFC 3339 in UTC, always with nanoseconds. Most times are of the second of the time before.
type clock struct {
	second int64
	text   []byte
}

// append writes the time that is so long after another: by the wall clock of that, so that what differs by their monotonic clock differs in
// the file by as much.
func (c *clock) append(b []byte, from time.Time, after time.Duration) []byte {
	ns := from.UnixNano() + int64(after)
	second, rest := ns/1e9, ns%1e9
	if rest < 0 {
		second, rest = second-1, rest+1e9
	}
	if second != c.second || c.text == nil {
		c.second = second
		c.text = time.Unix(second, 0).UTC().AppendFormat(c.text[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, c.text...)
	for at := int64(1e8); at > 0; at /= 10 {
		b = append(b, byte('0'+rest/at%10))
	}
	return append(b, 'Z')
}
