// Package calls is the direct method calls of a device that wait for its answer.
package calls

// Answer is how a call ended.
type Answer struct {
	Status  int    // what the device said, when Err is nil
	Payload []byte // its own to keep
	Err     error  // why the device cannot answer
}

// Table holds the calls of one device. The zero Table is empty. It has no lock.
type Table struct {
	waiting map[uint64]chan Answer
}

// Len is how many calls wait.
func (t *Table) Len() int { return len(t.waiting) }

// Begin enters a call by an id that no other has. The channel gives its answer, unless the call ends before.
func (t *Table) Begin(id uint64) (answer <-chan Answer) {
	if t.waiting == nil {
		t.waiting = make(map[uint64]chan Answer)
	}
	c := make(chan Answer, 1)
	t.waiting[id] = c
	return c
}

// Answer ends the call with an id. A late answer is dropped.
func (t *Table) Answer(id uint64, a Answer) {
	if c, ok := t.waiting[id]; ok {
		delete(t.waiting, id)
		c <- a
	}
}

// End ends a call that nobody waits for any more.
func (t *Table) End(id uint64) { delete(t.waiting, id) }

// FailAll ends all calls with an error.
func (t *Table) FailAll(err error) {
	for id, c := range t.waiting {
		c <- Answer{Err: err}
		delete(t.waiting, id)
	}
}
