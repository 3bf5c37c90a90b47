package registration

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/dps/allocate"
	"github.com/twinfleet/twinfleet/internal/hub/dps/book"
	"github.com/twinfleet/twinfleet/internal/hub/dps/enrollment"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// state is a registration state with what is known at the beginning.
func (s *Service) state(t *task, status string) *dps.RegistrationState {
	now := timestamp.Time{Time: time.Now()}
	state := &dps.RegistrationState{RegistrationID: t.device, Status: status, Created: &now, Updated: &now, ETag: newETag()}
	if old := s.opts.Book.Registration(t.device); old != nil {
		state.RegistrationID, state.Created = old.RegistrationID, old.Created
	}
	if t.admission.X509() {
		state.X509 = &struct{}{}
	}
	return state
}

// newETag is a registration's: base64 of a quoted GUID.
func newETag() string {
	return base64.StdEncoding.EncodeToString([]byte(`"` + uuid.New().String() + `"`))
}

// assign carries out a registration, and remembers what came of it before anybody hears of it. One that the end of the
// service cuts short leaves no trace: nobody hears of it.
func (s *Service) assign(ctx context.Context, t *task) *dps.RegistrationState {
	e := t.admission.Enrollment
	kept := &book.Registration{Enrollment: dps.Fold(e.ID()), Group: e.IsGroup()}
	state, err := s.decide(ctx, t)
	if err != nil {
		state = s.failed(t, err)
		kept.Before = s.opts.Book.Registration(t.device).Assignment()
	}
	if ctx.Err() != nil {
		return state
	}
	kept.RegistrationState = *state
	kept.Chain = nil // for the device alone
	if err := s.opts.Book.Keep(kept); err != nil {
		s.log.Error("a registration cannot be kept", "registration", t.device, "error", err)
		return s.failed(t, err)
	}
	return state
}

// failed is the state of a registration that came to nothing. A hub's error reaches the device as the hub wrote it
// (azure-iot-sdk-c issue 1789).
func (s *Service) failed(t *task, err error) *dps.RegistrationState {
	state := s.state(t, dps.StatusFailed)
	if errors.Is(err, allocate.ErrFailed) {
		state.ErrorCode, state.ErrorMessage = dps.ErrAllocation.Code, err.Error()
		return state
	}
	e := iothub.AsError(err)
	if e == iothub.ErrServer {
		s.log.Error("a registration failed", "registration", t.device, "error", err)
	}
	state.ErrorCode, state.ErrorMessage = e.Code, string(errorbody.MQTT(e, uuid.New().String(), time.Now()))
	return state
}

// onPurpose is a registration that a fault lets fail.
type onPurpose struct{}

func (onPurpose) Error() string        { return "Custom allocation failed with status code: 400" }
func (onPurpose) Is(target error) bool { return target == allocate.ErrFailed }

// decide gives a device a hub and an identity there (concepts-device-reprovision).
func (s *Service) decide(ctx context.Context, t *task) (*dps.RegistrationState, error) {
	if t.fail {
		return nil, onPurpose{}
	}
	e := t.admission.Enrollment
	old := s.opts.Book.Registration(t.device).Assignment()
	id := e.DeviceID
	switch {
	case id != "":
	case old != nil:
		id = old.DeviceID
	default:
		id = t.device
	}
	identity, err := s.opts.Hub.Device(id)
	there := err == nil
	if err != nil && !errors.Is(err, iothub.ErrDeviceNotFound) {
		return nil, err
	}
	policy := e.Policy(t.apiVersion)
	if old != nil && there && !policy.UpdateHub && t.csr == nil {
		state := *old
		return &state, nil
	}
	state := s.state(t, dps.StatusAssigned)
	state.DeviceID, state.Substatus = id, dps.SubstatusInitial
	decision := allocate.Decision{InitialTwin: e.InitialTwin}
	if old != nil && !policy.UpdateHub {
		decision.Hub, decision.Payload = old.AssignedHub, old.Payload
	} else {
		decision, err = s.opts.Allocator.Decide(ctx, allocate.Request{
			Enrollment: e, RegistrationID: t.device, X509: t.admission.X509(), Payload: t.request.Payload,
			CurrentHub: hubOf(old), CurrentDevice: deviceOf(old),
		})
		if err != nil {
			return nil, err
		}
	}
	state.AssignedHub, state.Payload = decision.Hub, decision.Payload
	auth := t.admission.Authentication
	if t.csr != nil {
		auth = registry.Authentication{Type: registry.AuthCertificateAuthority}
	}
	switch {
	case !there:
		err = s.create(ctx, id, auth, e.Capabilities, decision.InitialTwin)
	default:
		err = s.renew(ctx, identity, auth, e.Capabilities)
		if err == nil && old != nil && policy.UpdateHub {
			switch {
			case !policy.Migrate:
				state.Substatus = dps.SubstatusReset
				err = s.reset(ctx, id, decision.InitialTwin)
			case old.AssignedHub != state.AssignedHub:
				state.Substatus = dps.SubstatusMigrated // all hubs are one: the twin is there already
			default:
				state.Substatus = old.Substatus
			}
		}
	}
	if err == nil && t.csr != nil {
		err = s.issue(t, state)
	}
	return state, err
}

func hubOf(r *dps.RegistrationState) string {
	if r == nil {
		return ""
	}
	return r.AssignedHub
}

func deviceOf(r *dps.RegistrationState) string {
	if r == nil {
		return ""
	}
	return r.DeviceID
}

// create makes an identity with its initial twin, both at once.
func (s *Service) create(ctx context.Context, id string, auth registry.Authentication, capabilities *registry.Capabilities, initial *enrollment.InitialTwin) error {
	entry := registry.BulkEntry{
		ID: id, ImportMode: registry.ImportCreate, Status: registry.StatusEnabled, Authentication: &auth, Capabilities: capabilities,
		Tags: present(initial.TagsOf()),
	}
	if desired := present(initial.Desired()); desired != nil {
		entry.Properties = &registry.BulkProperties{Desired: desired}
	}
	result, err := s.opts.Hub.Bulk(ctx, []registry.BulkEntry{entry})
	if err == nil && len(result.Errors) > 0 {
		err = result.Errors[0].Err()
	}
	return err
}

// present is a section of a document; nil for null.
func present(section json.RawMessage) json.RawMessage {
	if string(section) == "null" {
		return nil
	}
	return section
}

// renew gives an identity the credentials of now, when it has others: a key or a certificate was replaced.
func (s *Service) renew(ctx context.Context, identity registry.Identity, auth registry.Authentication, capabilities *registry.Capabilities) error {
	if identity.Authentication == auth && (capabilities == nil || *capabilities == identity.Capabilities) {
		return nil
	}
	next := registry.Identity{DeviceID: identity.DeviceID, Authentication: auth, Capabilities: identity.Capabilities}
	if capabilities != nil {
		next.Capabilities = *capabilities
	}
	_, err := s.opts.Hub.UpdateDevice(ctx, next, "*")
	return err
}

// reset puts the initial twin in the place of tags and desired properties. What the device reported stays: it is the
// device's to write.
func (s *Service) reset(ctx context.Context, id string, initial *enrollment.InitialTwin) error {
	section := func(b json.RawMessage) (jsonvalue.Value, error) {
		if present(b) == nil {
			return jsonvalue.ObjectValue(), nil
		}
		return s.opts.Hub.ParseValue(b)
	}
	tags, err := section(initial.TagsOf())
	desired, err2 := section(initial.Desired())
	if err := errors.Join(err, err2); err != nil {
		return iothub.ErrArgumentInvalid.With("initialTwin: %v", err)
	}
	_, err = s.opts.Hub.ReplaceTwin(ctx, id, tags, desired, "")
	return err
}

// issue signs the certificate that the device asked for.
func (s *Service) issue(t *task, state *dps.RegistrationState) error {
	chain, err := s.opts.Issue(t.csr, state.DeviceID)
	if err != nil {
		return fmt.Errorf("issuing a certificate: %w", err)
	}
	for _, der := range chain {
		state.Chain = append(state.Chain, base64.StdEncoding.EncodeToString(der))
	}
	return nil
}
