package failure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// ErrDeviceStatus is the class of errors of devices that answered a direct method with a status of failure.
var ErrDeviceStatus = errors.New("the device answered with a status of failure")

// Codes counts errors by what the service calls them. A nil one counts nothing. It is safe for concurrent use.
type Codes struct {
	mu     sync.Mutex // protects counts
	counts map[string]int
}

// CodeCount is how often an error came.
type CodeCount struct {
	Code  string `json:"code"`  // such as 404103 DeviceNotOnline
	Count int    `json:"count"` // from 1
}

// maxCodes bounds the codes that are told apart.
const maxCodes = 20

// Add counts an error; no error is none.
func (c *Codes) Add(err error) {
	if c == nil || err == nil {
		return
	}
	code := "other"
	var e *iothub.Error
	var own interface{ Reason() string } // a bounded text
	switch {
	case errors.As(err, &e):
		code = fmt.Sprintf("%d %s", e.Code, e.Name)
	case errors.Is(err, ErrDeviceStatus):
		code = "device status"
	case errors.Is(err, context.DeadlineExceeded):
		code = "no answer"
	case errors.As(err, &own):
		code = own.Reason()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[string]int)
	}
	if len(c.counts) >= maxCodes && c.counts[code] == 0 {
		code = "other"
	}
	c.counts[code]++
}

// List is the errors, the most frequent first.
func (c *Codes) List() []CodeCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []CodeCount
	for code, n := range c.counts {
		all = append(all, CodeCount{code, n})
	}
	slices.SortFunc(all, func(a, b CodeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	return all
}
