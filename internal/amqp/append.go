package amqp

import (
	"encoding/binary"
	"math"
	"time"
)

// AppendNull appends null.
func AppendNull(b []byte) []byte { return append(b, tNull) }

// AppendBool appends a boolean.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, tTrue)
	}
	return append(b, tFalse)
}

// AppendUbyte appends a ubyte.
func AppendUbyte(b []byte, v uint8) []byte { return append(b, tUbyte, v) }

// AppendUshort appends a ushort.
func AppendUshort(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, tUshort), v)
}

// AppendUint appends a uint.
func AppendUint(b []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(b, tUint0)
	case v <= math.MaxUint8:
		return append(b, tSmallUint, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, tUint), v)
}

// AppendUlong appends a ulong.
func AppendUlong(b []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(b, tUlong0)
	case v <= math.MaxUint8:
		return append(b, tSmallUlong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, tUlong), v)
}

// AppendInt appends an int.
func AppendInt(b []byte, v int32) []byte {
	if v >= math.MinInt8 && v <= math.MaxInt8 {
		return append(b, tSmallInt, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, tInt), uint32(v))
}

// AppendLong appends a long.
func AppendLong(b []byte, v int64) []byte {
	if v >= math.MinInt8 && v <= math.MaxInt8 {
		return append(b, tSmallLong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, tLong), uint64(v))
}

// AppendTime appends a timestamp, which has milliseconds.
func AppendTime(b []byte, v time.Time) []byte {
	return binary.BigEndian.AppendUint64(append(b, tTimestamp), uint64(v.UnixMilli()))
}

// AppendUUID appends a uuid, in the order of its text.
func AppendUUID(b []byte, v [16]byte) []byte { return append(append(b, tUUID), v[:]...) }

// AppendBinary appends a binary.
func AppendBinary(b, v []byte) []byte {
	return append(appendLength(b, tBinary8, len(v)), v...)
}

// AppendString appends a string. What is no UTF-8 in it is replaced: nobody could read it.
func AppendString(b []byte, v string) []byte {
	v = validText(v)
	return append(appendLength(b, tString8, len(v)), v...)
}

// AppendSymbol appends a symbol. What is no ASCII in it is replaced with a question mark.
func AppendSymbol(b []byte, v string) []byte {
	b = appendLength(b, tSymbol8, len(v))
	for i := range len(v) {
		c := v[i]
		if c > 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// AppendValue appends a value as it was read; null for none.
func AppendValue(b []byte, v Value) []byte {
	if len(v) == 0 {
		return append(b, tNull)
	}
	return append(b, v...)
}

// appendLength appends a constructor with a length: the small one, or its relative.
func appendLength(b []byte, small byte, n int) []byte {
	if n <= math.MaxUint8 {
		return append(b, small, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, small|0x10), uint32(n))
}

// compoundHeader is how many bytes are kept free before the elements of a list or a map until their size is known.
const compoundHeader = 9

// BeginList begins a list; EndList ends it, with what BeginList has returned.
func BeginList(b []byte) (list []byte, start int) {
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0), len(b)
}

// EndList ends a list of so many elements.
func EndList(b []byte, start, count int) []byte { return endCompound(b, start, count, tList8) }

// BeginMap begins a map; EndMap ends it, with what BeginMap has returned.
func BeginMap(b []byte) (m []byte, start int) { return BeginList(b) }

// EndMap ends a map of so many pairs.
func EndMap(b []byte, start, pairs int) []byte { return endCompound(b, start, 2*pairs, tMap8) }

func endCompound(b []byte, start, count int, small byte) []byte {
	size := len(b) - start - compoundHeader
	if size < math.MaxUint8 && count <= math.MaxUint8 {
		b[start], b[start+1], b[start+2] = small, byte(size+1), byte(count)
		copy(b[start+3:], b[start+compoundHeader:])
		return b[:start+3+size]
	}
	b[start] = small | 0x10
	binary.BigEndian.PutUint32(b[start+1:], uint32(size+4))
	binary.BigEndian.PutUint32(b[start+5:], uint32(count))
	return b
}

// AppendSymbols appends an array of symbols: the form of a field that may hold several.
func AppendSymbols(b []byte, symbols ...string) []byte {
	start := len(b)
	b = append(b, tArray32, 0, 0, 0, 0, 0, 0, 0, 0, tSymbol32)
	for _, s := range symbols {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return endArray(b, start, len(symbols))
}

// AppendStrings appends an array of strings.
func AppendStrings(b []byte, texts ...string) []byte {
	start := len(b)
	b = append(b, tArray32, 0, 0, 0, 0, 0, 0, 0, 0, tString32)
	for _, s := range texts {
		s = validText(s)
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return endArray(b, start, len(texts))
}

func endArray(b []byte, start, count int) []byte {
	binary.BigEndian.PutUint32(b[start+1:], uint32(len(b)-start-5))
	binary.BigEndian.PutUint32(b[start+5:], uint32(count))
	return b
}

// AppendDescriptor appends the descriptor of a described value, which must follow.
func AppendDescriptor(b []byte, code byte) []byte { return append(b, tDescribed, tSmallUlong, code) }

// Text is a string as a value; none for an empty one.
func Text(s string) Value {
	if s == "" {
		return nil
	}
	return AppendString(nil, s)
}
