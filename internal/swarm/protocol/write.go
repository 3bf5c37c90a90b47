package protocol

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// ErrFormat is returned for what is not written as this package writes it.
var ErrFormat = errors.New("not a message of a run")

// mostUnpacked bounds what a message is when it is unpacked.
const mostUnpacked = 64 << 20

// Packer writes and reads compressed JSON. It may be used from any goroutine.
type Packer struct {
	write *zstd.Encoder
	read  *zstd.Decoder
}

// NewPacker makes a Packer.
func NewPacker() (*Packer, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("packing messages: %w", err)
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(mostUnpacked))
	if err != nil {
		return nil, fmt.Errorf("packing messages: %w", err)
	}
	return &Packer{w, r}, nil
}

// Pack writes something.
func (p *Packer) Pack(what any) ([]byte, error) {
	text, err := json.Marshal(what)
	if err != nil {
		return nil, fmt.Errorf("writing a message: %w", err)
	}
	return p.write.EncodeAll(text, nil), nil
}

// Unpack reads what Pack wrote. Errors match ErrFormat.
func (p *Packer) Unpack(b []byte, into any) error {
	text, err := p.read.DecodeAll(b, nil)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}
