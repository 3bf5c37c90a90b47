package twin

import (
	"testing"
	"time"
)

// benchReport is what a device of the tutorial reports.
const benchReport = `{"connectivity":{"type":"cellular"}}`

func BenchmarkParse(b *testing.B) {
	text := classic(b).AppendJSON(nil)
	for name, in := range map[string]*Interner{"plain": nil, "interned": NewInterner()} {
		b.Run("report/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := in.Parse([]byte(benchReport)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("twin/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := in.Parse(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMerge is one report into a twin that has ten properties.
func BenchmarkMerge(b *testing.B) {
	s := merged(b, Reported, `{"connectivity":{"type":"wifi","rssi":-70},"battery":55,"firmware":"1.2.3","a":1,"b":2,"c":{"d":true,"e":false}}`)
	patch := mustParse(b, benchReport)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Merge(patch, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTwinReport(b *testing.B) {
	tw := classic(b)
	patch := mustParse(b, benchReport)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tw.Report(patch, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	tw := classic(b)
	buf := tw.AppendJSON(nil)
	b.Run("service", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			buf = tw.AppendJSON(buf[:0])
		}
	})
	b.Run("device", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = tw.AppendDeviceJSON(buf[:0])
		}
	})
}

func BenchmarkField(b *testing.B) {
	tw := classic(b)
	path := []string{"properties", "reported", "connectivity", "type"}
	b.ReportAllocs()
	for b.Loop() {
		if tw.Field(path...).Str() != "cellular" {
			b.Fatal("another value")
		}
	}
}
