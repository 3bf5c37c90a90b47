package certfile

import (
	"crypto/rsa"
	"crypto/tls"
	"sync"
)

// Store has the certificates of many devices. As many as there is room for stay in memory, so that who connects with one waits for no file and no
// key that has to be decrypted; the others are read when they are asked for. It is safe for concurrent use.
type Store struct {
	read func(name string) ([]byte, error)

	mu     sync.Mutex // protects the following fields
	room   int        // bytes that are left for what is kept
	kept   map[pair]*tls.Certificate
	above  map[string][]byte // certificates above devices', by themselves: those of one authority are the same for all
	latest map[pair]*tls.Certificate
	turns  []pair // of latest, in a ring when there are mostLatest
	turn   int    // the oldest of a ring
}

// pair are the files of a certificate and its key.
type pair struct{ certificate, key string }

// mostLatest is how many of those without room stay all the same, the latest: a connection that is sent on to another server asks twice.
const mostLatest = 1000

// NewStore is an empty Store that keeps certificates of so many bytes.
func NewStore(read func(name string) ([]byte, error), room int) *Store {
	return &Store{read: read, room: room, kept: make(map[pair]*tls.Certificate), above: make(map[string][]byte), latest: make(map[pair]*tls.Certificate)}
}

// Keep reads files as Load of the package does, and keeps what is in them if there is room.
func (s *Store) Keep(certificate, key, password string) (*tls.Certificate, error) {
	c, err := Load(s.read, certificate, key, password)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := pair{certificate, key}
	if n := weight(x, c); n <= s.room && s.kept[x] == nil {
		s.room -= n
		s.kept[x] = s.bare(c)
	}
	return c, nil
}

// Load is the certificate in files, without its Leaf: from memory, or else they are read. Errors match ErrFiles.
func (s *Store) Load(certificate, key, password string) (*tls.Certificate, error) {
	x := pair{certificate, key}
	if c := s.known(x); c != nil {
		return c, nil
	}
	c, err := Load(s.read, certificate, key, password)
	if err != nil {
		return nil, err
	}
	c.Leaf = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.latest[x] != nil: // by who asked at the same time
	case len(s.turns) < mostLatest:
		s.turns = append(s.turns, x)
	default:
		delete(s.latest, s.turns[s.turn])
		s.turns[s.turn] = x
		s.turn = (s.turn + 1) % mostLatest
	}
	s.latest[x] = c
	return c, nil
}

// known is what is in memory; nil for nothing.
func (s *Store) known(x pair) *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.kept[x]; c != nil {
		return c
	}
	return s.latest[x]
}

// bare is what TLS needs of a certificate. The caller holds the lock.
func (s *Store) bare(c *tls.Certificate) *tls.Certificate {
	out := &tls.Certificate{Certificate: [][]byte{c.Certificate[0]}, PrivateKey: c.PrivateKey}
	for _, der := range c.Certificate[1:] {
		one, ok := s.above[string(der)]
		if !ok {
			one = der
			s.above[string(der)] = der
			s.room -= 2 * len(der)
		}
		out.Certificate = append(out.Certificate, one)
	}
	return out
}

// weight is about how many bytes a certificate takes that is kept, beside those above it.
func weight(x pair, c *tls.Certificate) int {
	n := 700 + len(x.certificate) + len(x.key) + len(c.Certificate[0])
	if key, ok := c.PrivateKey.(*rsa.PrivateKey); ok {
		n += 18 * key.Size() // with what makes signing faster
	}
	return n
}
