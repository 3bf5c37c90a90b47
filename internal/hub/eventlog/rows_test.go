package eventlog

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// What a row says is what was written, and nothing else is read; whatever the bytes are.
func FuzzMessageRow(f *testing.F) {
	row := append(make([]byte, rowHeader), "message"...)
	sealMessage(row, &entry{sequence: 7, offset: 300, enqueued: 1700000000000, bytes: row[rowHeader:]})
	f.Add(messageKey(3, 7), row)
	f.Add(messageKey(3, 7), row[:rowHeader])
	f.Add("03-ffffffffffffffff", row)
	f.Add("3-7", row)
	f.Add("", []byte(nil))
	f.Fuzz(func(t *testing.T, key string, row []byte) {
		n, e, err := openMessage(key, row)
		if err != nil {
			if !errors.Is(err, errRow) {
				t.Errorf("error %v", err)
			}
			// The same message, written well, is read.
			row = append(make([]byte, rowHeader), row...)
			sealMessage(row, &entry{sequence: 1, offset: 2, enqueued: 3})
			n, e, err := openMessage(messageKey(31, 1), row)
			if err != nil || n != 31 || e.sequence != 1 || e.offset != 2 || e.enqueued != 3 || !bytes.Equal(e.bytes, row[rowHeader:]) {
				t.Errorf("read %d, %+v, %v", n, e, err)
			}
			return
		}
		if messageKey(n, e.sequence) != key || e.sequence < 0 || e.offset < 0 || e.enqueued < 0 {
			t.Errorf("%q is read as %d, %+v", key, n, e)
		}
		second := append(make([]byte, rowHeader), e.bytes...)
		if sealMessage(second, &e); !bytes.Equal(second, row) {
			t.Error("the row is not what would be written")
		}
	})
}

func FuzzStateRow(f *testing.F) {
	f.Add(encodeState(state{8, 900, Position{7, 800, time.UnixMilli(1700000000000)}}))
	f.Add(encodeState(state{0, 0, Position{Sequence: -1, Offset: -1}}))
	f.Add([]byte("nonsense"))
	f.Fuzz(func(t *testing.T, row []byte) {
		s, err := decodeState(row)
		if err != nil {
			if !errors.Is(err, errRow) {
				t.Errorf("error %v", err)
			}
			return
		}
		if s.next < 0 || s.last.Sequence >= s.next {
			t.Errorf("%+v", s)
		}
		if second, err := decodeState(encodeState(s)); err != nil || second != s {
			t.Errorf("%+v is written and read as %+v, %v", s, second, err)
		}
	})
}

// A key is read when it is one that is written: a negative number, of which the hub once took a state for its own and fell over it, is none.
func TestPartitionKeys(t *testing.T) {
	for want := range MaxPartitions {
		if n, ok := parsePartition(partitionKey(want)); !ok || n != want {
			t.Errorf("%d is read as %d, %v", want, n, ok)
		}
	}
	for _, key := range []string{"", "-1", "+1", "1", "001", "zz", "1F", "ffffffffff"} {
		if n, ok := parsePartition(key); ok {
			t.Errorf("%q is read as %d", key, n)
		}
	}
}
