package cursor

import "strings"

// WordHint is what to write instead of a word that other query languages have and this one has not;
// empty for other words.
func WordHint(word string) string {
	switch strings.ToUpper(word) {
	case "ORDER":
		return "the IoT Hub query language has no ORDER BY: rows come in no promised order, sort them where they are used"
	case "LIKE":
		return "the IoT Hub query language has no LIKE: write STARTSWITH(tags.plant, 'Red')"
	case "BETWEEN":
		return "the IoT Hub query language has no BETWEEN: write x >= 1 AND x <= 2"
	case "JOIN", "INNER", "OUTER", "LEFT", "RIGHT", "CROSS":
		return "the IoT Hub query language has no JOIN: a query reads one collection"
	case "DISTINCT":
		return "the IoT Hub query language has no DISTINCT: write GROUP BY"
	case "LIMIT", "FETCH":
		return "the IoT Hub query language has no " + strings.ToUpper(word) + ": write SELECT TOP 10"
	case "OFFSET":
		return "the IoT Hub query language has no OFFSET: further pages come by continuation token"
	case "HAVING":
		return "the IoT Hub query language has no HAVING: filter the groups where they are used"
	case "UNION", "EXCEPT", "INTERSECT":
		return "the IoT Hub query language has no " + strings.ToUpper(word) + ": write one condition with AND and OR"
	case "IS":
		return "the IoT Hub query language has no IS: write IS_DEFINED(tags.plant), or = null for a null that is stored"
	case "NOT":
		return "write NIN ['x', 'y'] for NOT IN, or put NOT before the whole comparison"
	case "VALUE":
		return "the IoT Hub query language has no VALUE: rows are always objects"
	}
	return ""
}
