//go:build integration

package boards

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	imagedraw "image/draw"
	"image/png"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/twinfleet/twinfleet/test/rig"
)

var (
	again    = flag.Bool("again", false, "draw once more from what is in the folder of -pictures, without runs")
	update   = flag.Bool("update", false, "rewrite the golden files")
	pictures = flag.String("pictures", "", "folder that takes the pictures of all boards; a temporary one when empty")
	docs     = flag.Bool("docs", false, "keep two pictures in docs/images, drawn with Grafana's components")
)

// bundle is the page that draws, made once for its sources and the versions of the libraries.
func bundle(t *testing.T) string {
	t.Helper()
	here := filepath.Join(rig.Root(), "test", "boards")
	hash := sha256.New()
	sources := []string{filepath.Join(here, "package-lock.json")}
	if err := filepath.WalkDir(filepath.Join(here, "draw"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			sources = append(sources, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		hash.Write(b)
	}
	dir := filepath.Join(here, ".cache", hex.EncodeToString(hash.Sum(nil))[:16])
	if _, err := os.Stat(filepath.Join(dir, "main.js")); err == nil {
		return dir
	}
	making := dir + fmt.Sprintf(".%d", os.Getpid()) // another process may make it too
	cmd := exec.Command("node_modules/.bin/esbuild", "draw/main.jsx", "--bundle", "--minify", "--format=iife", "--jsx=automatic", "--log-level=warning",
		"--loader:.woff2=file", "--loader:.woff=file", "--loader:.ttf=file", "--loader:.svg=text", "--define:global=window",
		`--define:process.env.NODE_ENV="production"`, "--outdir="+making)
	cmd.Dir = here
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("bundling (make setup installs what it needs): %v\n%s", err, out)
	}
	if err := os.Rename(making, dir); err != nil {
		os.RemoveAll(making) // the other one was first
	}
	return dir
}

// drawing is a board that is to be drawn, of a run.
type drawing struct {
	name  string // of the picture
	board *board
	of    server
	run   string // "" for all
	from  time.Time
	to    time.Time
	dark  bool
	docs  bool // as documents show it: rows that are folded stay so, and the file is small
}

// asked is what the page is given.
func (d *drawing) asked(t *testing.T) []byte {
	t.Helper()
	answers := make(map[int]map[string]found)
	fill := d.board.filler(d.run)
	for _, p := range d.board.flat() {
		answers[p.ID] = make(map[string]found)
		for _, q := range p.Targets {
			expr := strings.ReplaceAll(fill(q.Expr), "[300s", fmt.Sprintf("[%ds", int(d.to.Sub(d.from).Seconds())))
			answers[p.ID][q.RefID] = d.of.ask(t, expr, q.Instant, d.from, d.to)
		}
	}
	theme := "light"
	if d.dark {
		theme = "dark"
	}
	b, err := json.Marshal(map[string]any{
		"board": d.board.raw, "answers": answers, "from": d.from.UnixMilli(), "to": d.to.UnixMilli(), "stepMs": step.Milliseconds(), "theme": theme, "folded": d.docs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const page = `<!doctype html><meta charset="utf-8"><title>board</title><link rel="icon" href="data:,"><link rel="stylesheet" href="main.css">
<body style="margin:0"><div id="board"></div><script>window.grafanaBootData={settings:{buildInfo:{}},user:{}};window.__grafana_public_path__="/public/";</script><script src="main.js"></script>`

// told is what the page says of a panel, or a row, that it has drawn.
type told struct {
	Title, Type, Unit, Note string
	Data                    bool
	Names                   []string
}

// draw draws the boards and holds them to what is approved: which panels there are, which have data, their units and the names of what they show.
func draw(t *testing.T, servers []server, good, bad process, later, searched time.Time) {
	dir := *pictures
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var drawings []*drawing
	boards := allBoards(t)
	goodFrom, goodTo := servers[0].times(t, good.id, later)
	badFrom, badTo := servers[0].times(t, bad.id, later)
	for i := range boards {
		b := &boards[i]
		d := &drawing{name: b.name, board: b, of: servers[0], run: good.id, from: goodFrom, to: goodTo, dark: i%2 == 1}
		switch b.name {
		case "runs":
			d.run, d.from, d.to = "", later.Add(-3*time.Minute), later
		case "capacity-search":
			d.run, d.from, d.to = "", searched.Add(-3*time.Minute), searched
		}
		drawings = append(drawings, d)
		switch b.name {
		case "fleet-overview":
			drawings = append(drawings, &drawing{name: "fleet-overview-failed", board: b, of: servers[0], run: bad.id, from: badFrom, to: badTo, dark: true})
			if *docs {
				drawings = append(drawings,
					&drawing{name: "board-overview", board: b, of: servers[0], run: good.id, from: goodFrom, to: goodTo, docs: true},
					&drawing{name: "board-failed", board: b, of: servers[0], run: bad.id, from: badFrom, to: badTo, dark: true, docs: true})
			}
		case "twin-operations":
			drawings = append(drawings, &drawing{name: "twin-operations-native", board: b, of: servers[2], run: good.id, from: d.from, to: d.to})
		}
	}
	drawn := drawAll(t, dir, drawings)
	for i, d := range drawings {
		panels := drawn[i]
		for _, p := range panels {
			if p.Type != "row" && !p.Data && empty[p.Title] == "" && p.Note == "" {
				t.Errorf("%s: %s has no data, and says not why", d.name, p.Title)
			}
		}
		if d.docs {
			inDocs(t, filepath.Join(dir, d.name+".png"))
			continue
		}
		approve(t, d.name, panels)
	}
}

// apart is how far two colours are from each other, of 255, in the channel in which they differ most.
func apart(a, b color.Color) int {
	r, g, bl, _ := a.RGBA()
	r2, g2, bl2, _ := b.RGBA()
	far := func(x, y uint32) int { return max(int(x>>8)-int(y>>8), int(y>>8)-int(x>>8)) }
	return max(far(r, r2), far(g, g2), far(bl, bl2))
}

// inDocs keeps a picture for the documents, with 256 colours: those that are there most often, each unlike the others, so that a line of a few
// pixels keeps its own.
func inDocs(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	img, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	often, bounds := make(map[color.Color]int), img.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			often[img.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(often), func(a, b color.Color) int { return often[b] - often[a] })
	var palette color.Palette
	for _, c := range colors {
		if len(palette) < 256 && (len(palette) == 0 || apart(c, palette[palette.Index(c)]) > 8) {
			palette = append(palette, c)
		}
	}
	few := image.NewPaletted(bounds, palette)
	imagedraw.Draw(few, bounds, img, bounds.Min, imagedraw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, few); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rig.Root(), "docs", "images", filepath.Base(file)), out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What was asked before is drawn once more: for whoever works on the drawing.
func TestAgain(t *testing.T) {
	if !*again {
		t.Skip("only with -again")
	}
	files, err := filepath.Glob(filepath.Join(*pictures, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing was drawn into %q: %v", *pictures, err)
	}
	var drawings []*drawing
	for _, f := range files {
		drawings = append(drawings, &drawing{name: strings.TrimSuffix(filepath.Base(f), ".json")})
	}
	for i, panels := range drawAll(t, *pictures, drawings) {
		approve(t, drawings[i].name, panels)
	}
}

// drawAll draws, one after the other, in one browser.
func drawAll(t *testing.T, dir string, drawings []*drawing) [][]told {
	t.Helper()
	made := bundle(t)
	asked := make(map[string][]byte)
	for _, d := range drawings {
		data, kept := []byte(nil), filepath.Join(dir, d.name+".json")
		if *again {
			var err error
			if data, err = os.ReadFile(kept); err != nil {
				t.Fatal(err)
			}
		} else {
			data = d.asked(t)
			if err := os.WriteFile(kept, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		asked["/data/"+d.name] = data
	}
	modules := filepath.Join(rig.Root(), "test", "boards", "node_modules")
	icons := filepath.Join(modules, "@grafana", "ui", "dist", "public")
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		public, icon := strings.CutPrefix(r.URL.Path, "/public/")
		file := filepath.Join(made, filepath.Base(r.URL.Path))
		if icon {
			file = filepath.Join(icons, filepath.FromSlash(strings.TrimPrefix(public, "build/")))
		}
		if weight := map[string]string{"Inter-Regular.woff2": "400", "Inter-Medium.woff2": "500"}[filepath.Base(file)]; weight != "" {
			file = filepath.Join(modules, "@fontsource", "inter", "files", "inter-latin-"+weight+"-normal.woff2")
		}
		switch data := asked[r.URL.Path]; {
		case r.URL.Path == "/":
			fmt.Fprint(w, page)
		case data != nil:
			w.Header().Set("Content-Type", "application/json")
			w.Write(data)
		default:
			if _, err := os.Stat(file); err != nil {
				t.Errorf("the page asked for %s", r.URL.Path)
			}
			http.ServeFile(w, r, file)
		}
	}))
	defer pages.Close()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(rig.Program(t, "chromium")), chromedp.NoSandbox, chromedp.WindowSize(1600, 1000),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	console := chromedp.Console(watching)
	watch.Go(func() {
		for m, err := range console {
			if err == nil && (m.IsException() || m.Type == "error" || m.Type == "assert") {
				t.Errorf("in the page: %s", m.String())
			}
		}
	})
	all := make([][]told, len(drawings))
	for i, d := range drawings {
		all[i] = drawOne(ctx, t, pages.URL+"/?of=/data/"+d.name, filepath.Join(dir, d.name+".png"))
	}
	stop()
	watch.Wait()
	return all
}

func drawOne(ctx context.Context, t *testing.T, address, file string) []told {
	t.Helper()
	within, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	// What is outside of the window is not all drawn: the window is as high as the highest board, then as this one.
	if err := chromedp.Do(within, chromedp.EmulateViewport(1600, 4500), chromedp.Navigate(address)); err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	if _, err := chromedp.Run(within, chromedp.Poll[chromedp.Void]("window.drawn !== undefined", chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))); err != nil {
		t.Errorf("%s is not drawn: %v", address, err)
		return nil
	}
	text, err := chromedp.Run(within, chromedp.Evaluate[string]("JSON.stringify(window.drawn)"))
	if err != nil {
		t.Fatal(err)
	}
	var panels []told
	if err := json.Unmarshal([]byte(text), &panels); err != nil {
		t.Fatal(err)
	}
	height, err := chromedp.Run(within, chromedp.Evaluate[float64]("document.getElementById('board').offsetHeight"))
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(within, chromedp.EmulateViewport(1600, int64(height))); err != nil {
		t.Fatal(err)
	}
	shot, err := chromedp.Run(within, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if img, _, err := image.DecodeConfig(bytes.NewReader(shot)); err != nil || img.Width < 1600 || img.Height < 500 {
		t.Errorf("%s: a picture of %d by %d: %v", address, img.Width, img.Height, err)
	}
	if err := os.WriteFile(file, shot, 0o644); err != nil {
		t.Fatal(err)
	}
	return panels
}

// byMachine are panels whose series depend on what the machine tells and how busy it is, or on which operations ended between two scrapes.
var byMachine = []string{
	"The machine's processors", "Descriptors and ports", "Memory in use", "Generator", "State", "Trials", "Latency by operation", "Latency by call", "Rate by operation",
	"Requests by outcome", "Throttled by operation", "Throttled by group", "Started late", "Schedule lag by operation", "In flight", "What freshness is made of",
}

// approve holds what was drawn to testdata.
func approve(t *testing.T, name string, panels []told) {
	t.Helper()
	var b strings.Builder
	for _, p := range panels {
		if p.Type == "row" {
			fmt.Fprintf(&b, "%s\n", p.Title)
			continue
		}
		what := strings.Join(distinct(p.Names), " | ")
		switch {
		case empty[p.Title] != "":
			what = "or nothing: " + empty[p.Title]
		case !p.Data:
			what = "(" + p.Note + ")"
		case slices.Contains(byMachine, p.Title):
			what = "as the machine and the moment have it"
		}
		fmt.Fprintf(&b, "  %s, %s, %s: %s\n", p.Title, p.Type, p.Unit, what)
	}
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || string(want) != b.String() {
		t.Errorf("%s is not what was drawn (%v; -update rewrites it):\n%s", file, err, b.String())
	}
}

// distinct are names without what differs from run to run.
func distinct(names []string) (all []string) {
	id := regexp.MustCompile(`\d{8}-\d{6}`)
	for _, n := range names {
		if n = id.ReplaceAllString(n, "a run"); !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}
