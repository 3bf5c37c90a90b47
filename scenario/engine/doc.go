// Package engine runs a scenario: it opens the target, makes the identities, starts worker and fleet,
// walks through the stages, stops everything in order, and returns the record with its verdict.
package engine
