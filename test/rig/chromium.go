package rig

import (
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Page is what a browser made of a page.
type Page struct {
	Image   image.Image
	Console []string // what scripts wrote and what failed, errors among them
}

// Screenshot opens an address in a headless Chromium that reaches nothing but loopback and takes a picture
// once the page has had some seconds of its own time.
func Screenshot(tb testing.TB, url string, width, height string) Page {
	tb.Helper()
	dir := tb.TempDir()
	shot := filepath.Join(dir, "page.png")
	p := Start(tb, dir, nil, Program(tb, "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size="+width+","+height, "--screenshot="+shot, url)
	if code := p.Wait(tb, 2*time.Minute); code != 0 {
		tb.Fatalf("chromium ended with %d", code)
	}
	var page Page
	for _, line := range strings.Split(p.Output(), "\n") {
		if strings.Contains(line, "CONSOLE") {
			page.Console = append(page.Console, line)
		}
	}
	f, err := os.Open(shot)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if page.Image, err = png.Decode(f); err != nil {
		tb.Fatal(err)
	}
	return page
}
