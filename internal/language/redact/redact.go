// Package redact hides secrets in what is shown of a file.
package redact

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// hidden stands for a secret.
const hidden = "[hidden]"

// Copy is a file without secrets: the values of the keys of that name, all that is in their objects, and those within connection strings and addresses. What
// the environment fills stays as it is written.
func Copy(root *yaml.Node, secretKeys ...string) *yaml.Node { return under("", root, secretKeys) }

// under copies a node under a key.
func under(key string, n *yaml.Node, secretKeys []string) *yaml.Node {
	out := *n
	out.Content = slices.Clone(n.Content)
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
		case n.Kind == yaml.MappingNode && key == "x509" && n.Content[i-1].Value == "key": // the name of a file
			out.Content[i] = under("", child, secretKeys)
		case n.Kind == yaml.MappingNode:
			name := n.Content[i-1].Value
			if slices.Contains(secretKeys, key) {
				name = key
			}
			out.Content[i] = under(name, child, secretKeys)
		default:
			out.Content[i] = under(key, child, secretKeys)
		}
	}
	if n.Kind == yaml.ScalarNode && (key != "headers" || !scheme.MatchString(n.Value)) {
		out.Value = text(n.Value, slices.Contains(secretKeys, key))
	}
	return &out
}

// text is a value without what is secret in it, which may be all of it.
func text(value string, secret bool) string {
	if secret {
		return conceal(value)
	}
	if m := otherwise.FindStringSubmatch(value); m != nil {
		return m[1] + text(m[2], false) + "}"
	}
	value = sharedAccess.ReplaceAllStringFunc(value, func(pair string) string {
		name, secret, _ := strings.Cut(pair, "=")
		return name + "=" + conceal(secret)
	})
	value = userinfo.ReplaceAllStringFunc(value, withoutPassword)
	return withoutQuery(value)
}

var (
	variable     = regexp.MustCompile(`^\$\{[A-Za-z0-9_]+(?::-)?\}$`)     // what the environment fills, all of it
	otherwise    = regexp.MustCompile(`^(\$\{[A-Za-z0-9_]+:-)([^}]+)\}$`) // likewise, with a text that holds where it does not
	sharedAccess = regexp.MustCompile(`SharedAccess(?:Key|Signature)=(?:\$\{[^}]*\}|[^;])+`)
	userinfo     = regexp.MustCompile(`://(?:\$\{[^}]*\}|[^/@:\s])*:(?:\$\{[^}]*\}|[^/@\s])+@`)
)

// conceal hides a secret: of what the environment fills, the text that holds where it does not.
func conceal(secret string) string {
	if variable.MatchString(secret) {
		return secret
	}
	if m := otherwise.FindStringSubmatch(secret); m != nil {
		return m[1] + hidden + "}"
	}
	return hidden
}

// scheme is a header's value that the environment fills but for the scheme of the credentials (RFC 9110 section 11.4): Bearer ${TOKEN}.
var scheme = regexp.MustCompile(`^(?:Bearer|Basic|Digest|Token) \$\{[A-Za-z0-9_]+\}$`)

// withoutPassword hides the password of a URL's ://user:password@; that of the environment is a name.
func withoutPassword(info string) string {
	// A user of the environment may have a colon in it: ${USER:-guest}.
	rest, user := strings.TrimPrefix(info, "://"), ""
	if first := regexp.MustCompile(`^\$\{[^}]*\}`).FindString(rest); first != "" {
		user, rest = first, rest[len(first):]
	}
	name, password, ok := strings.Cut(strings.TrimSuffix(rest, "@"), ":")
	if !ok {
		return info
	}
	return "://" + user + name + ":" + conceal(password) + "@"
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
		case named:
			pairs[i] = name + "=" + conceal(secret)
		default:
			pairs[i] = hidden
		}
	}
	return address + "?" + strings.Join(pairs, "&")
}
