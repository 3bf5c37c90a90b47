// Package docs runs what the documents tell their readers to type: every command and every scenario in
// a code block of README.md and docs/. It carries the build tag integration.
package docs
