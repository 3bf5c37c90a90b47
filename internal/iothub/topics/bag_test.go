package topics

import (
	"errors"
	"reflect"
	"testing"
)

func FuzzParseBag(f *testing.F) {
	f.Add("%24.mid=1&%24.ct=application%2Fjson&a%20b=c%2Fd&e=&f&g+h=+")
	f.Fuzz(func(t *testing.T, raw string) {
		bag, err := ParseBag(raw)
		if err != nil {
			return
		}
		second, err := ParseBag(bag.Encode())
		if err != nil || len(second) != len(bag) || len(bag) > 0 && !reflect.DeepEqual(second, bag) {
			t.Errorf("%q reads as %v and back as %v, %v", raw, bag, second, err)
		}
	})
}

// What other clients write (iot-mqtt-connect-to-iot-hub).
func TestBags(t *testing.T) {
	bag, err := ParseBag("?%24.mid=1&$.ct=application%2Fjson&a%20b=c%2Fd&plus+=+&empty=&null/")
	if err != nil {
		t.Fatal(err)
	}
	want := Bag{{"$.mid", "1", true}, {"$.ct", "application/json", true}, {"a b", "c/d", true}, {"plus+", "+", true}, {"empty", "", true}, {"null", "", false}}
	if !reflect.DeepEqual(bag, want) {
		t.Errorf("bag = %v; want %v", bag, want)
	}
	if got, want := bag.Encode(), "%24.mid=1&%24.ct=application%2Fjson&a%20b=c%2Fd&plus%2B=%2B&empty=&null"; got != want {
		t.Errorf("Encode = %s; want %s", got, want)
	}
	if v, ok := bag.Get("$.ct"); !ok || v != "application/json" {
		t.Errorf("Get = %q, %v", v, ok)
	}
	if _, ok := bag.Get("none"); ok {
		t.Error("Get finds what is not there")
	}
	if got := bag.Size(); got != 6+20+6+6+5+4 {
		t.Errorf("Size = %d", got)
	}
	for _, bad := range []string{"%zz=1", "a=%z"} {
		if _, err := ParseBag(bad); !errors.Is(err, ErrTopic) {
			t.Errorf("ParseBag(%q) = %v; want ErrTopic", bad, err)
		}
	}
}
