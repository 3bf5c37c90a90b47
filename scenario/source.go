package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// hidden stands for a secret in what is shown of a scenario.
const hidden = "[hidden]"

// source is the scenario as it runs, with overrides, before the environment is filled in, and with the secrets
// that were written out in it hidden, as withoutSecrets does: what a record may keep.
func source(root *yaml.Node) ([]byte, error) {
	b, err := yaml.Dump(root)
	if err != nil {
		return nil, fmt.Errorf("writing the scenario as it runs: %w", err)
	}
	return b, nil
}

// withoutSecrets copies a node under a key.
func withoutSecrets(key string, n *yaml.Node) *yaml.Node {
	out := *n
	out.Content = slices.Clone(n.Content)
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
		case n.Kind == yaml.MappingNode:
			out.Content[i] = withoutSecrets(n.Content[i-1].Value, child)
		default:
			out.Content[i] = withoutSecrets(key, child)
		}
	}
	if n.Kind == yaml.ScalarNode {
		out.Value = withoutSecret(key, n.Value)
	}
	return &out
}

func withoutSecret(key, value string) string {
	if slices.Contains([]string{"password", "key"}, key) && !regexp.MustCompile(`^\$\{[^}]*\}$`).MatchString(value) {
		return hidden
	}
	value = regexp.MustCompile(`(SharedAccess(?:Key|Signature))=[^;$]+`).ReplaceAllString(value, "$1="+hidden)
	value = regexp.MustCompile(`(://[^/@:]*:)[^/@$]+@`).ReplaceAllString(value, "${1}"+hidden+"@")
	return withoutQuery(value)
}

// withoutQuery hides the values of a URL's query, where some brokers want a token; those of the environment are names.
func withoutQuery(value string) string {
	address, query, ok := strings.Cut(value, "?")
	if !ok || !strings.Contains(address, "://") || strings.ContainsAny(address, " \n") {
		return value
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, secret, named := strings.Cut(pair, "=")
		switch {
		case regexp.MustCompile(`^\$\{[^}]*\}$`).MatchString(secret):
		case named:
			pairs[i] = name + "=" + hidden
		default:
			pairs[i] = hidden
		}
	}
	return address + "?" + strings.Join(pairs, "&")
}
