package query

import "github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"

// truth is a value of the three-valued logic. What is no boolean, null included, counts as undefined
// wherever a truth is wanted (as in Azure Cosmos DB's SQL, which the language comes from; the IoT Hub
// documents say only that a row is kept if its condition is true).
//
//	AND        true       false      undefined     OR         true   false      undefined     NOT
//	true       true       false      undefined     true       true   true       true          false
//	false      false      false      false         false      true   false      undefined     true
//	undefined  undefined  false      undefined     undefined  true   undefined  undefined     undefined
type truth uint8

const (
	undefined truth = iota
	isFalse
	isTrue
)

func truthOf(b bool) truth {
	if b {
		return isTrue
	}
	return isFalse
}

// truthIn is the truth of a value.
func truthIn(v jsonvalue.Value) truth {
	if v.Kind() != jsonvalue.Bool {
		return undefined
	}
	return truthOf(v.Bool())
}

func (t truth) value() jsonvalue.Value {
	if t == undefined {
		return jsonvalue.Value{}
	}
	return jsonvalue.BoolValue(t == isTrue)
}

func (t truth) not() truth {
	switch t {
	case isTrue:
		return isFalse
	case isFalse:
		return isTrue
	default:
		return undefined
	}
}

// and asks for its right side only where that matters.
func (t truth) and(y predicate, r record) truth {
	if t == isFalse {
		return isFalse
	}
	switch v := y(r); {
	case v == isFalse, t == isTrue:
		return v
	default:
		return undefined
	}
}

// or asks for its right side only where that matters.
func (t truth) or(y predicate, r record) truth {
	if t == isTrue {
		return isTrue
	}
	switch v := y(r); {
	case v == isTrue, t == isFalse:
		return v
	default:
		return undefined
	}
}
