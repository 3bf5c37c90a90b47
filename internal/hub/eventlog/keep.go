package eventlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// The buckets of the Keeper: messages by partition and sequence number, whose order is that of their keys, and what outlives them.
const (
	messageRows = "telemetry.1"
	stateRows   = "telemetrystate.1"
)

// onKey is the row that says that the log is on, in how many partitions, and since when.
const onKey = "on"

// onSize is the bytes of that row: its version, the partitions, and milliseconds since 1970.
const onSize = 2 + 8

// mostRow is the most bytes of a message that are read back: an AMQP delivery has at most a megabyte.
const mostRow = 2 << 20

func partitionKey(n int) string { return fmt.Sprintf("%02x", n) }

// parsePartition reads what partitionKey has written.
func parsePartition(key string) (n int, ok bool) {
	number, err := strconv.ParseUint(key, 16, 31)
	return int(number), err == nil && partitionKey(int(number)) == key
}

func messageKey(n int, sequence int64) string { return fmt.Sprintf("%02x-%016x", n, sequence) }

// errRow is why a row is not taken up.
var errRow = errors.New("it is damaged")

// A row of a message is a header and the message: a checksum of the rest, the time and the offset.
const (
	checksum  = 4
	rowHeader = checksum + 8 + 8
)

// castagnoli is the table of CRC-32C, which processors have instructions for. The package makes it once.
func sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// sealMessage fills the header of a row whose message is there already.
func sealMessage(row []byte, e *entry) {
	binary.BigEndian.PutUint64(row[checksum:], uint64(e.enqueued))
	binary.BigEndian.PutUint64(row[checksum+8:], uint64(e.offset))
	binary.BigEndian.PutUint32(row, sum(row[checksum:]))
}

// openMessage reads a row, with its key.
func openMessage(key string, row []byte) (n int, e entry, err error) {
	partition, text, _ := strings.Cut(key, "-")
	n, ok := parsePartition(partition)
	sequence, err := strconv.ParseUint(text, 16, 63)
	if err != nil || !ok || messageKey(n, int64(sequence)) != key {
		return 0, e, fmt.Errorf("%w: its key is none", errRow)
	}
	if len(row) < rowHeader || len(row) > rowHeader+mostRow {
		return 0, e, fmt.Errorf("%w: it has %d bytes", errRow, len(row))
	}
	if binary.BigEndian.Uint32(row) != sum(row[checksum:]) {
		return 0, e, fmt.Errorf("%w: its checksum is wrong", errRow)
	}
	e = entry{
		sequence: int64(sequence), enqueued: int64(binary.BigEndian.Uint64(row[checksum:])),
		offset: int64(binary.BigEndian.Uint64(row[checksum+8:])), bytes: row[rowHeader:],
	}
	if e.enqueued < 0 || e.offset < 0 {
		return 0, e, fmt.Errorf("%w: its time or offset is negative", errRow)
	}
	return n, e, nil
}

// state is what is kept of a partition whose messages are gone.
type state struct {
	next, nextOffset int64
	last             Position
}

func (p *partition) state() state { return state{p.next, p.nextOffset, p.last} }

// stateSize is the bytes of a state: a checksum and five numbers.
const stateSize = checksum + 5*8

func encodeState(s state) []byte {
	b := make([]byte, checksum, stateSize)
	for _, v := range [...]int64{s.next, s.nextOffset, s.last.Sequence, s.last.Offset, s.last.Enqueued.UnixMilli()} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	binary.BigEndian.PutUint32(b, sum(b[checksum:]))
	return b
}

func decodeState(b []byte) (s state, err error) {
	if len(b) != stateSize || binary.BigEndian.Uint32(b) != sum(b[checksum:]) {
		return s, errRow
	}
	var v [5]int64
	for i := range v {
		v[i] = int64(binary.BigEndian.Uint64(b[checksum+8*i:]))
	}
	s = state{v[0], v[1], Position{Sequence: v[2], Offset: v[3]}}
	if v[2] != beforeSequence {
		s.last.Enqueued = time.UnixMilli(v[4]).UTC()
	}
	if s.next < 0 || s.nextOffset < 0 || s.last.Sequence < beforeSequence || s.last.Sequence >= s.next || s.last.Offset < beforeSequence {
		return s, fmt.Errorf("%w: its numbers make no sense", errRow)
	}
	return s, nil
}

// keepOn keeps that the log is on, and since when there is one. The caller holds the lock.
func (l *Log) keepOn() func(context.Context) error {
	row := []byte{1, byte(len(l.partitions))}
	return l.opts.Keeper.Put(stateRows, onKey, binary.BigEndian.AppendUint64(row, uint64(l.created.UnixMilli())))
}

// Load takes up the messages that are kept, and turns the log on when it was, or when Options.Always says so. What cannot be read is
// dropped, and told to the logger. It is called once, before anything else.
func (l *Log) Load(ctx context.Context) error {
	if l.opts.Keeper == nil || l.opts.Bytes < 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	on, err := l.loadStates(ctx)
	if err == nil {
		err = l.loadMessages(ctx)
	}
	if err != nil {
		return fmt.Errorf("reading the messages that were kept for readers: %w", err)
	}
	if on || l.opts.Always {
		l.start()
		l.evict(l.opts.Now())
	}
	return nil
}

// drop takes a row away that makes no sense. The caller holds the lock.
func (l *Log) drop(bucket, key string, why error) {
	l.log.Warn("dropping what was kept of messages for readers", "bucket", bucket, "key", key, "reason", why)
	l.opts.Keeper.Put(bucket, key, nil)
}

// loadStates takes up what outlives messages. The caller holds the lock.
func (l *Log) loadStates(ctx context.Context) (on bool, err error) {
	states := make(map[int]state)
	err = l.opts.Keeper.Rows(ctx, stateRows, func(key string, value []byte) error {
		if key == onKey {
			if len(value) != onSize || value[0] != 1 || value[1] < 1 || value[1] > MaxPartitions {
				l.drop(stateRows, key, errRow)
				return nil
			}
			on = true
			l.created = time.UnixMilli(int64(binary.BigEndian.Uint64(value[2:]))).UTC()
			if n := int(value[1]); n != len(l.partitions) {
				l.log.Info("messages for readers stay in as many partitions as they are in", "partitions", n, "asked for", len(l.partitions))
				l.partitions = makePartitions(n)
			}
			return nil
		}
		s, err := decodeState(value)
		n, ok := parsePartition(key)
		if !ok {
			err = errRow
		}
		if err != nil {
			l.drop(stateRows, key, err)
			return nil
		}
		states[n] = s
		return nil
	})
	if err != nil {
		return false, err
	}
	for n, s := range states {
		if n >= len(l.partitions) {
			l.drop(stateRows, partitionKey(n), ErrNoPartition)
			continue
		}
		p := &l.partitions[n]
		p.next, p.nextOffset, p.settled, p.last = s.next, s.nextOffset, s.next, s.last
		l.latest = max(l.latest, s.last.Enqueued.UnixMilli())
	}
	return on, nil
}

// loadMessages takes up the messages. The caller holds the lock.
func (l *Log) loadMessages(ctx context.Context) error {
	return l.opts.Keeper.Rows(ctx, messageRows, func(key string, value []byte) error {
		n, e, err := openMessage(key, value)
		if err == nil && n >= len(l.partitions) {
			err = ErrNoPartition
		}
		if err != nil {
			l.drop(messageRows, key, err)
			return nil
		}
		p := &l.partitions[n]
		if k := len(p.entries); k > 0 {
			if before := &p.entries[k-1]; e.offset < before.offset+int64(len(before.bytes)) || e.enqueued < before.enqueued {
				l.drop(messageRows, key, fmt.Errorf("%w: it does not follow the one before it", errRow))
				return nil
			}
		}
		next, nextOffset, last := p.next, p.nextOffset, p.last
		p.add(e)
		p.settled = p.next
		p.last = e.position()
		if p.next <= next { // it is on its way out: the partition was empty after it
			p.next, p.nextOffset, p.settled, p.last = next, nextOffset, next, last
		}
		l.latest = max(l.latest, e.enqueued)
		l.messages++
		l.bytes += e.cost()
		return nil
	})
}
