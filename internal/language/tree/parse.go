// Package tree is a file of a language before its keys are known: nodes of YAML that the environment fills and that are
// overridden by name.
package tree

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Parse reads a file as YAML. It is a problem.List when that is not possible; begin says, for an empty file, what to begin with.
func Parse(file string, b []byte, begin string) (*yaml.Node, error) {
	var doc yaml.Node
	err := yaml.Load(b, &doc)
	switch {
	case err != nil && strings.Contains(err.Error(), "no documents in stream"), err == nil && len(doc.Content) != 1:
		return nil, problem.List{{File: file, Text: "the file is empty; begin with " + begin}}
	case err != nil:
		return nil, problem.List{syntaxProblem(file, err)}
	}
	return doc.Content[0], nil
}

// syntaxProblem says where the YAML itself is wrong.
func syntaxProblem(file string, err error) problem.Problem {
	p := problem.Problem{File: file, Text: "this is no YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	var one *yaml.LoadError
	var many *yaml.LoadErrors
	if errors.As(err, &many) && len(many.Errors) > 0 {
		one = many.Errors[0]
	} else if !errors.As(err, &one) {
		return p
	}
	p.Line, p.Column = max(one.Mark.Line, 0), max(one.Mark.Column, 0)
	p.Text = "this is no YAML: " + strings.TrimPrefix(one.Message, "yaml: ")
	return p
}
