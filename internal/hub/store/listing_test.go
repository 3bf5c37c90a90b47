package store

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// Pages follow each other without gap or repeat, also when devices come and go in between.
func TestListPages(t *testing.T) {
	ctx := context.Background()
	s, err := Open(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var want []string
	for i := range 5000 {
		id := fmt.Sprintf("Robot-%04d", i)
		want = append(want, id)
		if _, err := s.CreateDevice(ctx, registry.Identity{DeviceID: id}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	after := ""
	for {
		page := s.List(after, "", 37)
		if len(page) == 0 {
			break
		}
		for _, tw := range page {
			got = append(got, tw.DeviceID)
		}
		after = page[len(page)-1].DeviceID
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d devices in pages; want %d in order", len(got), len(want))
	}
	if page := s.List("", "BOT-49", 1000); len(page) != 100 || page[0].DeviceID != "Robot-4900" || page[99].DeviceID != "Robot-4999" {
		t.Errorf("a search finds %d", len(page))
	}
	if page := s.List("Robot-4998", "robot", 10); len(page) != 1 {
		t.Errorf("after the last but one come %d", len(page))
	}
	if err := s.DeleteDevice(ctx, "Robot-0000", ""); err != nil {
		t.Fatal(err)
	}
	s.SetConnected("Robot-0001", true)
	if page := s.List("", "", 0); len(page) != MaxList || page[0].DeviceID != "Robot-0001" || !page[0].Connected {
		t.Errorf("a list without a bound has %d, first %+v", len(page), page[0])
	}
}
