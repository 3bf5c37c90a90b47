// Package bare is what a bench holds a fleet against: programs that do nothing but what must be done. Each runs in a process of its own,
// and tells what it did as JSON, in one line.
package bare

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/twinfleet/twinfleet/internal/host"
)

// Figures are what a bare program did.
type Figures struct {
	Address   string  `json:"address,omitempty"`     // of a server
	Connected int     `json:"connected,omitempty"`   // clients
	ConnectS  float64 `json:"connect_s,omitempty"`   // processor seconds that connecting them took
	Trips     int     `json:"trips,omitempty"`       // that were made: there and back
	TripsS    float64 `json:"trips_cpu_s,omitempty"` // processor seconds that they took
	Seconds   float64 `json:"seconds,omitempty"`     // for how long
}

// Run runs a program by its name, with its settings as one line of JSON from in, until it is done or in ends.
func Run(name string, in io.Reader, out io.Writer) error {
	r := bufio.NewReader(in)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	var s Settings
	if err := json.Unmarshal(line, &s); err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	enc := json.NewEncoder(out)
	switch name {
	case "echo-server":
		return echoServer(s, r, enc)
	case "echo-clients":
		return echoClients(s, enc)
	case "paho":
		return pahoLoop(s, enc)
	}
	return fmt.Errorf("there is no program %q", name)
}

// Settings are those of all programs.
type Settings struct {
	Address  string  `json:"address"`  // of the target
	Clients  int     `json:"clients"`  // connections
	Seconds  float64 `json:"seconds"`  // of load
	Request  int     `json:"request"`  // bytes
	Response int     `json:"response"` // bytes
	Rate     float64 `json:"rate"`     // messages a second, of all clients; 0 for as many as go

	Devices []string `json:"devices"` // client ids
	Host    string   `json:"host"`    // of the hub, in user names
	Key     string   `json:"key"`     // of its policy device, in base64
}

// spent is how many processor seconds the process has taken so far.
func spent() float64 { return host.OwnTime().Seconds() }

func (s *Settings) duration() time.Duration { return time.Duration(s.Seconds * float64(time.Second)) }
