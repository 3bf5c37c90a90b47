package parse

// isAggregate reports whether a word is an aggregate.
func isAggregate(s string) bool {
	switch s {
	case "COUNT", "AVG", "SUM", "MIN", "MAX":
		return true
	}
	return false
}
