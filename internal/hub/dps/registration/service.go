// Package registration is what a provisioning service does when a device registers: it finds the enrollment, gives the
// device a hub and an identity there, and remembers both. A registration is an operation that the device polls.
package registration

import (
	"container/list"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/dps/allocate"
	"github.com/twinfleet/twinfleet/internal/hub/dps/attest"
	"github.com/twinfleet/twinfleet/internal/hub/dps/book"
	"github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/dps/limits"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// Hub is where identities are made. Errors are *iothub.Error.
type Hub interface {
	Device(id string) (registry.Identity, error)
	UpdateDevice(ctx context.Context, identity registry.Identity, ifMatch string) (registry.Identity, error)
	Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error)
	ReplaceTwin(ctx context.Context, id string, tags, desired jsonvalue.Value, ifMatch string) (*twin.Twin, error)
	ParseValue(b []byte) (jsonvalue.Value, error)
}

// Options of a Service.
type Options struct {
	Logger    *slog.Logger        // nil logs nothing
	Book      *book.Book          // required
	Hub       Hub                 // required
	Checker   attest.Checker      // who is admitted
	Allocator *allocate.Allocator // required
	Faults    *faults.Switch      // required
	Limits    limits.Limits       // zero for none
	// Delay is asked at every registration how long it is assigning; nil for no longer than it takes.
	Delay func() time.Duration
	// RetryAfter is what a device is told to wait before it polls; 3 s when 0, as the service (iot-dps-https-sym-key-support).
	RetryAfter time.Duration
	// Issue signs a certificate for a device that sent a request for one, and returns it with its chain, leaf first; nil
	// refuses such requests.
	Issue func(request *x509.CertificateRequest, deviceID string) (chain [][]byte, err error)
}

// How long an operation can be polled after its registration, and how many are carried out at the same time.
const (
	operationLife = 10 * time.Minute
	workers       = 64
)

// Service registers devices. Its methods may be called by any number of goroutines.
type Service struct {
	opts   Options
	log    *slog.Logger
	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	counts counts

	registrations, polls atomic.Pointer[limits.Limiter]

	mu      sync.Mutex // protects the following fields and those of operations
	closed  bool
	byID    map[string]*operation
	newest  map[string]*operation // by folded registration id
	oldest  list.List             // of *operation, in the order of their beginning
	pending int                   // operations that are not done
	due     []*operation          // to be carried out
	working int                   // goroutines that carry out
	wg      sync.WaitGroup        // of them
}

// operation is one registration under way, and for a while its result.
type operation struct {
	id      string
	folded  string // registration id
	task    *task  // nil once done
	started time.Time
	timer   *time.Timer
	polls   *limits.Limiter
	told    bool // the device has heard the result
	status  string
	state   *dps.RegistrationState // nil until done
	place   *list.Element          // in oldest
}

// task is what there is to do.
type task struct {
	admission  attest.Admission
	request    dps.RegisterRequest
	device     string // registration id as the device wrote it
	apiVersion string
	csr        *x509.CertificateRequest // nil for none
	fail       bool                     // on purpose
}

// New makes a Service. The caller must Close it.
func New(o Options) *Service {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = 3 * time.Second
	}
	now := time.Now()
	s := &Service{opts: o, log: o.Logger, byID: make(map[string]*operation), newest: make(map[string]*operation)}
	s.limit(o.Limits, now)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Limit holds registrations and polls to other limits from now on, as after a quiet minute.
func (s *Service) Limit(l limits.Limits) { s.limit(l, time.Now()) }

func (s *Service) limit(l limits.Limits, now time.Time) {
	s.registrations.Store(limits.New(l.Registrations, time.Minute, now))
	s.polls.Store(limits.New(l.Polls, time.Minute, now))
}

// Close ends what is under way, and waits for it. Devices that register afterwards are assigning for ever.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	for e := s.oldest.Front(); e != nil; e = e.Next() {
		if op := e.Value.(*operation); op.timer != nil {
			op.timer.Stop()
		}
	}
	s.due = nil
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

// Answer is what a device is told.
type Answer struct {
	Status     int           // 200 or 202
	Operation  dps.Operation // the body
	RetryAfter time.Duration // 0 when there is nothing to wait for
}

// Admits says whether an enrollment admits a device now; the error is dps.ErrUnauthorized.
func (s *Service) Admits(d attest.Device) error {
	_, err := s.admit(d)
	return err
}

func (s *Service) admit(d attest.Device) (attest.Admission, error) {
	a, err := s.opts.Checker.Admit(d, time.Now())
	if err != nil {
		s.log.Debug("a device may not register", "registration", d.RegistrationID, "reason", err)
		return a, dps.ErrUnauthorized
	}
	return a, nil
}

// Register begins a registration, or answers the one that is under way. Errors are *iothub.Error.
func (s *Service) Register(d attest.Device, apiVersion string, body []byte) (Answer, error) {
	t, err := s.read(d, apiVersion, body)
	if err != nil {
		s.counts.refused(err)
		return Answer{}, err
	}
	faulty := s.opts.Faults.Now()
	if err := s.throttle(s.registrations.Load(), faulty); err != nil {
		s.counts.refused(err)
		return Answer{}, err
	}
	if t.admission.Enrollment.Disabled() || faults.Draw(faulty.Disable) {
		s.counts.disabled.Add(1)
		state := s.state(t, dps.StatusDisabled)
		return Answer{Status: 200, Operation: dps.Operation{Status: dps.StatusDisabled, State: state}}, nil
	}
	t.fail = faults.Draw(faulty.Fail)
	op := s.begin(t, faulty.Slow)
	return Answer{
		Status: 202, RetryAfter: s.opts.RetryAfter,
		Operation: dps.Operation{OperationID: op.id, Status: dps.StatusAssigning},
	}, nil
}

// read checks who registers and what it says.
func (s *Service) read(d attest.Device, apiVersion string, body []byte) (*task, error) {
	if err := dps.CheckRegistrationID(d.RegistrationID); err != nil {
		return nil, dps.ErrRegistration
	}
	admission, err := s.admit(d)
	if err != nil {
		return nil, err
	}
	t := &task{admission: admission, device: d.RegistrationID, apiVersion: apiVersion}
	if t.request, err = dps.ParseRegister(body); err != nil {
		return nil, err
	}
	if id := t.request.RegistrationID; id != "" && dps.Fold(id) != dps.Fold(d.RegistrationID) {
		return nil, dps.ErrRegistration.With("Invalid RegistrationId: it is not the one of the request's address.")
	}
	if t.request.CSR == "" {
		return t, nil
	}
	if apiVersion < dps.CSRSince || s.opts.Issue == nil {
		return nil, dps.ErrDeserialization // to an older version the member is unknown
	}
	if t.csr, err = parseCSR(t.request.CSR); err != nil {
		return nil, dps.ErrArgument.With("csr: %v", err)
	}
	return t, nil
}

func parseCSR(text string) (*x509.CertificateRequest, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("it is not base64")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("it is no PKCS #10 request")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("its signature is not by its key")
	}
	return csr, nil
}

// throttle is the error of what comes too often, with the time to wait.
func (s *Service) throttle(l *limits.Limiter, faulty faults.Faults) error {
	if faults.Draw(faulty.Throttle) {
		e := *dps.ErrThrottled
		if e.RetryAfter = faulty.RetryAfter; e.RetryAfter == 0 {
			e.RetryAfter = s.opts.RetryAfter
		}
		return &e
	}
	if wait, ok := l.Take(time.Now()); !ok {
		e := *dps.ErrThrottled
		e.RetryAfter = max(wait, s.opts.RetryAfter)
		return &e
	}
	return nil
}

// begin starts an operation, unless one of the registration is under way.
func (s *Service) begin(t *task, slow time.Duration) *operation {
	folded, now := dps.Fold(t.device), time.Now()
	delay := slow
	if s.opts.Delay != nil {
		delay += s.opts.Delay()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	if op := s.newest[folded]; op != nil {
		if op.task != nil {
			return op
		}
		s.remove(op) // a device polls its newest operation alone
	}
	op := &operation{
		id: operationID(), folded: folded, task: t, started: now, status: dps.StatusAssigning,
		polls: limits.New(s.opts.Limits.DevicePolls, 10*time.Second, now),
	}
	s.byID[op.id], s.newest[folded] = op, op
	op.place = s.oldest.PushBack(op)
	s.pending++
	switch {
	case s.closed:
	case delay > 0:
		op.timer = time.AfterFunc(delay, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.enqueue(op)
		})
	default:
		s.enqueue(op)
	}
	return op
}

// operationID has the shape of the service's: digit, 16 hexadecimal digits, GUID.
func operationID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails, by its own documentation
	return "5." + hex.EncodeToString(b[:]) + "." + uuid.New().String()
}

// forget drops operations that began too long ago. The caller holds the lock.
func (s *Service) forget(now time.Time) {
	for e := s.oldest.Front(); e != nil; e = s.oldest.Front() {
		op := e.Value.(*operation)
		if op.task != nil || now.Sub(op.started) <= operationLife {
			return
		}
		s.remove(op)
	}
}

// remove drops an operation that is done. The caller holds the lock.
func (s *Service) remove(op *operation) {
	s.oldest.Remove(op.place)
	delete(s.byID, op.id)
	if s.newest[op.folded] == op {
		delete(s.newest, op.folded)
	}
}

// enqueue has an operation carried out, by a goroutine that is there or a further one. The caller holds the lock.
func (s *Service) enqueue(op *operation) {
	if s.closed {
		return
	}
	s.due = append(s.due, op)
	if s.working < workers {
		s.working++
		s.wg.Go(s.work)
	}
}

// work carries out operations until there are none.
func (s *Service) work() {
	for {
		s.mu.Lock()
		if len(s.due) == 0 {
			s.working--
			s.mu.Unlock()
			return
		}
		op := s.due[0]
		s.due[0] = nil
		s.due = s.due[1:]
		t := op.task
		s.mu.Unlock()
		state := s.assign(s.ctx, t)
		s.counts.ended(state.Status)
		s.mu.Lock()
		op.task, op.timer, op.status, op.state = nil, nil, state.Status, state
		s.pending--
		s.mu.Unlock()
	}
}

// Poll answers how an operation stands. Errors are *iothub.Error.
func (s *Service) Poll(d attest.Device, apiVersion, operationID string) (Answer, error) {
	if _, err := s.admit(d); err != nil {
		return Answer{}, err
	}
	s.counts.polls.Add(1)
	faulty := s.opts.Faults.Now()
	if err := s.throttle(s.polls.Load(), faulty); err != nil {
		s.counts.throttledPolls.Add(1)
		return Answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	op := s.byID[operationID]
	if op == nil || op.folded != dps.Fold(d.RegistrationID) || now.Sub(op.started) > operationLife {
		return Answer{}, dps.ErrOperationNotFound
	}
	if err := s.throttle(op.polls, faults.Faults{}); err != nil {
		s.counts.throttledPolls.Add(1)
		return Answer{}, err
	}
	if op.state == nil {
		return Answer{Status: 202, RetryAfter: s.opts.RetryAfter, Operation: dps.Operation{
			OperationID: op.id, Status: dps.StatusAssigning,
			State: &dps.RegistrationState{RegistrationID: d.RegistrationID, Status: dps.StatusAssigning},
		}}, nil
	}
	if !op.told {
		op.told = true
		s.counts.told(now.Sub(op.started))
	}
	state := *op.state
	if faulty.WrongHub != "" && state.AssignedHub != "" {
		state.AssignedHub = faulty.WrongHub
	}
	if apiVersion >= dps.ProfileSince && state.Status == dps.StatusAssigned {
		state.Profile = dps.ProfileClassic
	}
	return Answer{Status: 200, Operation: dps.Operation{OperationID: op.id, Status: op.status, State: &state}}, nil
}

// Lookup is the state of a device's registration (REST reference: device registration status lookup). Errors are
// *iothub.Error.
func (s *Service) Lookup(d attest.Device) (*dps.RegistrationState, error) {
	if _, err := s.admit(d); err != nil {
		return nil, err
	}
	r := s.opts.Book.Registration(d.RegistrationID)
	if r == nil {
		return nil, dps.ErrRegistrationNotFound
	}
	return &r.RegistrationState, nil
}

// unauthorized reports whether an error says that a device showed nothing that admits it.
func unauthorized(err error) bool { return dps.AsError(err).Status == 401 }
