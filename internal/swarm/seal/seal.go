// Package seal gets secrets to agents, and makes sure of who is who, over messaging that strangers may read and write: keys of devices are
// sealed to one agent's public key, and agents and coordinator prove to each other that they know a token without telling it.
//
// What is sealed is authenticated twice: by the box, which only the agent opens, and by the token, without which nobody makes one that the
// agent takes. The ciphers are those of NaCl (golang.org/x/crypto/nacl/box); nothing here is a cipher of our own.
package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/box"
)

// ErrOpen is returned for whatever cannot be opened: it was changed, cut, put into another order, made by somebody without the token, or is
// meant for another run, agent, epoch or purpose. Which of these is not said, as that is nobody's business.
var ErrOpen = errors.New("what was sealed cannot be opened: it is damaged, not whole, or not meant for this agent and run")

// Bounds of what is sealed.
const (
	// DefaultChunk is how many bytes of a secret one chunk carries: with what is added, and in base64, less than NATS' 1 MiB of a message.
	DefaultChunk = 512 << 10
	// Overhead is how many bytes a chunk is longer than what it carries.
	Overhead = macSize + idSize + 4 + 4 + box.AnonymousOverhead

	keySize, macSize, idSize = 32, 32, 16
	mostChunks               = 1 << 20
)

// Binding is what something sealed is meant for. It is no secret, and not in what is sealed: whoever opens it has to know.
type Binding struct {
	Run     string // the run's or the session's id
	Agent   string // its name
	Epoch   int    // of the cut; see package cut
	Purpose string // what it is: "identities", so that nothing is taken for something else
}

// PublicKey is an agent's: what is sealed to it only the agent opens. In JSON it is base64.
type PublicKey [keySize]byte

// MarshalText is the key in base64.
func (k PublicKey) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, k[:]), nil
}

// UnmarshalText reads what MarshalText wrote.
func (k *PublicKey) UnmarshalText(text []byte) error { return unmarshal(k[:], text, "a public key") }

// String is the key in base64, which is no secret.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// unmarshal reads base64 of an exact length.
func unmarshal(into, text []byte, what string) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil || len(b) != len(into) {
		return fmt.Errorf("%s is %d bytes in base64", what, len(into))
	}
	copy(into, b)
	return nil
}

// KeyPair is the keys of an agent's process: made when it starts, gone when it ends. It prints as its public key.
type KeyPair struct {
	Public  PublicKey
	private *[keySize]byte // by its address, which is all that package fmt prints of it, wherever it stands
}

// NewKeyPair makes a key pair.
func NewKeyPair() (KeyPair, error) {
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		return KeyPair{}, fmt.Errorf("making a key pair: %w", err)
	}
	return KeyPair{PublicKey(*public), private}, nil
}

// Format writes the public key, whatever the verb.
func (k KeyPair) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{%s, and a private key}", k.Public) }

// MarshalJSON refuses: a private key is nobody else's.
func (k KeyPair) MarshalJSON() ([]byte, error) { return nil, errors.New("a key pair is not written") }

// Seal seals a secret of any length to an agent's key, in chunks of up to so many bytes of it; DefaultChunk when size is 0 or less. The
// chunks are to be opened together, in their order.
func (t Token) Seal(to PublicKey, b Binding, secret []byte, size int) (chunks [][]byte, err error) {
	if err := t.usable(); err != nil {
		return nil, err
	}
	if size <= 0 {
		size = DefaultChunk
	}
	count := max(1, (len(secret)+size-1)/size)
	if count > mostChunks {
		return nil, fmt.Errorf("sealing %d bytes in chunks of %d: more than %d", len(secret), size, mostChunks)
	}
	var id [idSize]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	key := t.key("seal")
	for i := range count {
		part := secret[i*size : min(len(secret), (i+1)*size)]
		plain := make([]byte, macSize, macSize+idSize+8+len(part))
		plain = append(plain, id[:]...)
		plain = binary.BigEndian.AppendUint32(plain, uint32(i))
		plain = binary.BigEndian.AppendUint32(plain, uint32(count))
		plain = append(plain, part...)
		copy(plain, b.mac(key, to, plain[macSize:]))
		chunk, err := box.SealAnonymous(nil, plain, (*[keySize]byte)(&to), rand.Reader)
		clear(plain)
		if err != nil {
			return nil, fmt.Errorf("sealing to agent %s: %w", b.Agent, err)
		}
		chunks = append(chunks, chunk)
	}
	return chunks, nil
}

// mac authenticates one chunk, with its id, number and count, for what it is meant for.
func (b Binding) mac(key []byte, to PublicKey, chunk []byte) []byte {
	return authenticate(key, []byte(b.Run), []byte(b.Agent), binary.BigEndian.AppendUint64(nil, uint64(b.Epoch)), []byte(b.Purpose), to[:], chunk)
}

// Open opens what was sealed to the key pair for a binding: all of it, or ErrOpen. The same chunks can be opened twice.
func (t Token) Open(keys KeyPair, b Binding, chunks [][]byte) (secret []byte, err error) {
	if t.text == nil || keys.private == nil || len(chunks) == 0 || len(chunks) > mostChunks {
		return nil, ErrOpen
	}
	key := t.key("seal")
	var id []byte
	for i, chunk := range chunks {
		plain, ok := box.OpenAnonymous(nil, chunk, (*[keySize]byte)(&keys.Public), keys.private)
		const head = macSize + idSize + 8
		if !ok || len(plain) < head || !hmac.Equal(plain[:macSize], b.mac(key, keys.Public, plain[macSize:])) {
			return nil, ErrOpen
		}
		if i == 0 {
			id = plain[macSize : macSize+idSize]
		}
		number := binary.BigEndian.Uint32(plain[macSize+idSize:])
		count := binary.BigEndian.Uint32(plain[macSize+idSize+4:])
		if !bytes.Equal(plain[macSize:macSize+idSize], id) || int(number) != i || int(count) != len(chunks) {
			return nil, ErrOpen
		}
		secret = append(secret, plain[head:]...)
	}
	return secret, nil
}
