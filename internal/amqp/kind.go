package amqp

import "fmt"

// Kind is the type of a value, whatever its width.
type Kind uint8

// The kinds.
const (
	Absent Kind = iota // no value at all: the zero Value
	Null
	Bool
	Ubyte
	Ushort
	Uint
	Ulong
	Byte
	Short
	Int
	Long
	Float
	Double
	Decimal
	Char
	Timestamp
	UUID
	Binary
	String
	Symbol
	List
	Map
	Array
	Described
)

var _ fmt.Stringer = Absent

// String is the standard's name.
func (k Kind) String() string {
	names := [...]string{
		"nothing", "null", "boolean", "ubyte", "ushort", "uint", "ulong", "byte", "short", "int", "long", "float", "double", "decimal", "char",
		"timestamp", "uuid", "binary", "string", "symbol", "list", "map", "array", "described",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

func kindOf(constructor byte) Kind {
	switch constructor {
	case tDescribed:
		return Described
	case tNull:
		return Null
	case tTrue, tFalse, tBool:
		return Bool
	case tUbyte:
		return Ubyte
	case tUshort:
		return Ushort
	case tUint0, tSmallUint, tUint:
		return Uint
	case tUlong0, tSmallUlong, tUlong:
		return Ulong
	case tByte:
		return Byte
	case tShort:
		return Short
	case tSmallInt, tInt:
		return Int
	case tSmallLong, tLong:
		return Long
	case tFloat:
		return Float
	case tDouble:
		return Double
	case tDecimal32, tDecimal64, tDecimal128:
		return Decimal
	case tChar:
		return Char
	case tTimestamp:
		return Timestamp
	case tUUID:
		return UUID
	case tBinary8, tBinary32:
		return Binary
	case tString8, tString32:
		return String
	case tSymbol8, tSymbol32:
		return Symbol
	case tList0, tList8, tList32:
		return List
	case tMap8, tMap32:
		return Map
	case tArray8, tArray32:
		return Array
	}
	return Absent
}
