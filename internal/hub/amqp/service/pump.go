package service

import "sync"

// pump carries out a function for all who want it carried out: of those who want it at the same time one does, once more for what came
// meanwhile. The others wait for nobody.
type pump struct {
	mu          sync.Mutex // protects the following fields
	again, busy bool
}

func (p *pump) run(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = true
	if p.busy {
		return
	}
	p.busy = true
	for p.again {
		p.again = false
		p.mu.Unlock()
		do()
		p.mu.Lock()
	}
	p.busy = false
}
