// Package terminal draws a run in place on a terminal, while it goes on.
package terminal
