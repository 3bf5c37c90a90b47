package runner

import (
	"testing"
	"time"
)

// Which stage runs is said while an order is carried out, which may wait for devices: these ask for it.
func TestNumberDoesNotWait(t *testing.T) {
	r := new(Runner)
	r.number.Store(2)
	r.mu.Lock()
	defer r.mu.Unlock()
	said := make(chan int, 1)
	go func() { said <- r.Number() }()
	select {
	case n := <-said:
		if n != 2 {
			t.Errorf("stage %d", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for the order")
	}
}
