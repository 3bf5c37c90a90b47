package eventlog

import (
	"slices"
	"sort"
	"time"
)

// entry is a message in its partition.
type entry struct {
	sequence int64
	offset   int64
	enqueued int64 // milliseconds since 1970
	bytes    []byte
}

// cost is the bytes that a message counts.
func (e *entry) cost() int64 { return int64(len(e.bytes)) + entryOverhead }

func (e *entry) position() Position {
	return Position{Sequence: e.sequence, Offset: e.offset, Enqueued: time.UnixMilli(e.enqueued).UTC()}
}

// partition is messages in their order. The zero value but for number and last is fresh.
type partition struct {
	number     int
	entries    []entry
	next       int64 // sequence number of the next message
	nextOffset int64

	settled int64    // sequence number from which on readers see nothing yet
	last    Position // of the last message that readers could see
	readers []*Reader
}

func makePartitions(n int) []partition {
	all := make([]partition, n)
	for i := range all {
		all[i] = partition{number: i, next: firstSequence, settled: firstSequence, last: Position{Sequence: beforeSequence, Offset: beforeSequence}}
	}
	return all
}

func (p *partition) first() *entry { return &p.entries[0] }

func (p *partition) add(e entry) {
	p.entries = append(p.entries, e)
	p.next, p.nextOffset = e.sequence+1, e.offset+int64(len(e.bytes))
}

// remove takes a message out. The slice moves on at its front, and is copied when it is full.
func (p *partition) remove(i int) {
	if i == 0 {
		p.entries[0] = entry{} // its bytes are not kept alive
		p.entries = p.entries[1:]
		return
	}
	p.entries = slices.Delete(p.entries, i, i+1)
}

// find is the place of a message, or where it would be.
func (p *partition) find(sequence int64) (int, bool) {
	if len(p.entries) == 0 {
		return 0, false
	}
	i := sort.Search(len(p.entries), func(i int) bool { return p.entries[i].sequence >= sequence })
	return i, i < len(p.entries) && p.entries[i].sequence == sequence
}

// settle shows readers the messages up to a sequence number. The one with that number may be gone.
func (p *partition) settle(sequence int64) {
	if i, found := p.find(sequence); found {
		p.last = p.entries[i].position()
	}
	p.settled = max(p.settled, sequence+1)
}

// visible are the messages that readers may see.
func (p *partition) visible() []entry {
	end, _ := p.find(p.settled)
	return p.entries[:end]
}

// status is what $management tells of the partition.
func (p *partition) status() Status {
	s := Status{Begin: p.settled, Last: p.last, Empty: true}
	if seen := p.visible(); len(seen) > 0 {
		s.Begin, s.Empty = seen[0].sequence, false
	}
	return s
}
