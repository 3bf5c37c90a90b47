package topics

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		topic string
		want  Topic
	}{
		{"$iothub/twin/GET/?$rid=1", Topic{Kind: KindTwinGet, RequestID: "1"}},
		{"$iothub/twin/PATCH/properties/reported/?$rid=a-b&$version=7", Topic{Kind: KindReport, RequestID: "a-b", Version: 7, HasVersion: true}},
		{"$iothub/twin/PATCH/properties/reported/?$rid=1&$version=-1", Topic{Kind: KindReport, RequestID: "1", Version: NoVersion, HasVersion: true}},
		{"$iothub/twin/PATCH/properties/reported/?$rid=1&$version=99999999999999999999", Topic{Kind: KindReport, RequestID: "1", Version: NoVersion, HasVersion: true}},
		{"$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x", Topic{Kind: KindReport, RequestID: "1", Version: NoVersion, HasVersion: true}},
		{"$iothub/twin/res/204/?$rid=1&$version=5", Topic{Kind: KindTwinResponse, Status: 204, RequestID: "1", Version: 5, HasVersion: true}},
		{"$iothub/twin/PATCH/properties/desired/?$version=9", Topic{Kind: KindDesired, Version: 9, HasVersion: true}},
		{"$iothub/methods/POST/reboot/?$rid=f", Topic{Kind: KindMethodRequest, Method: "reboot", RequestID: "f"}},
		{"$iothub/methods/res/200/?$rid=f", Topic{Kind: KindMethodResponse, Status: 200, RequestID: "f"}},
		{"devices/d/messages/events/", Topic{Kind: KindTelemetry, DeviceID: "d"}},
		{"devices/d/messages/events/%24.mid=1&a=b", Topic{Kind: KindTelemetry, DeviceID: "d", Properties: "%24.mid=1&a=b"}},
		{"devices/d/modules/m/messages/events/", Topic{Kind: KindTelemetry, DeviceID: "d", ModuleID: "m"}},
		{"$iothub/methods/res/-1/?$rid=f", Topic{Kind: KindMethodResponse, Status: -1, RequestID: "f"}},
		{"$iothub/methods/res/-2147483648/?$rid=f", Topic{Kind: KindMethodResponse, Status: -2147483648, RequestID: "f"}},
		{"devices/d/modules/m/messages/devicebound/a=b", Topic{Kind: KindC2D, DeviceID: "d", ModuleID: "m", Properties: "a=b"}},
		{"devices/d/modules/m/inputs/i/a=b", Topic{Kind: KindInput, DeviceID: "d", ModuleID: "m", Input: "i", Properties: "a=b"}},
		{"devices/d/messages/devicebound/%24.to=x", Topic{Kind: KindC2D, DeviceID: "d", Properties: "%24.to=x"}},
	} {
		got, err := Parse(tt.topic)
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", tt.topic, got, err, tt.want)
		}
	}
	for _, bad := range []string{
		"", "a", "$iothub/twin/res/x/?$rid=1", "$iothub/twin/res/200", "$iothub/methods/POST//?$rid=1",
		"$iothub/twin/res/-1/?$rid=1", "devices/d/inputs/i/", "devices/d/modules/m/inputs/", "devices//messages/events/", "devices/d/messages/events2", "$iothub/twin/GET/x",
	} {
		if got, err := Parse(bad); !errors.Is(err, ErrTopic) {
			t.Errorf("Parse(%q) = %+v, %v; want ErrTopic", bad, got, err)
		}
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	topics := []string{TwinGet("1f"), ReportVersion("1f", 12), ReportAccepted("1f", 12), Desired(12), MethodRequest("m", "1"), MethodResponse(200, "1")}
	if n := testing.AllocsPerRun(100, func() {
		for _, topic := range topics {
			if _, err := Parse(topic); err != nil {
				t.Fatal(err)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is built reads back.
func TestTopicsReadBack(t *testing.T) {
	word := rapid.StringMatching(`[A-Za-z0-9_.-]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		rid, device := word.Draw(t, "rid"), word.Draw(t, "device")
		version, status := rapid.Int64Range(0, 1<<50).Draw(t, "version"), rapid.IntRange(0, 999).Draw(t, "status")
		var bag Bag
		for i := range rapid.IntRange(0, 4).Draw(t, "properties") {
			bag = append(bag, Property{fmt.Sprint(rapid.String().Draw(t, "name"), i), rapid.String().Draw(t, "value"), true})
		}
		for topic, want := range map[string]Topic{
			TwinGet(rid): {Kind: KindTwinGet, RequestID: rid}, Report(rid): {Kind: KindReport, RequestID: rid},
			ReportVersion(rid, version):      {Kind: KindReport, RequestID: rid, Version: version, HasVersion: true},
			TwinResponse(status, rid):        {Kind: KindTwinResponse, RequestID: rid, Status: status},
			ReportAccepted(rid, version):     {Kind: KindTwinResponse, RequestID: rid, Status: 204, Version: version, HasVersion: true},
			Desired(version):                 {Kind: KindDesired, Version: version, HasVersion: true},
			MethodRequest(device, rid):       {Kind: KindMethodRequest, Method: device, RequestID: rid},
			MethodResponse(status, rid):      {Kind: KindMethodResponse, RequestID: rid, Status: status},
			Telemetry(device, bag):           {Kind: KindTelemetry, DeviceID: device, Properties: bag.Encode()},
			C2D(device, bag):                 {Kind: KindC2D, DeviceID: device, Properties: bag.Encode()},
			ModuleC2D(device, rid, "", bag):  {Kind: KindC2D, DeviceID: device, ModuleID: rid, Properties: bag.Encode()},
			ModuleC2D(device, rid, "i", bag): {Kind: KindInput, DeviceID: device, ModuleID: rid, Input: "i", Properties: bag.Encode()},
		} {
			if got, err := Parse(topic); err != nil || got != want {
				t.Fatalf("Parse(%q) = %+v, %v; want %+v", topic, got, err, want)
			}
		}
		if second, err := ParseBag(bag.Encode()); err != nil || !reflect.DeepEqual(second, bag) {
			t.Fatalf("properties %v read back as %v, %v", bag, second, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, topic := range []string{
		TwinGet("1"), ReportVersion("1", 2), TwinResponse(200, "1"), Desired(3), MethodRequest("m", "1"),
		"devices/d/modules/m/messages/events/a=b", "devices/d/messages/devicebound/%24.to=%2F",
	} {
		f.Add(topic)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		got, err := Parse(topic)
		if err != nil {
			return
		}
		if got.Kind == KindUnknown || got.Status < 0 && got.Kind != KindMethodResponse || got.Version < 0 {
			t.Errorf("Parse(%q) = %+v", topic, got)
		}
		if _, err := ParseBag(got.Properties); err != nil && !errors.Is(err, ErrTopic) {
			t.Errorf("ParseBag: %v", err)
		}
	})
}

func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		filter, module string
		want           bool
	}{
		{FilterTwinResponses, "", true},
		{FilterDesired, "m", true},
		{FilterMethods, "", true},
		{FilterC2D("d"), "", true},
		{FilterC2D("e"), "", false},
		{FilterC2D("d"), "m", false},
		{"devices/d/modules/m/#", "m", true},
		{"devices/d/modules/m/inputs/#", "m", true},
		{"devices/d/modules/m/messages/devicebound/#", "m", true},
		{"devices/d/modules/n/messages/devicebound/#", "m", false},
		{"devices/d/modules/n/#", "m", false},
		{"#", "", false},
		{"$iothub/#", "", false},
		{"$iothub/twin/res/+", "", false},
	} {
		if got := ValidFilter(tt.filter, "d", tt.module); got != tt.want {
			t.Errorf("ValidFilter(%q, d, %q) = %v; want %v", tt.filter, tt.module, got, tt.want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	topic := ReportAccepted("1f", 12)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(topic); err != nil {
			b.Fatal(err)
		}
	}
}
