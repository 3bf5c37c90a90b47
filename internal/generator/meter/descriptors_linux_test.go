package meter

import (
	"syscall"
	"testing"

	"github.com/twinfleet/twinfleet/internal/host"
)

// With no descriptor left to measure with, the sample says so instead of failing.
func TestMeterWithoutDescriptors(t *testing.T) {
	facts, err := host.Read()
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Options{Facts: facts})
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	s, err := m.Sample(0, 0)
	if restored := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); restored != nil {
		t.Fatal(restored)
	}
	if err != nil || s.Descriptors != facts.Descriptors || s.Memory == 0 {
		t.Errorf("sample = %+v, %v", s, err)
	}
}
