package tree

// The binding powers of operators, weakest first. NOT binds weaker than comparisons: NOT a = 1 is
// NOT (a = 1), as the documents' own queries have it.
const (
	PowerOr       = iota + 1 // OR
	PowerAnd                 // AND
	PowerNot                 // NOT
	PowerCompare             // = != < <= > >= IN NIN
	PowerAdd                 // + - between two operands
	PowerMultiply            // * / %
	PowerMinus               // - before one operand
	PowerOperand             // what is no operator
)

// BinaryPower is the power of a binary operator, 0 for what is none.
func BinaryPower(op string) int {
	switch op {
	case "OR":
		return PowerOr
	case "AND":
		return PowerAnd
	case "IN", "NIN", "=", "!=", "<", "<=", ">", ">=":
		return PowerCompare
	case "+", "-":
		return PowerAdd
	case "*", "/", "%":
		return PowerMultiply
	default:
		return 0
	}
}

// powerOf is the binding power of an expression's outermost operator.
func powerOf(e Expr) int {
	switch e := e.(type) {
	case Binary:
		return BinaryPower(e.Op)
	case In:
		return PowerCompare
	case Unary:
		if e.Op == "NOT" {
			return PowerNot
		}
		return PowerMinus
	default:
		return PowerOperand
	}
}
