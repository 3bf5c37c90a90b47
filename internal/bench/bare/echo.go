package bare

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// echoServer answers every request with a response, until in ends.
func echoServer(s Settings, in io.Reader, out *json.Encoder) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if err := out.Encode(Figures{Address: l.Addr().String()}); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is what is waited for
		l.Close()
	}()
	for {
		nc, err := l.Accept()
		if err != nil {
			return out.Encode(Figures{TripsS: spent()}) // closed
		}
		go func() {
			defer nc.Close()
			request, response := make([]byte, s.Request), make([]byte, s.Response)
			for {
				if _, err := io.ReadFull(nc, request); err != nil {
					return
				}
				if _, err := nc.Write(response); err != nil {
					return
				}
			}
		}()
	}
}

// echoClients send requests one after the other, each as soon as it has the response to the last.
func echoClients(s Settings, out *json.Encoder) error {
	var all sync.WaitGroup
	var trips atomic.Int64
	var failed atomic.Pointer[error]
	conns := make([]net.Conn, 0, s.Clients)
	for range s.Clients {
		nc, err := net.Dial("tcp", s.Address)
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		conns = append(conns, nc)
	}
	before, began := spent(), time.Now()
	end := began.Add(s.duration())
	for _, nc := range conns {
		all.Go(func() {
			defer nc.Close()
			request, response := make([]byte, s.Request), make([]byte, s.Response)
			for n := 0; ; n++ {
				if n%16 == 0 && time.Now().After(end) {
					trips.Add(int64(n))
					return
				}
				_, err := nc.Write(request)
				if err == nil {
					_, err = io.ReadFull(nc, response)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return errors.Join(errors.New("a client lost its connection"), *err)
	}
	return out.Encode(Figures{Connected: s.Clients, Trips: int(trips.Load()), TripsS: spent() - before, Seconds: time.Since(began).Seconds()})
}
