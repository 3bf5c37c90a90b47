package eval

import "github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"

// Truth is a value of the three-valued logic. What is no boolean, null included, counts as undefined
// wherever a truth is wanted (as in Azure Cosmos DB's SQL, which the language comes from; the IoT Hub
// documents say only that a row is kept if its condition is true).
//
//	AND        true       false      undefined     OR         true   false      undefined     NOT
//	true       true       false      undefined     true       true   true       true          false
//	false      false      false      false         false      true   false      undefined     true
//	undefined  undefined  false      undefined     undefined  true   undefined  undefined     undefined
type Truth uint8

// The truths.
const (
	Undefined Truth = iota // No boolean at all.
	False                  // The boolean false.
	True                   // The boolean true; only this keeps a row.
)

func truthOf(b bool) Truth {
	if b {
		return True
	}
	return False
}

// truthIn is the truth of a value.
func truthIn(v jsonvalue.Value) Truth {
	if v.Kind() != jsonvalue.Bool {
		return Undefined
	}
	return truthOf(v.Bool())
}

func (t Truth) value() jsonvalue.Value {
	if t == Undefined {
		return jsonvalue.Value{}
	}
	return jsonvalue.BoolValue(t == True)
}

func (t Truth) not() Truth {
	switch t {
	case True:
		return False
	case False:
		return True
	default:
		return Undefined
	}
}

// and asks for its right side only where that matters.
func (t Truth) and(y Predicate, r Record) Truth {
	if t == False {
		return False
	}
	switch v := y(r); {
	case v == False, t == True:
		return v
	default:
		return Undefined
	}
}

// or asks for its right side only where that matters.
func (t Truth) or(y Predicate, r Record) Truth {
	if t == True {
		return True
	}
	switch v := y(r); {
	case v == True, t == False:
		return v
	default:
		return Undefined
	}
}
