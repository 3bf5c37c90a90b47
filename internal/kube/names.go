package kube

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// variable is one of the environment that the scenario names.
type variable struct {
	Name     string
	Optional bool // the scenario has a default
}

// file is one that the coordinator reads.
type file struct {
	Key  string // in the ConfigMap or the Secret
	Path string // beside the scenario, with slashes
	text []byte
}

// Source is how kubectl and kustomize are told of the file.
func (f file) Source() string {
	if f.Key == f.Path {
		return f.Key
	}
	return f.Key + "=" + f.Path
}

// Binary reports whether the text is none.
func (f file) Binary() bool { return !isText(f.text) }

// Base64 is the text as binaryData has it.
func (f file) Base64() string { return base64.StdEncoding.EncodeToString(f.text) }

// Literal is the text as a value in a map of YAML that is indented by two.
func (f file) Literal() string { return literal(string(f.text), 4) }

// names are what a scenario names beside itself.
type names struct {
	variables     []variable
	values        []string // of variables that are set here
	plain, secret []file   // the scenario is the first of plain
}

// most is how many bytes a ConfigMap or a Secret holds (kubernetes.io, ConfigMaps).
const most = 1 << 20

// unset stands for a variable that is not set here: what most scenarios want from a Secret.
const unset = "HostName=hub.example.net;SharedAccessKeyName=iothubowner;SharedAccessKey=bm90IHNldCBoZXJl"

var (
	variables = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// fromOutside is what the environment says alone, which is no secret: a default would be one.
	fromOutside = regexp.MustCompile(`\$\{[A-Za-z0-9_]+\}`)
	keyChars    = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// read reads a scenario, and what it names on the way.
func read(o *Options) (*scenario.Scenario, *names, error) {
	n := &names{}
	lookup, readFile, readSecret := o.Read.Lookup, o.Read.ReadFile, o.Read.ReadSecret
	if lookup == nil {
		lookup = os.LookupEnv
	}
	if readFile == nil {
		readFile = scenario.ReadNamed
	}
	if readSecret == nil {
		readSecret = readFile
	}
	all := string(o.Text) + strings.Join(o.Read.Set, "\n")
	seen, missing := make(map[string]bool), []string(nil)
	var guessed []string
	valueFiles, found := make(map[string]bool), make(map[string][]byte)
	var order []string
	how := o.Read
	how.Lookup = func(name string) (string, bool) {
		if base, ok := strings.CutSuffix(name, "_FILE"); ok && len(missing) > 0 && missing[len(missing)-1] == base {
			file, ok := lookup(name)
			valueFiles[file] = ok
			return file, ok
		}
		required := strings.Contains(all, "${"+name+"}")
		if !seen[name] {
			seen[name] = true
			n.variables = append(n.variables, variable{Name: name, Optional: !required})
		}
		value, ok := lookup(name)
		if ok {
			n.values = append(n.values, value)
			return value, true
		}
		if file, inFile := lookup(name + "_FILE"); required && (!inFile || file == "") {
			guessed = append(guessed, name)
			return unset, true
		}
		missing = append(missing, name)
		return "", false
	}
	how.ReadFile = func(name string) ([]byte, error) {
		b, err := readFile(name)
		if _, there := found[name]; err == nil && !valueFiles[name] && !there {
			found[name] = b
			order = append(order, name)
		}
		return b, err
	}
	secret := make(map[string]bool)
	how.ReadSecret = func(name string) ([]byte, error) {
		b, err := readSecret(name)
		if _, there := found[name]; err == nil && !there {
			found[name], secret[name] = b, true
			order = append(order, name)
		}
		return b, err
	}
	sc, err := scenario.Decode(o.File, o.Text, how)
	if err != nil {
		if len(guessed) > 0 {
			err = fmt.Errorf("%w\n%s not set here and taken for a connection string; set what is something else", err, strings.Join(guessed, ", ")+are(len(guessed)))
		}
		return nil, nil, err
	}
	if name, scheme := hiddenHeader(sc); name != "" {
		return nil, nil, fmt.Errorf("%w: the header %s of target.websocket.headers is not from a variable alone, and may hold a secret; write %s: \"%s${NAME}\", and a Secret gives "+
			"all that follows to the pod", ErrOptions, clean.Text(name), clean.Text(name), scheme)
	}
	written := fromOutside.ReplaceAllString(all, "")
	if bytes.Contains(sc.Source, []byte("[hidden]")) || clean.Redact(written) != written {
		return nil, nil, fmt.Errorf("%w: a secret seems to be written in the scenario, or in --set; write ${NAME} in its place, and a Secret gives it to the pod", ErrOptions)
	}
	for _, v := range n.variables {
		if !variables.MatchString(v.Name) {
			return nil, nil, fmt.Errorf("%w: the variable %q has other than letters, digits and underscores", ErrOptions, v.Name)
		}
	}
	own := sc.Name + ".yaml"
	n.plain = []file{{Key: own, Path: own, text: o.Text}}
	keys := map[string]bool{own: true}
	for _, name := range order {
		f, err := beside(o.File, name, found[name])
		if err != nil {
			return nil, nil, err
		}
		for base := f.Key; keys[f.Key]; {
			f.Key = base + "_" + fmt.Sprint(len(keys))
		}
		keys[f.Key] = true
		if !secret[name] && public(sc, o.File, name) {
			n.plain = append(n.plain, f)
		} else {
			n.secret = append(n.secret, f)
		}
	}
	return sc, n, fits(n)
}

// hiddenHeader is the name of a header whose value is hidden where the scenario is shown, and the scheme of credentials that it may begin with; "" for none.
func hiddenHeader(sc *scenario.Scenario) (name, scheme string) {
	for _, h := range sc.Target.WebSocket.Headers {
		shown := regexp.MustCompile(`[\s{,]["']?` + regexp.QuoteMeta(h.Name) + `["']?:[^\n]*`).Find(sc.Source)
		value, _, _ := bytes.Cut(shown, []byte(","))
		if !bytes.Contains(value, []byte("[hidden]")) {
			continue
		}
		if strings.EqualFold(h.Name, "Authorization") {
			scheme = "Bearer "
		}
		return h.Name, scheme
	}
	return "", ""
}

// says reports whether the value of a variable has a text in it.
func (n *names) says(text string) bool {
	return slices.ContainsFunc(n.values, func(value string) bool { return strings.Contains(value, text) })
}

func are(n int) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

// beside is a file that the scenario names, as the pod has it.
func beside(scenarioFile, name string, text []byte) (file, error) {
	rel, err := filepath.Rel(filepath.Dir(scenarioFile), name)
	if err != nil || !filepath.IsLocal(rel) {
		return file{}, fmt.Errorf("%w: the scenario names %s, which is not beside it or below: the pod has no such folder; copy it there", ErrOptions, clean.Text(name))
	}
	path := filepath.ToSlash(rel)
	if strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) || r == '=' }) {
		return file{}, fmt.Errorf("%w: the name of the file %s has control characters or =; call it otherwise", ErrOptions, clean.Text(path))
	}
	if strings.HasPrefix(path, "..") { // Kubernetes keeps such names to itself
		return file{}, fmt.Errorf("%w: the name of the file %s begins with two dots; call it otherwise", ErrOptions, clean.Text(path))
	}
	return file{Key: keyChars.ReplaceAllString(path, "_"), Path: path, text: text}, nil
}

// public tells whether a file is for everybody: certificates. Files of devices have their keys.
func public(sc *scenario.Scenario, scenarioFile, name string) bool {
	is := func(written string) bool {
		if written == "" {
			return false
		}
		if !filepath.IsAbs(written) {
			written = filepath.Join(filepath.Dir(scenarioFile), written)
		}
		return written == name
	}
	if is(sc.Target.CA) {
		return true
	}
	for i := range sc.Fleet.Groups {
		if x := sc.Fleet.Groups[i].Identity.X509; x != nil && is(x.CA) && !is(x.Key) {
			return true
		}
	}
	return false
}

// fits refuses what a ConfigMap or a Secret does not hold.
func fits(n *names) error {
	for what, files := range map[string][]file{"ConfigMap": n.plain, "Secret": n.secret} {
		size := 0
		for i := range files {
			if size += len(files[i].text); size > most {
				return fmt.Errorf("%w: with %s a %s would have more than its 1 MiB (%s); mount a volume with it in its place", ErrOptions,
					clean.Text(files[i].Path), what, human.Number(size, "byte"))
			}
		}
	}
	return nil
}
