package dashboard

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/httpserve"
)

// Page serves one page that is made anew each time it is asked for, and the same as JSON: for what is watched over many runs. It has no
// buttons.
type Page struct {
	HTML   func(w io.Writer) error // required; called from any goroutine
	JSON   func(w io.Writer) error // likewise
	Logger *slog.Logger            // nil logs nothing

	http  *http.Server
	serve sync.WaitGroup
}

// Start serves the page on an address and returns its own. Close ends it.
func (p *Page) Start(ctx context.Context, addr string) (url string, err error) {
	if p.Logger == nil {
		p.Logger = slog.New(slog.DiscardHandler)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.answer("text/html; charset=utf-8", p.HTML))
	mux.HandleFunc("GET /answer.json", p.answer("application/json", p.JSON))
	httpserve.Warn(p.Logger, l.Addr(), "the live page", "it has no buttons")
	p.http = httpserve.New(secured(mux), p.Logger)
	p.serve.Go(func() {
		if err := p.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.Logger.Warn("the live page ended", "error", err)
		}
	})
	return "http://" + l.Addr().String() + "/", nil
}

func (p *Page) answer(kind string, write func(io.Writer) error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		if err := write(w); err != nil {
			p.Logger.Debug("answering a page", "error", err)
		}
	}
}

// Close ends the page.
func (p *Page) Close() error {
	if p.http == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := p.http.Shutdown(ctx)
	if err != nil {
		err = p.http.Close()
	}
	p.serve.Wait()
	return err
}
