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
	waiting map[string]chan Answer
}

// Len is how many calls wait.
func (t *Table) Len() int { return len(t.waiting) }

// Begin enters a call by its request id, which no other has. The channel gives its answer, unless the call ends before.
func (t *Table) Begin(rid string) (answer <-chan Answer) {
	if t.waiting == nil {
		t.waiting = make(map[string]chan Answer)
	}
	c := make(chan Answer, 1)
	t.waiting[rid] = c
	return c
}

// Answer ends the call with a request id. A late answer is dropped.
func (t *Table) Answer(rid string, a Answer) {
	if c, ok := t.waiting[rid]; ok {
		delete(t.waiting, rid)
		c <- a
	}
}

// End ends a call that nobody waits for any more.
func (t *Table) End(rid string) { delete(t.waiting, rid) }

// FailAll ends all calls with an error.
func (t *Table) FailAll(err error) {
	for rid, c := range t.waiting {
		c <- Answer{Err: err}
		delete(t.waiting, rid)
	}
}
