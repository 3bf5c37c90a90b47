package kube

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// resources are the templates of what is applied, in the order in which it should be there.
var resources = [...]string{"nats.yaml", "records.yaml", "coordinator.yaml", "agents.yaml", "podmonitor.yaml"}

// fill fills a template.
func (x *model) fill(name string) (string, error) {
	t, err := template.New(name).Funcs(template.FuncMap{"scalar": scalar}).ParseFS(templates, "templates/parts.yaml", "templates/"+name)
	if err != nil {
		return "", fmt.Errorf("reading the template %s: %w", name, err)
	}
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name, x); err != nil {
		return "", fmt.Errorf("filling the template %s: %w", name, err)
	}
	return strings.TrimSuffix(b.String(), "\n") + "\n", nil
}

// natsConf is the configuration of NATS.
func natsConf() (string, error) {
	b, err := templates.ReadFile("templates/nats.conf")
	return string(b), err
}

// Stream is all of it as one text, for kubectl apply -f -.
func (m *Manifests) Stream() ([]byte, error) {
	x := m.model
	x.Namespace = x.Namespaced
	conf, err := natsConf()
	if err != nil {
		return nil, err
	}
	x.NATSConf = literal(conf, 4)
	var b strings.Builder
	b.WriteString(x.Head)
	for _, name := range append([]string{"configmaps.yaml"}, resources[:]...) {
		text, err := x.fill(name)
		if err != nil {
			return nil, err
		}
		b.WriteString("---\n" + text)
	}
	return []byte(b.String()), nil
}

// Folder is all of it as files for kubectl apply -k, by their names with slashes. Files with secrets are not among them.
func (m *Manifests) Folder() (map[string][]byte, error) {
	x := m.model
	x.PodImage = "twinfleet" // the kustomization says which that is
	conf, err := natsConf()
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{"nats.conf": []byte(conf)}
	for _, name := range append([]string{"kustomization.yaml"}, resources[:]...) {
		text, err := x.fill(name)
		if err != nil {
			return nil, err
		}
		all[name] = []byte(text)
	}
	for _, f := range x.Plain {
		if _, taken := all[f.Path]; taken {
			return nil, fmt.Errorf("%w: the scenario, or a file that it names, is called %s, as one of the manifests is; call it otherwise", ErrOptions, f.Path)
		}
		all[f.Path] = f.text
	}
	return all, nil
}
