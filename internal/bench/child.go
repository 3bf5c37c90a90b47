package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// child is a process that runs meanwhile.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors bytes.Buffer
}

// start starts the program once more, with a command of its own. It stops when its standard input ends, as it does when this process
// is no more.
func start(ctx context.Context, program string, environment []string, args ...string) (*child, error) {
	return begin(ctx, program, environment, append([]string{"bench", "--part", "own", "--"}, args...)...)
}

func begin(ctx context.Context, program string, environment []string, args ...string) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, program, args...)}
	c.cmd.Env = append(c.cmd.Environ(), environment...)
	c.cmd.Stderr = &c.errors
	c.cmd.WaitDelay = 10 * time.Second
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", strings.Join(args, " "), err)
	}
	c.out = bufio.NewReader(out)
	return c, nil
}

// say tells the child something, in one line of JSON.
func (c *child) say(x any) error {
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	_, err = c.in.Write(append(b, '\n'))
	return err
}

// hear reads a line of JSON.
func (c *child) hear(x any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return c.because(err)
	}
	return json.Unmarshal(line, x)
}

// because is an error with what the child said of it.
func (c *child) because(err error) error {
	_ = c.cmd.Wait() // what it said is whole then
	const most = 10  // lines, the last ones: before them comes how the run went
	lines := strings.Split(strings.TrimPrefix(strings.TrimSpace(c.errors.String()), "twinfleet: "), "\n")
	if text := strings.Join(lines[max(0, len(lines)-most):], "\n"); text != "" {
		return fmt.Errorf("%w:\n%s", err, text)
	}
	return err
}

// wait waits for the child's end, which may be one with a verdict: that says something of the machine.
func (c *child) wait() error {
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() != 1 {
		return nil
	}
	if err != nil {
		return errors.Join(err, errors.New(strings.TrimSpace(c.errors.String())))
	}
	return nil
}

// end ends the child; one that never began is nil.
func (c *child) end() {
	if c == nil {
		return
	}
	c.in.Close()
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// figures are what a process says of itself at one time.
type figures struct {
	at     time.Time
	cpu    float64 // seconds of a processor, so far
	memory float64 // bytes that are resident
	all    map[string]*dto.MetricFamily
}

// scrape reads the figures of a process.
func scrape(ctx context.Context, address string) (*figures, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading the figures: %w", err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the figures: %w", err)
	}
	f := &figures{at: time.Now(), all: all}
	f.cpu = f.sum("process_cpu_seconds_total", "")
	f.memory = f.sum("process_resident_memory_bytes", "")
	return f, nil
}

// sum adds up a metric over all that have some values of labels: "state=connected".
func (f *figures) sum(name string, labels ...string) float64 {
	total := 0.0
	family := f.all[name]
	if family == nil {
		return 0
	}
	for _, m := range family.GetMetric() {
		if matches(m, labels) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return total
}

func matches(m *dto.Metric, labels []string) bool {
	for _, want := range labels {
		name, value, named := strings.Cut(want, "=")
		if !named {
			continue
		}
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == name && l.GetValue() == value
		}
		if !found {
			return false
		}
	}
	return true
}
