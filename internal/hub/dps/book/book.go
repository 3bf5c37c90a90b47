// Package book keeps what a provisioning service knows: enrollments, groups, registrations, and what it is called itself.
// With a keeper every change is on disk before the call that made it returns.
package book

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/google/btree"

	"github.com/twinfleet/twinfleet/internal/hub/dps/enrollment"
	"github.com/twinfleet/twinfleet/internal/hub/keep"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
)

// The keeper's buckets.
const (
	individualSection   = "dps.enrollments.1"
	groupSection        = "dps.groups.1"
	registrationSection = "dps.registrations.1"
	settingsSection     = "dps.settings.1"
)

const settingsKey = "service"

// Registration is what is known of a device that registered.
type Registration struct {
	dps.RegistrationState
	Enrollment string `json:"enrollment"` // the folded id of the enrollment or group that admitted it
	Group      bool   `json:"group"`      // it was a group
	// Before is the last assignment, when the registration after it came to nothing; nil when there was none.
	Before *dps.RegistrationState `json:"before,omitempty"`
}

// Assignment is the last assignment, also when a later registration came to nothing; nil when there was none, and of a nil
// Registration.
func (r *Registration) Assignment() *dps.RegistrationState {
	switch {
	case r == nil:
		return nil
	case r.Status == dps.StatusAssigned:
		return &r.RegistrationState
	default:
		return r.Before
	}
}

// Settings are what a service is called, and who may change it.
type Settings struct {
	IDScope            string `json:"idScope"`
	Primary, Secondary string // keys of dps.ServicePolicy, base64
}

// Book holds it all. Its methods may be called by any number of goroutines. What it gives out must not be changed.
type Book struct {
	keeper keep.Keeper // nil in memory

	writing sync.Mutex // held over a change of enrollments: they are few, and a condition must hold until it is written

	mu            sync.RWMutex // protects the following fields; never held over a write to disk
	individuals   *btree.BTreeG[*item[*enrollment.Enrollment]]
	groups        *btree.BTreeG[*item[*enrollment.Enrollment]]
	registrations *btree.BTreeG[*item[*Registration]]
	members       *btree.BTreeG[member]
	counts        map[string]int // groups by the type of their attestation
}

// item is a value with its folded id.
type item[T any] struct {
	id    string
	value T
}

func lessItem[T any](a, b *item[T]) bool { return a.id < b.id }

// member is a registration in the order of groups.
type member struct{ group, id string }

func lessMember(a, b member) bool {
	if a.group != b.group {
		return a.group < b.group
	}
	return a.id < b.id
}

const degree = 32 // of the trees

// Open makes a book with what a keeper has; in memory when that is nil.
func Open(ctx context.Context, keeper keep.Keeper) (*Book, error) {
	b := &Book{
		individuals: btree.NewG(degree, lessItem[*enrollment.Enrollment]), groups: btree.NewG(degree, lessItem[*enrollment.Enrollment]),
		registrations: btree.NewG(degree, lessItem[*Registration]), members: btree.NewG(degree, lessMember),
		counts: make(map[string]int), keeper: keeper,
	}
	if keeper == nil {
		return b, nil
	}
	return b, b.load(ctx)
}

func (b *Book) load(ctx context.Context) error {
	for _, section := range []string{individualSection, groupSection} {
		err := b.keeper.Rows(ctx, section, func(key string, value []byte) error {
			e, err := enrollment.Decode(value)
			if err != nil {
				return fmt.Errorf("reading enrollment %q: %w", key, err)
			}
			b.putEnrollment(e)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return b.keeper.Rows(ctx, registrationSection, func(key string, value []byte) error {
		r := &Registration{}
		if err := json.Unmarshal(value, r); err != nil {
			return fmt.Errorf("reading registration %q: %w", key, err)
		}
		b.putRegistration(r)
		return nil
	})
}

// change is one document to be written, or to be removed.
type change struct {
	section, key string
	value        []byte // nil removes
}

// write makes changes durable, in their order.
func (b *Book) write(changes ...change) error {
	if b.keeper == nil {
		return nil
	}
	waits := make([]func(context.Context) error, 0, len(changes))
	for _, c := range changes {
		waits = append(waits, b.keeper.Put(c.section, c.key, c.value))
	}
	for _, durable := range waits {
		if err := durable(context.Background()); err != nil {
			return fmt.Errorf("keeping what changed: %w", err)
		}
	}
	return nil
}

// written is the change that keeps a document; a nil document is removed.
func written(section, key string, document any) (change, error) {
	c := change{section: section, key: key}
	if document == nil {
		return c, nil
	}
	value, err := json.Marshal(document)
	if err != nil {
		return c, fmt.Errorf("encoding %s %q: %w", section, key, err)
	}
	c.value = value
	return c, nil
}

// Settings reads the settings, or keeps those that fresh makes when there are none yet. They are kept last of all that a first start
// makes: when fresh fails, or the program ends before, the next start is the first one.
func (b *Book) Settings(ctx context.Context, fresh func() (Settings, error)) (s Settings, err error) {
	found := false
	if b.keeper != nil {
		err = b.keeper.Rows(ctx, settingsSection, func(key string, value []byte) error {
			found = found || key == settingsKey
			return json.Unmarshal(value, &s)
		})
		if err != nil || found {
			return s, err
		}
	}
	if s, err = fresh(); err != nil {
		return s, err
	}
	c, err := written(settingsSection, settingsKey, s)
	if err == nil {
		err = b.write(c)
	}
	return s, err
}

func (b *Book) tree(group bool) (*btree.BTreeG[*item[*enrollment.Enrollment]], string) {
	if group {
		return b.groups, groupSection
	}
	return b.individuals, individualSection
}

func find[T any](tree *btree.BTreeG[*item[T]], id string) (value T, ok bool) {
	it, ok := tree.Get(&item[T]{id: dps.Fold(id)})
	if ok {
		value = it.value
	}
	return value, ok
}

// Enrollment finds an individual enrollment or a group; nil for none. Case does not count.
func (b *Book) Enrollment(group bool, id string) *enrollment.Enrollment {
	b.mu.RLock()
	defer b.mu.RUnlock()
	tree, _ := b.tree(group)
	e, _ := find(tree, id)
	return e
}

// Groups are the groups whose devices prove who they are by one type of attestation.
func (b *Book) Groups(attestation string) (all []*enrollment.Enrollment) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.groups.Ascend(func(it *item[*enrollment.Enrollment]) bool {
		if it.value.Attestation.Type == attestation {
			all = append(all, it.value)
		}
		return true
	})
	return all
}

// MaxGroups is how many groups there may be of each type of attestation (iot-dps-limits).
const MaxGroups = 100

// ErrTooManyGroups is the error of a group above MaxGroups.
var ErrTooManyGroups = dps.ErrArgument.With("there are %d enrollment groups of this attestation type, the most that there may be", MaxGroups)

// Change replaces, makes or removes an enrollment. decide is given the present one, nil for none, and returns the next,
// nil for none. It must not change the present one, nor call the book.
func (b *Book) Change(group bool, id string, decide func(old *enrollment.Enrollment) (*enrollment.Enrollment, error)) (*enrollment.Enrollment, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	old := b.Enrollment(group, id)
	next, err := decide(old)
	if err != nil || (old == nil && next == nil) {
		return nil, err
	}
	if group && next != nil && (old == nil || old.Attestation.Type != next.Attestation.Type) {
		b.mu.RLock()
		n := b.counts[next.Attestation.Type]
		b.mu.RUnlock()
		if n >= MaxGroups {
			return nil, ErrTooManyGroups
		}
	}
	_, section := b.tree(group)
	var document any
	var orphans []*Registration
	if next != nil {
		document = next
	} else {
		orphans = b.of(group, dps.Fold(id))
	}
	c, err := written(section, dps.Fold(id), document)
	if err != nil {
		return nil, err
	}
	var changes []change // The registrations go first: none outlives its enrollment.
	for _, r := range orphans {
		changes = append(changes, change{section: registrationSection, key: dps.Fold(r.RegistrationID)})
	}
	changes = append(changes, c)
	if err := b.write(changes...); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if old != nil && group {
		b.counts[old.Attestation.Type]--
	}
	if next == nil {
		tree, _ := b.tree(group)
		tree.Delete(&item[*enrollment.Enrollment]{id: dps.Fold(id)})
		for _, r := range orphans {
			b.dropRegistration(r)
		}
		return nil, nil
	}
	b.putEnrollment(next)
	return next, nil
}

func (b *Book) putEnrollment(e *enrollment.Enrollment) {
	tree, _ := b.tree(e.IsGroup())
	tree.ReplaceOrInsert(&item[*enrollment.Enrollment]{dps.Fold(e.ID()), e})
	if e.IsGroup() {
		b.counts[e.Attestation.Type]++
	}
}

// of are the registrations of an enrollment or group.
func (b *Book) of(group bool, id string) (all []*Registration) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if !group {
		if r, ok := find(b.registrations, id); ok && !r.Group {
			all = append(all, r)
		}
		return all
	}
	b.members.AscendGreaterOrEqual(member{group: id}, func(m member) bool {
		if m.group != id {
			return false
		}
		if r, ok := find(b.registrations, m.id); ok {
			all = append(all, r)
		}
		return true
	})
	return all
}

// Enrollments are up to most of those whose folded id is after one, in the order of the ids.
func (b *Book) Enrollments(group bool, after string, most int) (all []*enrollment.Enrollment) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	tree, _ := b.tree(group)
	tree.AscendGreaterOrEqual(&item[*enrollment.Enrollment]{id: after}, func(it *item[*enrollment.Enrollment]) bool {
		if it.id != after || after == "" {
			all = append(all, it.value)
		}
		return len(all) < most
	})
	return all
}

// Registration finds a registration; nil for none. Case does not count.
func (b *Book) Registration(id string) *Registration {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r, _ := find(b.registrations, id)
	return r
}

// Members are up to most registrations of a group whose folded id is after one, in the order of the ids.
func (b *Book) Members(group, after string, most int) (all []*Registration) {
	group = dps.Fold(group)
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.members.AscendGreaterOrEqual(member{group, after}, func(m member) bool {
		if m.group != group {
			return false
		}
		if r, ok := find(b.registrations, m.id); ok && m.id != after {
			all = append(all, r)
		}
		return len(all) < most
	})
	return all
}

// Keep writes a registration. Calls for one registration must not overlap.
func (b *Book) Keep(r *Registration) error {
	c, err := written(registrationSection, dps.Fold(r.RegistrationID), r)
	if err == nil {
		err = b.write(c)
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.putRegistration(r)
	return nil
}

func (b *Book) putRegistration(r *Registration) {
	id := dps.Fold(r.RegistrationID)
	old, ok := b.registrations.ReplaceOrInsert(&item[*Registration]{id, r})
	if ok && old.value.Group {
		b.members.Delete(member{old.value.Enrollment, id})
	}
	if r.Group {
		b.members.ReplaceOrInsert(member{r.Enrollment, id})
	}
}

func (b *Book) dropRegistration(r *Registration) {
	id := dps.Fold(r.RegistrationID)
	b.registrations.Delete(&item[*Registration]{id: id})
	if r.Group {
		b.members.Delete(member{r.Enrollment, id})
	}
}

// Drop removes a registration, if allow agrees to the present one. It reports whether there was one.
func (b *Book) Drop(id string, allow func(*Registration) error) (bool, error) {
	r := b.Registration(id)
	if r == nil {
		return false, nil
	}
	if err := allow(r); err != nil {
		return true, err
	}
	if err := b.write(change{section: registrationSection, key: dps.Fold(id)}); err != nil {
		return true, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropRegistration(r)
	return true, nil
}

// Len is how many registrations there are.
func (b *Book) Len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.registrations.Len()
}
