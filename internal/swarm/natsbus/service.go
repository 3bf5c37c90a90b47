package natsbus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/link"
)

// instanceKey is where a service's metadata has the instance: the id of the service is the library's own.
const instanceKey = "instance"

type service struct {
	conn    *Conn
	micro   micro.Service
	ctx     context.Context
	cancel  context.CancelCauseFunc
	once    sync.Once
	mu      sync.Mutex
	stopped bool           // no handler begins any more
	running sync.WaitGroup // handlers; Add under mu
}

// Serve is bus.Bus's.
func (c *Conn) Serve(one bus.Service) (bus.Subscription, error) {
	if err := one.Check(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closes {
		return nil, fmt.Errorf("serving %s: %w", one.Name, bus.ErrClosed)
	}
	s := &service{conn: c}
	s.ctx, s.cancel = context.WithCancelCause(c.life)
	metadata := maps.Clone(one.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata[instanceKey] = one.Instance
	var err error
	s.micro, err = micro.AddService(c.nc, micro.Config{Name: one.Name, Version: one.Version, Metadata: metadata, QueueGroupDisabled: true})
	if err == nil {
		for _, name := range slices.Sorted(maps.Keys(one.Endpoints)) {
			subject := c.subject("ask", one.Instance, name)
			err = errors.Join(err, s.micro.AddEndpoint(name, s.handler(one.Endpoints[name]), micro.WithEndpointSubject(subject)))
		}
		if err != nil {
			_ = s.micro.Stop()
		}
	}
	if errors.Is(err, micro.ErrConfigValidation) {
		err = fmt.Errorf("%w: %w", bus.ErrName, err)
	}
	if err != nil {
		return nil, fmt.Errorf("serving %s: %w", one.Name, c.plain(err))
	}
	c.known()
	if err := c.listens(c.subject("ask", one.Instance, ""), serviceSubjects); err != nil {
		_ = s.micro.Stop()
		return nil, fmt.Errorf("serving %s: %w", one.Name, err)
	}
	c.stops[s] = struct{}{}
	return s, nil
}

func (s *service) handler(handle func(context.Context, []byte) ([]byte, error)) micro.Handler {
	return micro.HandlerFunc(func(request micro.Request) {
		s.mu.Lock()
		if s.stopped {
			s.mu.Unlock()
			refuse(request, &bus.Error{Code: bus.Unavailable, Text: "the service stops"})
			return
		}
		s.running.Add(1)
		s.mu.Unlock()
		defer s.running.Done()
		data, err := handle(s.ctx, request.Data())
		if err == nil && len(data) > s.conn.MaxPayload() {
			err = fmt.Errorf("an answer of %d bytes: %w", len(data), bus.ErrTooLarge)
		}
		if err != nil {
			refuse(request, bus.AsError(err))
			return
		}
		// An answer that cannot be sent is one that was lost: who asked will see.
		_ = request.Respond(data)
	})
}

func refuse(request micro.Request, failure *bus.Error) {
	// The text goes as data too: a header holds one line.
	_ = request.Error(strconv.Itoa(int(failure.Code)), line(failure.Text), []byte(failure.Text))
}

// line is the beginning of a text, fit for a header.
func line(text string) string {
	const most = 200
	if len(text) > most {
		text = text[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, text)
}

// Stop is bus.Subscription's.
func (s *service) Stop() {
	s.once.Do(func() {
		s.mu.Lock()
		s.stopped = true
		s.mu.Unlock()
		s.cancel(bus.ErrClosed)
		// Its error is that the connection has ended.
		_ = s.micro.Stop()
		s.conn.known()
		s.conn.mu.Lock()
		delete(s.conn.stops, s)
		s.conn.mu.Unlock()
	})
	s.running.Wait()
}

// Ask is bus.Bus's.
func (c *Conn) Ask(ctx context.Context, instance, endpoint string, data []byte) ([]byte, error) {
	if err := bus.CheckName("instance", instance); err != nil {
		return nil, err
	}
	if err := bus.CheckName("endpoint", endpoint); err != nil {
		return nil, err
	}
	out, err := c.ask(ctx, c.subject("ask", instance, endpoint), data)
	if err != nil {
		return nil, fmt.Errorf("asking %s for %s: %w", instance, endpoint, err)
	}
	return out, nil
}

func (c *Conn) ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	ctx, cancel := link.Bound(ctx, c.life)
	defer cancel()
	// A question that waited in the client's buffer would be heard long after who asked has given up.
	epoch, err := c.link.Wait(ctx)
	if err != nil {
		return nil, err
	}
	if len(data) > c.MaxPayload() {
		return nil, fmt.Errorf("%d bytes: %w", len(data), bus.ErrTooLarge)
	}
	ctx, done := link.Bound(ctx, epoch)
	defer done()
	ctx, asked := c.asking(ctx, subject)
	defer asked()
	answer, err := c.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: data})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, nats.ErrNoResponders):
		return nil, bus.ErrNobody
	case errors.Is(err, nats.ErrDisconnected):
		return nil, bus.ErrLost
	case err != nil:
		return nil, c.broken(err)
	}
	if code := answer.Header.Get(micro.ErrorCodeHeader); code != "" {
		number, _ := strconv.Atoi(code)
		text := string(answer.Data)
		if text == "" {
			text = answer.Header.Get(micro.ErrorHeader)
		}
		return nil, bus.AsError(&bus.Error{Code: bus.Code(number), Text: text})
	}
	return answer.Data, nil
}

// silence ends a list of services.
const silence = 500 * time.Millisecond

// Services is bus.Bus's.
func (c *Conn) Services(ctx context.Context, name string) ([]bus.Instance, error) {
	if err := bus.CheckName("service", name); err != nil {
		return nil, err
	}
	var all []bus.Instance
	err := c.retry(ctx, []string{serviceSubjects}, func(ctx context.Context, _ int) (err error) {
		all, err = c.services(ctx, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", name, c.plain(err))
	}
	slices.SortFunc(all, func(a, b bus.Instance) int { return cmp.Compare(a.Instance, b.Instance) })
	return slices.CompactFunc(all, func(a, b bus.Instance) bool { return a.Instance == b.Instance }), nil
}

func (c *Conn) services(ctx context.Context, name string) (all []bus.Instance, err error) {
	subject, err := micro.ControlSubject(micro.InfoVerb, name, "")
	if err != nil {
		return nil, err
	}
	inbox := c.nc.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.nc.PublishRequest(subject, inbox, nil); err != nil {
		return nil, err
	}
	for {
		quiet, cancel := context.WithTimeout(ctx, silence)
		m, err := sub.NextMsgWithContext(quiet)
		cancel()
		switch {
		case errors.Is(err, nats.ErrNoResponders), err != nil && ctx.Err() == nil && quiet.Err() != nil:
			return all, nil
		case err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
			return all, nil
		case err != nil:
			return nil, err
		}
		var info micro.Info
		// Whoever is let onto the server may answer: what cannot be asked anyway is no instance.
		if json.Unmarshal(m.Data, &info) != nil || info.Name != name || bus.CheckName("instance", info.Metadata[instanceKey]) != nil {
			continue
		}
		instance := bus.Instance{Name: name, Instance: info.Metadata[instanceKey], Version: info.Version, Metadata: info.Metadata}
		delete(instance.Metadata, instanceKey)
		all = append(all, instance)
	}
}
