package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// public are the rooms that others may import.
func public() []string {
	return []string{"scenario", "fleet", "schedule", "metrics", "report"}
}

// TestPublicTypesArePublic refuses exported symbols of public packages that name a type of an internal one: nobody else could
// name it.
func TestPublicTypesArePublic(t *testing.T) {
	files := 0
	for _, p := range packages(t) {
		if !within(p.ImportPath, public()...) {
			continue
		}
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files++
			for _, x := range namesInternal(f) {
				t.Errorf("%s: %s names %s", fset.Position(x.at), x.symbol, x.what)
			}
		}
	}
	if files < 50 {
		t.Errorf("only %d files were read", files)
	}
}

// named is an exported symbol and what it names.
type named struct {
	at           token.Pos
	symbol, what string
}

// namesInternal is where the exported symbols of a file name something of an internal package.
func namesInternal(f *ast.File) (found []named) {
	inside := make(map[string]bool) // names of imports
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		if !strings.HasPrefix(path, module+"/internal/") {
			continue
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		inside[name] = true
	}
	look := func(symbol string, in ast.Node) {
		if in == nil || len(inside) == 0 {
			return
		}
		ast.Inspect(in, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field: // of a struct or an interface: what is not exported is nobody's business
				for _, name := range n.Names {
					if !name.IsExported() {
						return false
					}
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && inside[x.Name] {
					found = append(found, named{n.Pos(), symbol, x.Name + "." + n.Sel.Name})
				}
			}
			return true
		})
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv)) {
				for _, list := range []*ast.FieldList{d.Type.Params, d.Type.Results} {
					if list == nil {
						continue
					}
					for _, field := range list.List {
						look(d.Name.Name, field.Type)
					}
				}
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						look(s.Name.Name, s.Type)
					}
				case *ast.ValueSpec:
					if s.Names[0].IsExported() && s.Type != nil {
						look(s.Names[0].Name, s.Type)
					}
				}
			}
		}
	}
	return found
}

func exportedReceiver(list *ast.FieldList) bool {
	x := list.List[0].Type
	for {
		switch y := x.(type) {
		case *ast.StarExpr:
			x = y.X
		case *ast.IndexExpr:
			x = y.X
		case *ast.Ident:
			return y.IsExported()
		default:
			return false
		}
	}
}

// What the test above must find, and what it must not.
func TestNamesInternal(t *testing.T) {
	const src = `package p
import ("` + module + `/internal/hub"; "time"; alias "` + module + `/internal/iothub")
type Open struct { Hub *hub.Hub; hidden hub.Hub; At time.Time }
type closed struct { Hub *hub.Hub }
func Take(alias.Key) {}
func (closed) Give() hub.Hub { panic("") }
func Give() (x map[string][]hub.Hub) { var y hub.Hub; _ = y; return nil }
var Global alias.Key
var own hub.Hub
`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range namesInternal(f) {
		got = append(got, x.symbol+" "+x.what)
	}
	if want := "Open hub.Hub, Take alias.Key, Give hub.Hub, Global alias.Key"; strings.Join(got, ", ") != want {
		t.Errorf("%s; want %s", strings.Join(got, ", "), want)
	}
}
