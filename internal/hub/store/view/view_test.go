package view

import (
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

func TestIndexesAreBounded(t *testing.T) {
	v := New()
	first := v.Lookup([]string{"tags", "p0"})
	for n := range MaxIndexes - 1 {
		v.Lookup([]string{"tags", fmt.Sprint("q", n)})
	}
	if v.Lookup([]string{"tags", "p0"}) != first {
		t.Error("an index was dropped below the bound")
	}
	v.Lookup([]string{"tags", "one too many"}) // Takes the place of q0, the longest unused.
	if got := len(*v.indexes.Load()); got != MaxIndexes {
		t.Errorf("%d indexes; want %d", got, MaxIndexes)
	}
	if v.Lookup([]string{"tags", "p0"}) != first {
		t.Error("an index used lately was dropped")
	}
	tw, _, err := twin.New("a").Patch(jsonvalue.ObjectValue(jsonvalue.Member{Key: "q0", Value: jsonvalue.IntValue(1)}), jsonvalue.Value{}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	v.Publish("a", tw)
	if got := v.Lookup([]string{"tags", "q0"}).Equal(jsonvalue.NumberValue(1)); got == nil || got.GetCardinality() != 1 {
		t.Errorf("an index that was built a second time finds %v", got)
	}
}
