package bus

import (
	"fmt"
	"strings"
)

const (
	maxName = 64  // bytes of a name
	maxKey  = 200 // bytes of a subject or a key
	maxVer  = 64  // bytes of a version
)

func letters(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return s != ""
}

func bad(what, s string) error {
	if len(s) > maxKey {
		s = s[:maxKey] + "…"
	}
	return fmt.Errorf("%s %q: %w", what, s, ErrName)
}

// CheckName refuses, with ErrName, what is not letters, digits, - and _, 64 of them at most. What the name is of comes first in the error.
func CheckName(what, name string) error {
	if len(name) > maxName || !letters(name, "-_") {
		return bad(what, name)
	}
	return nil
}

func words(s, more string) bool {
	for word := range strings.SplitSeq(s, ".") {
		if !letters(word, more) {
			return false
		}
	}
	return len(s) <= maxKey
}

// CheckSubject refuses, with ErrName, what cannot be published to: words of letters, digits, - and _ between dots, 200 bytes at most.
func CheckSubject(subject string) error {
	if !words(subject, "-_") {
		return bad("subject", subject)
	}
	return nil
}

// CheckPattern is CheckSubject for what can be listened to: a word may be *, the last one >.
func CheckPattern(pattern string) error {
	all := strings.Split(pattern, ".")
	for i, word := range all {
		if word != "*" && (word != ">" || i < len(all)-1) && !letters(word, "-_") || len(pattern) > maxKey {
			return bad("subject", pattern)
		}
	}
	return nil
}

// CheckKey refuses, with ErrName, what is no key of a store: words of letters, digits, -, _, = and / between dots, 200 bytes at most.
func CheckKey(key string) error {
	if !words(key, "-_=/") {
		return bad("key", key)
	}
	return nil
}

// CheckPrefix is CheckKey, but for an empty prefix.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	return CheckKey(prefix)
}

// Below reports whether a key is below the prefix, as every key is below an empty one.
func Below(prefix, key string) bool {
	return prefix == "" || len(key) > len(prefix) && key[len(prefix)] == '.' && strings.HasPrefix(key, prefix)
}

// Matches reports whether a subject is among those a pattern stands for.
func Matches(pattern, subject string) bool {
	for {
		want, restWant, moreWant := strings.Cut(pattern, ".")
		if want == ">" {
			return subject != ""
		}
		have, restHave, moreHave := strings.Cut(subject, ".")
		if want != "*" && want != have || moreWant != moreHave {
			return false
		}
		if !moreWant {
			return true
		}
		pattern, subject = restWant, restHave
	}
}

// Check refuses, with ErrName, a service that cannot be.
func (s Service) Check() error {
	if err := CheckName("service", s.Name); err != nil {
		return err
	}
	if err := CheckName("instance", s.Instance); err != nil {
		return err
	}
	if s.Version == "" || len(s.Version) > maxVer {
		return bad("version", s.Version)
	}
	for name := range s.Endpoints {
		if err := CheckName("endpoint", name); err != nil {
			return err
		}
	}
	if _, taken := s.Metadata["instance"]; taken {
		return bad("metadata", "instance")
	}
	return nil
}
