package raw

import (
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/twinfleet/twinfleet/metrics"
)

// row is an operation as Parquet has it; times are nanoseconds since 1970, in UTC.
type row struct {
	Operation string `parquet:"operation,dict"`
	Group     string `parquet:"group,dict"`
	Stage     string `parquet:"stage,dict"`
	Intended  int64  `parquet:"intended,timestamp(nanosecond)"`
	Sent      *int64 `parquet:"sent,optional,timestamp(nanosecond)"`
	Done      *int64 `parquet:"done,optional,timestamp(nanosecond)"`
	Late      *bool  `parquet:"late,optional"`
	Outcome   string `parquet:"outcome,dict"`
	Reason    string `parquet:"reason,dict"`
	Response  *int64 `parquet:"response_ns,optional"`
	Service   *int64 `parquet:"service_ns,optional"`
}

const (
	atOnce   = 1 << 10 // rows that are given to the library at once
	rowGroup = 1 << 17 // rows that it keeps in memory
)

// parquetRows are rows in Parquet.
type parquetRows struct {
	w       *parquet.GenericWriter[row]
	rows    []row
	numbers [][4]int64 // that rows point to
	bools   []bool
}

func newParquet(w io.Writer) rows {
	return &parquetRows{
		w:    parquet.NewGenericWriter[row](w, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup)),
		rows: make([]row, 0, atOnce), numbers: make([][4]int64, atOnce), bools: make([]bool, atOnce),
	}
}

func (p *parquetRows) write(e *metrics.Ended) error {
	i := len(p.rows)
	intended := e.Intended.UnixNano()
	x := row{Operation: string(e.Operation), Group: e.Group, Stage: e.Stage, Intended: intended, Outcome: outcome(e), Reason: e.Reason}
	if e.Dropped == 0 {
		response, lag := int64(e.Done.Sub(e.Intended)), int64(e.Sent.Sub(e.Intended))
		n := &p.numbers[i]
		*n = [4]int64{intended + lag, intended + response, response, int64(e.Done.Sub(e.Sent))}
		p.bools[i] = e.Late
		x.Sent, x.Done, x.Response, x.Service, x.Late = &n[0], &n[1], &n[2], &n[3], &p.bools[i]
	}
	p.rows = append(p.rows, x)
	if len(p.rows) < atOnce {
		return nil
	}
	return p.give()
}

// give gives the rows to the library.
func (p *parquetRows) give() error {
	_, err := p.w.Write(p.rows)
	p.rows = p.rows[:0]
	return err
}

// flush does nothing: a file in Parquet can be read when it has ended.
func (p *parquetRows) flush() error { return nil }

func (p *parquetRows) close() error {
	if err := p.give(); err != nil {
		return err
	}
	return p.w.Close()
}
