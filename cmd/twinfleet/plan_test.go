package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twinfleet/twinfleet/internal/capacity/verify"
)

// How a verification ended is its exit code.
func TestCodesOfVerifications(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, codeOK},
		{verify.ErrNotBorneOut, codeFailed},
		{verify.ErrNothing, codeUsage},
		{verify.ErrSaturated, codeSaturated},
		{verify.ErrInterrupted, codeInterrupted},
		{errors.New("another"), codeFailed},
	} {
		err := tt.err
		if err != nil {
			err = fmt.Errorf("S1, 1 unit: %w", err)
		}
		if got := codeOf(verified(err)); got != tt.want {
			t.Errorf("%v: exit code %d; want %d", tt.err, got, tt.want)
		}
	}
}
