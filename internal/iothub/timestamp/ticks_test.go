package timestamp

import (
	"testing"
	"time"
)

func TestTicks(t *testing.T) {
	zone := time.FixedZone("+02:00", 7200)
	for _, tt := range []struct {
		t    time.Time
		want string
	}{
		{time.Time{}, "0001-01-01T00:00:00Z"},
		{time.Date(2021, 5, 12, 8, 48, 8, 720593950, time.UTC), "2021-05-12T08:48:08.7205939Z"},
		{time.Date(2021, 5, 12, 1, 0, 0, 0, zone), "2021-05-11T23:00:00Z"},
		{time.Date(2021, 5, 12, 8, 48, 8, 720500000, time.UTC), "2021-05-12T08:48:08.7205Z"},
		{time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC), "1969-12-31T23:59:59.9999999Z"},
	} {
		i := Of(tt.t)
		if got := i.String(); got != tt.want {
			t.Errorf("Of(%v) = %s; want %s", tt.t, got, tt.want)
		}
		if got := i.Time(); !got.Equal(tt.t.Truncate(Tick)) {
			t.Errorf("Of(%v).Time() = %v", tt.t, got)
		}
	}
}
