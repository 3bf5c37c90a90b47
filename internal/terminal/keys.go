package terminal

import (
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// escapeWait is how long an Escape waits for what would make it an arrow key: what a terminal sends comes in one piece.
const escapeWait = 50 * time.Millisecond

// keyNames are the sequences that terminals send for keys, as Bubble Tea names keys.
func keyNames() map[string]string {
	names := map[string]string{
		"\r": "enter", "\n": "enter", "\t": "tab", "\x1b[Z": "shift+tab", "\x1b": "esc", "\x7f": "backspace", "\b": "backspace", " ": "space",
		"\x1b[5~": "pgup", "\x1b[6~": "pgdown", "\x1b[1~": "home", "\x1b[7~": "home", "\x1b[4~": "end", "\x1b[8~": "end",
	}
	for letter, name := range map[string]string{"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"} {
		names["\x1b["+letter], names["\x1bO"+letter] = name, name
	}
	return names
}

// decoder makes keys of what a terminal sends. The zero value is ready.
type decoder struct {
	rest  []byte // the beginning of a sequence
	names map[string]string
}

// feed takes in bytes and returns the keys that they end; what is no key that the display knows is left out. Without bytes a lone
// Escape is that key.
func (d *decoder) feed(b []byte) (keys []string) {
	if d.names == nil {
		d.names = keyNames()
	}
	quiet := len(b) == 0
	b = append(d.rest, b...)
	d.rest = nil
	for len(b) > 0 {
		if !quiet && cut(b) {
			d.rest = append([]byte(nil), b[:min(len(b), maxSequence)]...)
			break
		}
		sequence, _, n, _ := ansi.DecodeSequence(b, ansi.NormalState, nil)
		if b[0] == 0x1b && len(b) > 2 && b[1] == 'O' { // SS3, which that function takes for a whole sequence
			sequence, n = b[:3], 3
		}
		b = b[max(1, n):]
		switch name, known := d.names[string(sequence)]; {
		case known:
			keys = append(keys, name)
		case len(sequence) > 0 && sequence[0] >= ' ' && sequence[0] != 0x7f:
			keys = append(keys, string(sequence))
		}
	}
	return keys
}

// maxSequence bounds what is kept of a sequence that does not end, in bytes.
const maxSequence = 64

// cut reports whether bytes are the beginning of something longer.
func cut(b []byte) bool {
	switch {
	case b[0] != 0x1b:
		return !utf8.FullRune(b)
	case len(b) == 1:
		return true
	case b[1] == 'O':
		return len(b) == 2
	case b[1] == '[':
		for _, c := range b[2:] {
			if c >= 0x40 && c <= 0x7e {
				return false
			}
		}
		return len(b) < maxSequence
	default:
		return false
	}
}
