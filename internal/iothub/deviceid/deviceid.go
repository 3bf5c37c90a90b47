// Package deviceid is the rule for the ids of devices and modules (iot-hub-devguide-identity-registry).
package deviceid

import (
	"errors"
	"fmt"
	"strings"
)

// Max is the longest device or module id, in characters (iot-hub-devguide-identity-registry).
const Max = 128

// ErrRefused is the class of errors for ids that the registry refuses.
var ErrRefused = errors.New("invalid device id")

// Check checks an id against the registry's rules: at most Max ASCII letters,
// digits and - . + % _ # * ? ! ( ) , = @ $ ' : ; (iot-hub-devguide-identity-registry).
func Check(id string) error {
	switch problem := Problem(id); {
	case problem == "":
		return nil
	case id == "" || len(id) > Max:
		return fmt.Errorf("%w: %s", ErrRefused, problem)
	default:
		return fmt.Errorf("%w: %q %s", ErrRefused, id, problem)
	}
}

// Problem says what is wrong with an id, without the id; empty when nothing is.
func Problem(id string) string {
	if id == "" || len(id) > Max {
		return fmt.Sprintf("%d characters; it must have 1 to %d", len(id), Max)
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("-.+%_#*?!(),=@$':;", rune(c)) {
			return "may hold letters, digits and - . + % _ # * ? ! ( ) , = @ $ ' : ;"
		}
	}
	return ""
}
