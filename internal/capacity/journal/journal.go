// Package journal keeps the trials of a search on disk, so that a search that was stopped, however, goes on from those that were finished.
//
// A journal is a file with a JSON object a line: first what the search is, then each trial as it ends. Each line is written whole and is on
// the disk before the next trial begins; a last one that is cut is no trial.
package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Name is the file of a journal, in the folder of its search.
const Name = "search.jsonl"

// version is of the format: a journal of another one is not gone on with.
const version = 1

// Head says which search a journal is of.
type Head struct {
	Version     int       `json:"version"`
	Fingerprint string    `json:"fingerprint"` // of all that the trials depend on
	Name        string    `json:"name"`        // of the scenario
	Started     time.Time `json:"started"`     // UTC
}

// line is one line of the file.
type line[T any] struct {
	Head  *Head           `json:"search,omitempty"`
	Trial *T              `json:"trial,omitempty"`
	End   json.RawMessage `json:"answer,omitempty"`
}

// Journal is an open journal of trials.
type Journal[T any] struct {
	Dir     string    // the folder of the search
	Started time.Time // UTC; of the search, when it began for the first time
	trials  []T
	file    *os.File
	made    os.FileInfo // the file as it was opened
}

// Open goes on with the latest search of a fingerprint below a folder that has no answer yet, or begins one. The folders of searches are
// named after the scenario and the time. anew leaves unfinished ones alone.
func Open[T any](root, name, fingerprint string, now time.Time, anew bool) (*Journal[T], error) {
	if !anew {
		j, err := find[T](root, name, fingerprint)
		if j != nil || err != nil {
			return j, err
		}
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of searches: %w", err)
	}
	base := filepath.Join(root, "capacity-"+name+"-"+now.UTC().Format("20060102-150405"))
	dir := base
	for n := 2; ; n++ {
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) || n > 1000 {
			return nil, fmt.Errorf("making the folder of the search: %w", err)
		}
		dir = fmt.Sprintf("%s-%d", base, n)
	}
	f, err := os.OpenFile(filepath.Join(dir, Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the journal of the search: %w", err)
	}
	lock(f) // nobody else knows it yet
	made, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the journal of the search: %w", err), f.Close())
	}
	j := &Journal[T]{Dir: dir, Started: now.UTC(), file: f, made: made}
	if err := j.write(line[T]{Head: &Head{version, fingerprint, name, now.UTC()}}); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// find opens the latest unfinished search of a fingerprint that no other process goes on with; nil when there is none.
func find[T any](root, name, fingerprint string) (*Journal[T], error) {
	dirs, err := filepath.Glob(filepath.Join(escape(root), "capacity-"+name+"-*"))
	if err != nil {
		return nil, fmt.Errorf("looking for unfinished searches: %w", err)
	}
	slices.Sort(dirs)
	for _, dir := range slices.Backward(dirs) {
		j, err := resume[T](dir, fingerprint)
		if j != nil || err != nil {
			return j, err
		}
	}
	return nil, nil
}

// resume opens the journal in a folder; nil when it is another one, has its answer, or is another process's.
func resume[T any](dir, fingerprint string) (*Journal[T], error) {
	f, err := os.OpenFile(filepath.Join(dir, Name), os.O_RDWR, 0)
	if err != nil {
		return nil, nil // none of ours
	}
	head, trials, ended, whole, err := Journal[T]{}.read(f, lock(f))
	if err != nil || ended || head.Version != version || head.Fingerprint != fingerprint {
		return nil, f.Close()
	}
	if err = f.Truncate(whole); err == nil {
		_, err = f.Seek(whole, io.SeekStart)
	}
	var made os.FileInfo
	if err == nil {
		made, err = f.Stat()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("going on with the search: %w", err), f.Close())
	}
	return &Journal[T]{Dir: dir, Started: head.Started, trials: trials, file: f, made: made}, nil
}

// escape keeps what a name has of patterns from being one.
func escape(path string) string {
	var b bytes.Buffer
	for _, r := range path {
		if r == '*' || r == '?' || r == '[' || r == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// errTaken is what reading a journal returns that another process has.
var errTaken = errors.New("another process has it")

// read reads a journal, when it is ours alone. whole is how many bytes of it are whole lines.
func (Journal[T]) read(f *os.File, ours bool) (head Head, trials []T, ended bool, whole int64, err error) {
	if !ours {
		return head, nil, false, 0, errTaken
	}
	r := bufio.NewReader(f)
	for {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return head, trials, ended, whole, nil
		}
		if err != nil {
			return head, nil, false, 0, err
		}
		var x line[T]
		if json.Unmarshal(text, &x) != nil {
			return head, trials, ended, whole, nil
		}
		whole += int64(len(text))
		switch {
		case x.Head != nil:
			head = *x.Head
		case x.Trial != nil:
			trials = append(trials, *x.Trial)
		case x.End != nil:
			ended = true
		}
	}
}

// Trials are those that are finished, in their order.
func (j *Journal[T]) Trials() []T { return j.trials }

// Add keeps a trial that is finished.
func (j *Journal[T]) Add(trial T) error {
	if err := j.write(line[T]{Trial: &trial}); err != nil {
		return err
	}
	j.trials = append(j.trials, trial)
	return nil
}

// End says that the search has its answer: no other goes on with it.
func (j *Journal[T]) End(answer any) error {
	text, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return j.write(line[T]{End: text})
}

func (j *Journal[T]) write(x line[T]) error {
	text, err := json.Marshal(x)
	if err == nil {
		_, err = j.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil && !j.There() {
		err = fmt.Errorf("%s: %w", filepath.Join(j.Dir, Name), ErrGone)
	}
	if err != nil {
		return fmt.Errorf("keeping the journal of the search: %w", err)
	}
	return nil
}

// ErrGone is returned when the file of a journal was removed or replaced: what is written then is in no folder.
var ErrGone = errors.New("the journal's file was removed")

// There reports whether the journal is where it was made.
func (j *Journal[T]) There() bool {
	there, err := os.Stat(filepath.Join(j.Dir, Name))
	return err == nil && os.SameFile(there, j.made)
}

// Write writes the forms of an answer beside the journal, by the names of their files.
func (j *Journal[T]) Write(forms map[string]func(io.Writer) error) error {
	if !j.There() {
		return fmt.Errorf("writing the answer: %s: %w", j.Dir, ErrGone)
	}
	var errs []error
	for name, write := range forms {
		errs = append(errs, writeFile(filepath.Join(j.Dir, name), write))
	}
	return errors.Join(errs...)
}

// writeFile writes a file that is there whole or not at all.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing the answer: %w", err), os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Fingerprint is of plain data, all that trials depend on: other data have another one.
func Fingerprint(data ...any) string {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // it is no plain data
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Close closes the file.
func (j *Journal[T]) Close() error { return j.file.Close() }
